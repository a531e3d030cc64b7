//! What the console may do to the process: RELOAD and SHUTDOWN.

use async_trait::async_trait;
use rustix::process::{Signal, getpid, kill_process};
use tracing::{error, info};
use weir_core::admin::{Operator, Shutdown};

use super::control::{Control, Refused};

/// Gives what administrators ask for to the task that owns what runs.
pub(super) struct ByControl(pub(super) Control);

#[async_trait]
impl Operator for ByControl {
    async fn reload(&self) -> Result<String, Vec<String>> {
        match self.0.reload("RELOAD").await {
            Ok(applied) => {
                let (version, metadata) = (applied.state.resource_version, &applied.state.metadata);
                Ok(format!(
                    "metadata {version} applies: {} sources, {} inconsistent",
                    metadata.sources.len(),
                    metadata.inconsistent.len()
                ))
            }
            Err(Refused { reason, problems }) => {
                let problems = problems.iter().map(ToString::to_string);
                Err(std::iter::once(reason).chain(problems).collect())
            }
        }
    }

    /// By the same signals as everybody: there is one way to end.
    fn shut_down(&self, how: Shutdown) {
        info!(?how, "SHUTDOWN by an administrator");
        send(Signal::TERM);
        if how == Shutdown::AtOnce {
            // Another one than the first: two of a kind may arrive as one.
            send(Signal::INT);
        }
    }
}

fn send(signal: Signal) {
    if let Err(error) = kill_process(getpid(), signal) {
        error!(?signal, %error, "the system does not deliver a signal to ourselves");
    }
}
