//! `weir metadata`: the metadata of a running gateway against a directory.
//!
//! Messages are those of Hasura's command line, because scripts read them. Writes nothing but the directory of `export`.

use std::{fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path, process::ExitCode};

use serde_json::{Value, json};
use weir_config::{ProcessEnvironment, document::Document};

use super::{
    client::{self, Client, Failure},
    diff::{self, Line},
    yaml::Yaml,
};
use crate::{
    check::table::{Table, printable},
    cli::{DocumentFormat, InconsistencyCommand, MetadataArgs, MetadataCommand, ReportFormat},
};

const SEE: &str = "Use 'weir metadata ic list' command to see the inconsistent objects";

/// Runs the command.
pub(crate) fn run(args: &MetadataArgs) -> ExitCode {
    client::run(&args.remote, 1, |client| async move {
        command(&args.command, &client).await
    })
}

async fn command(command: &MetadataCommand, client: &Client) -> Result<ExitCode, Failure> {
    match command {
        MetadataCommand::Apply {
            directory,
            dry_run: true,
            output,
            ..
        } => Ok(print_document(&read(directory)?, *output)),
        MetadataCommand::Apply {
            directory,
            disallow_inconsistent_metadata,
            ..
        } => apply(client, directory, !disallow_inconsistent_metadata).await,
        MetadataCommand::Diff {
            first,
            second,
            exit_code,
        } => compare(client, first, second.as_deref(), *exit_code).await,
        MetadataCommand::Reload => reload(client).await,
        MetadataCommand::Export {
            output: Some(format), ..
        } => Ok(print_document(&exported(client).await?, *format)),
        MetadataCommand::Export { directory, .. } => export(client, directory).await,
        MetadataCommand::Inconsistency { command } => inconsistency(client, command).await,
        MetadataCommand::Clear => {
            client.request("clear_metadata", json!({})).await?;
            Ok(say("Metadata cleared"))
        }
    }
}

async fn apply(client: &Client, directory: &Path, allow_inconsistent: bool) -> Result<ExitCode, Failure> {
    let metadata = read(directory)?;
    if directory.join("gateway.yaml").exists() {
        eprintln!("weir: gateway.yaml is no part of what is sent: it is read where the gateway runs");
    }
    let args = json!({ "allow_inconsistent_metadata": allow_inconsistent, "metadata": metadata });
    let answer = client.request_v2("replace_metadata", args).await?;
    for warning in answer["warnings"].as_array().into_iter().flatten() {
        eprintln!("weir: {}", printable(warning["message"].as_str().unwrap_or_default()));
    }
    say("Metadata applied");
    warn_if_inconsistent(&answer);
    Ok(ExitCode::SUCCESS)
}

