//! Child processes that cannot outlive the tests, and programs that must end in time.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    time::Duration,
};

use crate::clock;

/// A watchdog beside a child process: when this process ends in any way (a panic, SIGKILL, Ctrl-C), the child is sent
/// SIGQUIT, then SIGKILL, and its folder is removed. It notices by the end of a pipe, so nothing can prevent it.
#[derive(Debug)]
pub struct Watchdog {
    watcher: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Watches over `child`, or over a `folder` that no child owns yet.
    pub fn over(child: Option<&Child>, folder: &Path) -> Watchdog {
        const SCRIPT: &str = r#"
            trap '' INT TERM HUP
            read -r word && exit 0
            if [ -n "$1" ]; then
                kill -QUIT "$1" 2>/dev/null
                for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$1" 2>/dev/null || break; sleep 0.1; done
                kill -KILL "$1" 2>/dev/null
            fi
            rm -rf "$2"
        "#;
        let process = child.map(|child| child.id().to_string()).unwrap_or_default();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, "watchdog", &process]).arg(folder);
        isolate(&mut command);
        let mut watcher = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        let pipe = watcher.stdin.take();
        Watchdog { watcher, pipe }
    }

    /// The child is gone: nothing to watch over any more.
    pub fn dismiss(mut self) {
        if let Some(mut pipe) = self.pipe.take() {
            let _ = pipe.write_all(b"dismissed\n");
        }
        let _ = self.watcher.wait();
    }
}

/// Starts the PostgreSQL server whose data is in `folder` as `data`, and waits until it is ready. `None` when it has ended
/// before, or takes longer than `patience`.
pub fn postgres(
    mut command: Command,
    folder: &Path,
    patience: Duration,
    is_ready: impl Fn() -> bool,
) -> Option<(Child, Watchdog)> {
    let log = folder.join("log");
    let log = fs::OpenOptions::new().create(true).append(true).open(log).unwrap();
    command
        .arg("-D")
        .arg(folder.join("data"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log);
    isolate(&mut command);
    let mut child = command.spawn().expect("postgres starts");
    let watchdog = Watchdog::over(Some(&child), folder);
    let deadline = clock::now() + patience;
    while !is_ready() {
        if child.try_wait().is_ok_and(|status| status.is_some()) || clock::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            watchdog.dismiss();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some((child, watchdog))
}

/// Keeps Ctrl-C on the terminal from reaching the child: whoever started it ends it.
pub fn isolate(command: &mut Command) {
    use std::os::unix::process::CommandExt as _;
    command.process_group(0);
}

/// Sends a signal by its name.
pub fn signal(child: &Child, name: &str) {
    let _ = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .stderr(Stdio::null())
        .status();
}

/// Waits for a child to end.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = clock::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if clock::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            _ => return None,
        }
    }
}

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    /// None when it had to be killed because it did not end in time.
    pub status: Option<ExitStatus>,
    /// Both outputs, the standard one first.
    pub output: String,
}

impl Outcome {
    /// Fails the test unless the program ended well.
    #[track_caller]
    pub fn expect_success(&self, what: &str) {
        match self.status {
            Some(status) if status.success() => {}
            Some(status) => panic!("{what}: {status}\n{}", self.output),
            None => panic!("{what}: did not end in time\n{}", self.output),
        }
    }
}

/// Runs a program without standard input; kills it at the limit.
pub async fn run(command: Command, limit: Duration) -> Outcome {
    let mut command = tokio::process::Command::from(command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let name = format!("{:?}", command.as_std().get_program());
    let child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
    match tokio::time::timeout(limit, child.wait_with_output()).await {
        Ok(output) => {
            let output = output.expect("a child can be waited for");
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            Outcome {
                status: Some(output.status),
                output: text,
            }
        }
        Err(_) => Outcome {
            status: None,
            output: format!("killed after {limit:?}"),
        },
    }
}

/// Where `scripts/install-test-dependencies` puts things.
pub fn cache() -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache");
    assert!(
        path.is_dir(),
        "{} is missing: run scripts/install-test-dependencies (make test does)",
        path.display()
    );
    path
}
