//! `weir pause`, `resume`, `drain`, `restart-source`: what an operator does to sources.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};
use weir_core::clock;

use super::{
    client::{self, Client, Failure},
    stats::{Snapshot, Source},
};
use crate::cli::{DrainArgs, PauseArgs, RestartSourceArgs, ResumeArgs};

/// Between two looks of `weir drain`.
const LOOK: Duration = Duration::from_millis(500);

/// `weir pause`
pub(crate) fn pause(args: &PauseArgs) -> ExitCode {
    client::run(&args.remote, 1, |client| async move {
        if args.no_wait {
            let request = json!({ "name": args.source, "wait": false });
            let answer = client.request("pause_source", request).await?;
            return Ok(say(&format!("{}: {}", args.source, state(&answer))));
        }
        let request = json!({ "name": args.source, "timeout": args.timeout.as_secs_f64() });
        client.patient_request("pause_source", request, args.timeout).await?;
        Ok(say(&format!(
            "{}: paused; `weir resume {}` ends it",
            args.source, args.source
        )))
    })
}

/// `weir resume`
pub(crate) fn resume(args: &ResumeArgs) -> ExitCode {
    client::run(&args.remote, 1, |client| async move {
        let sources = match args.sources.is_empty() {
            false => args.sources.clone(),
            true => {
                let paused = look(&client).await?.sources.into_iter().filter(Source::is_paused);
                paused.map(|source| source.name).collect()
            }
        };
        if sources.is_empty() {
            return Ok(say("no source is paused"));
        }
        for name in &sources {
            let answer = client.request("resume_source", json!({ "name": name })).await?;
            say(&format!("{name}: {}", state(&answer)));
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// `weir restart-source`
pub(crate) fn restart(args: &RestartSourceArgs) -> ExitCode {
    client::run(&args.remote, 1, |client| async move {
        client.request("restart_source", json!({ "name": args.source })).await?;
        Ok(say(&format!(
            "{}: new server connections; old ones are closed as they come back",
            args.source
        )))
    })
}

/// `weir drain`
pub(crate) fn drain(args: &DrainArgs) -> ExitCode {
    client::run(&args.remote, 1, |client| async move {
        let mut names = args.sources.clone();
        if names.is_empty() {
            let served = look(&client)
                .await?
                .sources
                .into_iter()
                .filter(|source| source.state != "inconsistent");
            names = served.map(|source| source.name).collect();
        }
        for name in &names {
            client
                .request("pause_source", json!({ "name": name, "wait": false }))
                .await?;
        }
        wait(&client, &names, args.timeout).await
    })
}

/// Until all are at rest; says each change of who is still waited for.
async fn wait(client: &Client, names: &[String], patience: Duration) -> Result<ExitCode, Failure> {
    let until = clock::now() + patience;
    let mut said = String::new();
    loop {
        let left: Vec<Source> = look(client)
            .await?
            .sources
            .into_iter()
            .filter(|source| names.contains(&source.name) && source.open() > 0)
            .collect();
        if left.is_empty() {
            return Ok(say(&format!("at rest: {}; `weir resume` ends it", names.join(", "))));
        }
        let held: Vec<String> = left
            .iter()
            .map(|source| format!("{} ({} server connections)", source.name, source.open()))
            .collect();
        let text = format!("waiting for {}", held.join(", "));
        if text != said {
            say(&text);
            said = text;
        }
        if clock::now() >= until {
            let names: Vec<&str> = left.iter().map(|source| source.name.as_str()).collect();
            return Err(Failure::Other(format!(
                "not at rest within --timeout = {} s: {}\nThey stay paused and come to rest by themselves; `weir top` shows who holds them, `weir resume` gives up",
                patience.as_secs_f64(),
                names.join(", ")
            )));
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn look(client: &Client) -> Result<Snapshot, Failure> {
    let answer = client.request("get_pool_stats", json!({})).await?;
    Ok(Snapshot::of(&answer))
}

fn state(answer: &Value) -> &str {
    answer["state"].as_str().unwrap_or("done")
}

fn say(text: &str) -> ExitCode {
    super::print(format!("{}\n", crate::check::table::printable(text)).as_bytes())
}