async fn reload(client: &Client) -> Result<ExitCode, Failure> {
    let answer = client.request("reload_metadata", json!({})).await?;
    say("Metadata reloaded");
    if !warn_if_inconsistent(&answer) {
        say("Metadata is consistent");
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether there was something to warn about.
fn warn_if_inconsistent(answer: &Value) -> bool {
    let is_inconsistent = answer["is_consistent"] == false;
    if is_inconsistent {
        eprintln!("Metadata is inconsistent\n{SEE}");
    }
    is_inconsistent
}

async fn compare(client: &Client, first: &Path, second: Option<&Path>, exit_code: bool) -> Result<ExitCode, Failure> {
    let local = read(first)?;
    let (other, name) = match second {
        Some(second) => (read(second)?, second.display().to_string()),
        None => (exported(client).await?, client.endpoint().to_owned()),
    };
    // From what is there to what would be after `apply`, or from the first to the second directory.
    let (old, new, old_name, new_name) = match second {
        Some(_) => (local, other, first.display().to_string(), name),
        None => (other, local, name, first.display().to_string()),
    };
    let (old, new) = (Yaml::from(&old).document(), Yaml::from(&new).document());
    let lines = diff::unified(&old, &new);
    if lines.is_empty() {
        return Ok(say(&format!("{old_name} and {new_name} say the same")));
    }
    print_diff(&lines, &old_name, &new_name);
    Ok(if exit_code {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn print_diff(lines: &[Line<'_>], old: &str, new: &str) {
    use std::io::Write as _;
    let color = |color: anstyle::AnsiColor| anstyle::Style::new().fg_color(Some(color.into()));
    let (red, green, cyan) = (
        color(anstyle::AnsiColor::Red),
        color(anstyle::AnsiColor::Green),
        color(anstyle::AnsiColor::Cyan),
    );
    let mut text = format!("--- {}\n+++ {}\n", printable(old), printable(new));
    for line in lines {
        let (style, sign, line) = match line {
            Line::Place(place) => (cyan, "", place.as_str()),
            Line::Same(line) => (anstyle::Style::new(), " ", *line),
            Line::Removed(line) => (red, "-", *line),
            Line::Added(line) => (green, "+", *line),
        };
        text.push_str(&format!("{style}{sign}{}{style:#}\n", printable(line)));
    }
    // A closed pipe is how a reader says "enough".
    let _ = anstream::stdout().lock().write_all(text.as_bytes());
}

async fn export(client: &Client, directory: &Path) -> Result<ExitCode, Failure> {
    let metadata = exported(client).await?;
    prepare(directory, &metadata)?;
    let document = document(directory)?;
    for key in document.homeless(&metadata) {
        eprintln!("weir: the directory has no file for {}: left out", printable(key));
    }
    let changes = document.changes(&metadata).map_err(|error| error.0)?;
    changes.commit().map_err(|error| error.to_string())?;
    for file in changes.files() {
        println!("wrote {}", file.display());
    }
    Ok(say("Metadata exported"))
}

/// A directory that can be written to: a new one is begun as Hasura's command line does it.
fn prepare(directory: &Path, metadata: &Value) -> Result<(), String> {
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: std::io::Error| format!("cannot write {path}: {error}")
    };
    let version = directory.join("version.yaml");
    let databases = directory.join("databases/databases.yaml");
    if directory.is_file() || version.exists() || databases.exists() {
        return Ok(());
    }
    let folder = directory.join("databases");
    fs::create_dir_all(&folder).map_err(failed(&folder))?;
    fs::write(&version, "version: 3\n").map_err(failed(&version))?;
    let sources = metadata.get("sources").map_or(Yaml::List(Vec::new()), Yaml::from);
    // Addresses may hold passwords: as the gateway itself writes such a file.
    let mut file = fs::OpenOptions::new();
    let file = file.write(true).create_new(true).mode(0o640).open(&databases);
    file.and_then(|mut file| file.write_all(sources.document().as_bytes()))
        .map_err(failed(&databases))?;
    println!("wrote {}", databases.display());
    Ok(())
}

async fn inconsistency(client: &Client, command: &InconsistencyCommand) -> Result<ExitCode, Failure> {
    if let InconsistencyCommand::Drop = command {
        client.request("drop_inconsistent_metadata", json!({})).await?;
        return Ok(say("all inconsistent objects removed from metadata"));
    }
    let answer = client.request("get_inconsistent_metadata", json!({})).await?;
    let is_consistent = answer["is_consistent"] == true;
    match command {
        InconsistencyCommand::Status if is_consistent => Ok(say("metadata is consistent")),
        InconsistencyCommand::Status => Err(Failure::Other(
            "metadata is inconsistent, use 'weir metadata ic list' command to see the inconsistent objects".to_owned(),
        )),
        InconsistencyCommand::List {
            output: ReportFormat::Json,
        } => Ok(say(&format!("{:#}", answer["inconsistent_objects"]))),
        _ if is_consistent => Ok(say("metadata is consistent")),
        _ => Ok(super::print(table_of(&answer).as_bytes())),
    }
}

fn table_of(answer: &Value) -> String {
    let mut table = Table::default();
    table.row(["NAME", "TYPE", "DESCRIPTION", "REASON"]);
    for object in answer["inconsistent_objects"].as_array().into_iter().flatten() {
        let text = |key: &str| match &object[key] {
            Value::String(text) => text.clone(),
            Value::Null => String::new(),
            other => other.to_string(),
        };
        table.row([text("name"), text("type"), text("definition"), text("reason")]);
    }
    table.lines().join("\n") + "\n"
}

/// The metadata of the gateway.
async fn exported(client: &Client) -> Result<Value, Failure> {
    let mut answer = client.request_v2("export_metadata", json!({})).await?;
    Ok(answer["metadata"].take())
}

/// The metadata of a directory.
fn read(directory: &Path) -> Result<Value, String> {
    document(directory).map(|document| document.metadata().clone())
}

fn document(directory: &Path) -> Result<Document, String> {
    Document::read(directory, &ProcessEnvironment).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        format!("{} cannot be read:\n{}", directory.display(), problems.join("\n"))
    })
}

fn print_document(metadata: &Value, format: DocumentFormat) -> ExitCode {
    let text = match format {
        DocumentFormat::Yaml => Yaml::from(metadata).document(),
        DocumentFormat::Json => format!("{metadata:#}\n"),
    };
    super::print(text.as_bytes())
}

fn say(text: &str) -> ExitCode {
    super::print(format!("{text}\n").as_bytes())
}
