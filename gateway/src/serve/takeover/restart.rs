//! `weir restart`: the process that serves starts its successor itself, with the arguments and the environment that it was
//! started with, and the binary that is at its path now.

use std::{
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::OnceLock,
    time::Duration,
};

use tokio::{net::UnixStream, process::Command, sync::watch, time::timeout};

use super::{
    channel,
    limits::{PATIENCE, RELEASE},
    message::Message,
    place,
    seat::Succession,
};
use crate::cli::RestartArgs;

/// As it was at the start: once the file has been replaced, the system calls the old one "deleted".
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Takes note of where the binary is. To be called at the start.
pub(in crate::serve) fn remember_program() {
    if let Ok(program) = env::current_exe() {
        let _ = PROGRAM.set(program);
    }
}

/// Starts a successor and waits until it serves; its process number.
///
/// # Errors
/// Why there is none, and that is all that has happened.
pub(super) async fn start_successor(mut succession: watch::Receiver<Succession>) -> Result<u32, String> {
    if std::process::id() == 1 {
        return Err(
            "it is the first process of its container, which ends with it; replace the container instead: docs/restart.md"
                .to_owned(),
        );
    }
    let program = PROGRAM
        .get()
        .ok_or("the system did not tell where the binary is".to_owned())?;
    let mut child = Command::new(program)
        .args(arguments(env::args_os().skip(1)))
        // It is about this process.
        .env_remove("WATCHDOG_PID")
        .stdin(Stdio::null())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let pid = child.id();
    let taken_over = async {
        let stopping = |_| "it is stopping".to_owned();
        let has_come = |now: &Succession| pid.is_some_and(|pid| now.is_served_by(pid));
        let ready = async { succession.wait_for(has_come).await.map(drop).map_err(stopping) };
        let late = |_| Err("the successor does not get ready; its log may say why".to_owned());
        timeout(PATIENCE + RELEASE, ready).await.unwrap_or_else(late)?;
        // Without a limit: it has clients now, and what is missing is up to this process.
        let is_alone = |now: &Succession| pid.is_some_and(|pid| *now == Succession::TakenOver(pid));
        let alone = succession.wait_for(is_alone).await.map(drop);
        alone.map_err(stopping).map(|()| pid.unwrap_or(0))
    };
    let outcome = tokio::select! {
        outcome = taken_over => outcome,
        ended = child.wait() => Err(match ended {
            Ok(status) => format!("the successor ended with {status}; its log says why"),
            Err(error) => format!("the successor: {error}"),
        }),
    };
    if outcome.is_err() {
        // One that hangs must not wake up and take over when nobody expects it any more.
        let _ = child.start_kill();
    }
    outcome
}

/// The same arguments, and the one that makes it a successor.
fn arguments(present: impl Iterator<Item = OsString>) -> Vec<OsString> {
    const TAKEOVER: &str = "--takeover";
    let mut arguments: Vec<OsString> = present.collect();
    if !arguments.iter().any(|argument| argument == TAKEOVER) {
        arguments.push(TAKEOVER.into());
    }
    arguments
}

/// The command `weir restart`.
pub(crate) fn run(args: &RestartArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(ask(args)),
        Err(error) => Err(error.to_string()),
    };
    match outcome {
        Ok(pid) => {
            println!("restarted: process {pid} serves; the old one finishes with its clients and ends");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("weir: not restarted: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn ask(args: &RestartArgs) -> Result<u32, String> {
    let path = place::of(args.control_socket.as_deref(), &args.metadata)?;
    let stream = UnixStream::connect(&path)
        .await
        .map_err(|error| nobody(&path, &error))?;
    let (mut reader, mut writer) = channel::open(stream);
    let broken = |error: io::Error| format!("the connection to it broke: {error}");
    writer.send(&Message::Restart, &[]).await.map_err(broken)?;
    // It has limits of its own; this one is for a process that hangs.
    let patience = PATIENCE * 2 + RELEASE + Duration::from_secs(10);
    match timeout(patience, reader.next()).await {
        Ok(Ok(Some((Message::Restarted { pid }, _)))) => Ok(pid),
        Ok(Ok(Some((Message::Refused { reason }, _)))) => Err(reason),
        Ok(Ok(Some(_))) => Err("it answers something else than was asked".to_owned()),
        Ok(Ok(None)) => Err("it ended, or does not listen to this user; its log says which".to_owned()),
        Ok(Err(error)) => Err(broken(error)),
        Err(_) => Err(format!("it has said nothing for {} s", patience.as_secs())),
    }
}

fn nobody(path: &Path, error: &io::Error) -> String {
    format!(
        "{}: {error}; does `weir serve` run with the same METADATA, user and environment? Else --control-socket names its socket",
        path.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_is_told_once_that_it_is_one() {
        let given = |words: &[&str]| arguments(words.iter().map(OsString::from));
        assert_eq!(given(&["serve", "m"]), ["serve", "m", "--takeover"]);
        assert_eq!(given(&["serve", "--takeover", "m"]), ["serve", "--takeover", "m"]);
    }
}
