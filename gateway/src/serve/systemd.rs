//! What systemd is told (`Type=notify` or `notify-reload`), and its watchdog. Without systemd, nothing happens.
//!
//! Source: sd_notify(3), sd_watchdog_enabled(3). The variables stay in the environment: a successor that this process
//! starts needs them as well.

use std::{env, time::Duration};

use sd_notify::NotifyState;
use tracing::debug;

/// It serves. With a status for `systemctl status`.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its metadata again; [`ready`] says that it has.
pub(super) fn reloading() {
    // Without the time, `notify-reload` would wait in vain.
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, now]);
    }
}

/// It begins to end.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing transactions")]);
}

/// Another process is the main one now. To be said by the one that was: others are not listened to (`NotifyAccess=main`).
pub(super) fn succeeded(by: u32) {
    tell(&[NotifyState::MainPid(by)]);
}

/// Answers the watchdog for as long as tasks are run: `WatchdogSec=`.
pub(super) async fn watchdog() {
    let Some(limit) = watchdog_limit(|name| env::var(name).ok(), std::process::id()) else {
        return;
    };
    loop {
        tell(&[NotifyState::Watchdog]);
        tokio::time::sleep(limit / 3).await;
    }
}

/// The watchdog's limit, if it watches this process. A successor is started without `WATCHDOG_PID`.
fn watchdog_limit(variable: impl Fn(&str) -> Option<String>, own: u32) -> Option<Duration> {
    let is_meant = variable("WATCHDOG_PID").is_none_or(|pid| pid.parse() == Ok(own));
    let limit: u64 = variable("WATCHDOG_USEC")?.parse().ok()?;
    (is_meant && limit > 0).then(|| Duration::from_micros(limit))
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, states) {
        debug!(%error, "systemd is not told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watchdog_is_answered_when_it_watches_this_process() {
        let limit = |pid: Option<&'static str>, limit: Option<&'static str>| {
            let variable = |name: &str| match name {
                "WATCHDOG_PID" => pid.map(str::to_owned),
                _ => limit.map(str::to_owned),
            };
            watchdog_limit(variable, 7)
        };
        let second = Some(Duration::from_secs(1));
        assert_eq!(limit(Some("7"), Some("1000000")), second);
        assert_eq!(limit(None, Some("1000000")), second);
        assert_eq!(limit(Some("8"), Some("1000000")), None);
        assert_eq!(limit(Some("7"), None), None);
        assert_eq!(limit(Some("7"), Some("0")), None);
        assert_eq!(limit(Some("7"), Some("soon")), None);
    }
}
