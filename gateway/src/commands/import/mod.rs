//! `weir import`: a pgbouncer.ini becomes a metadata directory that means the same.
//!
//! Connects to nothing and overwrites nothing without being told to. Secrets are written to files of their own with mode
//! 0600 and referred to; none is printed, and none stands in YAML.

mod convert;
mod ini;
mod settings;

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use weir_core::secret::Secret;

use crate::{check::table::Table, cli::ImportArgs};

/// The folder of secrets in the metadata directory.
const SECRETS: &str = "secrets";

/// What an import comes to.
#[derive(Debug, Default)]
struct Import {
    /// Path below the directory, and content.
    files: Vec<(PathBuf, String)>,
    /// Path below [`SECRETS`], and content.
    secrets: Vec<(String, Secret<String>)>,
    report: Report,
}

/// What a person should know, in the order of the file.
#[derive(Debug, Default)]
struct Report {
    lines: Vec<Remark>,
    /// What has to be done before it serves.
    to_do: Vec<String>,
}

/// About one line of the file.
#[derive(Debug)]
struct Remark {
    place: ini::Place,
    setting: String,
    verdict: &'static str,
    text: String,
}

impl Report {
    fn note(&mut self, place: &ini::Place, setting: &str, verdict: &'static str, text: impl Into<String>) {
        self.lines.push(Remark {
            place: place.clone(),
            setting: setting.to_owned(),
            verdict,
            // Written for Markdown.
            text: text.into().replace('`', ""),
        });
    }

    fn ask(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.to_do.contains(&text) {
            self.to_do.push(text);
        }
    }
}

/// Runs the command.
pub(crate) fn run(args: &ImportArgs) -> ExitCode {
    match import(args) {
        Ok(text) => super::print(text.as_bytes()),
        Err(error) => {
            eprintln!("weir: {error}");
            ExitCode::FAILURE
        }
    }
}

fn import(args: &ImportArgs) -> Result<String, String> {
    let ini = ini::read(&args.file)?;
    if ini.entries.is_empty() {
        return Err(format!(
            "{}: there is no setting in it; is it a pgbouncer.ini?",
            args.file.display()
        ));
    }
    let output = std::path::absolute(&args.output).map_err(|error| format!("{}: {error}", args.output.display()))?;
    let secrets = output.join(SECRETS);
    let import = convert::convert(&ini, &args.file, &secrets);
    let mut text = String::new();
    if args.dry_run {
        for (path, content) in &import.files {
            text.push_str(&format!("# {}\n{content}\n", output.join(path).display()));
        }
    } else {
        write(&import, &output, args.force)?;
    }
    text.push_str(&summary(&import, &output, args.dry_run));
    Ok(text)
}

fn summary(import: &Import, output: &Path, dry_run: bool) -> String {
    let mut table = Table::default();
    let mut remarks: Vec<&Remark> = import.report.lines.iter().collect();
    remarks.sort_by(|a, b| (&a.place.file, a.place.line).cmp(&(&b.place.file, b.place.line)));
    for remark in remarks {
        table.row([&remark.place.to_string(), &remark.setting, remark.verdict, &remark.text]);
    }
    let mut text = String::new();
    if !table.is_empty() {
        text.push_str("What is not simply carried over:\n");
        table
            .lines()
            .iter()
            .for_each(|line| text.push_str(&format!("  {line}\n")));
        text.push('\n');
    }
    if !import.report.to_do.is_empty() {
        text.push_str("To be done by you:\n");
        import
            .report
            .to_do
            .iter()
            .for_each(|line| text.push_str(&format!("  * {line}\n")));
        text.push('\n');
    }
    if dry_run {
        text.push_str("Nothing was written.\n");
        return text;
    }
    let directory = output.display();
    text.push_str(&format!("Written: {directory}\n\nNext:\n"));
    if !import.secrets.is_empty() {
        let variable = weir_config::model::PATH_PREFIX_VARIABLE;
        text.push_str(&format!("  export {variable}={directory}/{SECRETS}\n"));
    }
    text.push_str(&format!(
        "  weir check {directory} --connect\n  weir serve {directory}\n"
    ));
    text
}

/// Writes everything, or nothing when something is in the way.
fn write(import: &Import, output: &Path, force: bool) -> Result<(), String> {
    let secrets = output.join(SECRETS);
    let all = || {
        let files = import.files.iter().map(|(path, _)| output.join(path));
        files.chain(import.secrets.iter().map(|(name, _)| secrets.join(name)))
    };
    if let Some(existing) = all().find(|path| path.symlink_metadata().is_ok()).filter(|_| !force) {
        return Err(format!(
            "{} exists; nothing was written. Give another --output, or --force to overwrite",
            existing.display()
        ));
    }
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |error: io::Error| format!("cannot write {path}: {error}")
    };
    for (path, content) in &import.files {
        let path = output.join(path);
        let folder = path.parent().unwrap_or(output);
        fs::create_dir_all(folder).map_err(failed(folder))?;
        replace(&path, content.as_bytes(), 0o644).map_err(failed(&path))?;
    }
    for (name, content) in &import.secrets {
        let path = secrets.join(name);
        let folder = path.parent().unwrap_or(&secrets);
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed(folder))?;
        replace(&path, content.expose().as_bytes(), 0o600).map_err(failed(&path))?;
    }
    Ok(())
}

/// Writes beside the file and renames, so that it is never half there, and never readable by others in between.
fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let _ = fs::remove_file(&beside);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
