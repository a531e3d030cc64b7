//! The end of all clients: first at their next transaction border, then at once.

use std::time::Duration;

use super::Clients;
use crate::clock;

/// What became of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drained {
    /// Clients when it began.
    pub before: u32,
    /// Clients that had to be ended in the middle of a transaction.
    pub terminated: u32,
    /// Clients that had not ended even then; they end with the process.
    pub left: u32,
}

/// How often the number of clients is looked at.
const LOOK: Duration = Duration::from_millis(10);

/// Time for terminated clients to be told and to give back or close their server connections. Whoever ends the process
/// reckons with little more than its drain time-out.
const LAST_WORDS: Duration = Duration::from_millis(600);

/// Ends all clients of the directory: each at its next transaction border, and after `timeout` those that have reached
/// none. Stop the listeners first. Lasts at most `timeout` and a second.
pub async fn drain(clients: &Clients, timeout: Duration) -> Drained {
    let before = clients.count();
    clients.drain();
    let in_time = tokio::time::timeout(timeout, nobody_left(clients)).await;
    if in_time.is_ok() {
        return Drained {
            before,
            terminated: 0,
            left: 0,
        };
    }
    let terminated = clients.count();
    clients.terminate();
    let deadline = clock::now() + LAST_WORDS;
    // Who is late even now is counted below.
    let _ = tokio::time::timeout_at(deadline.into(), nobody_left(clients)).await;
    Drained {
        before,
        terminated,
        left: clients.count(),
    }
}

async fn nobody_left(clients: &Clients) {
    while clients.count() > 0 {
        tokio::time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;
    use crate::front::{Event, Registration, Rung};

    /// A client that ends when it is told one of `obeys`.
    fn client(registration: Registration, obeys: fn(&Event) -> bool) {
        tokio::spawn(async move { while !obeys(&poll_fn(|cx| registration.poll_event(cx, &mut Rung::No)).await) {} });
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_at_a_border_goes_first_and_who_is_not_is_ended() {
        let clients = Clients::new();
        client(clients.register(4).expect("room"), |event| {
            matches!(event, Event::Drain(_))
        });
        client(clients.register(4).expect("room"), |event| {
            matches!(event, Event::Terminate)
        });
        let deaf = clients.register(4).expect("room");
        let start = clock::now();
        let drained = drain(&clients, Duration::from_secs(30)).await;
        let expected = Drained {
            before: 3,
            terminated: 2,
            left: 1,
        };
        assert_eq!(drained, expected);
        assert_eq!(start.elapsed().as_millis(), 30_600);
        drop(deaf);
        assert_eq!(drain(&clients, Duration::from_secs(30)).await.before, 0);
    }
}
