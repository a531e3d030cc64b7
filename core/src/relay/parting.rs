//! The end of a client's life: it gets what it is owed, and its server connection is brought to rest.

use std::{future::poll_fn, task::Poll, time::Duration};

use tokio::io::AsyncWriteExt;

use super::{Ending, Life, lane::Lane, recovery};
use crate::backend::Backend;

impl<B: Backend> Life<B> {
    /// Parts: the client gets what it is owed and is closed, the server connection is brought to rest.
    pub(super) async fn end(self, ending: Ending) {
        let Life {
            io,
            dialogue,
            registration,
            mut to_client,
            to_server,
            attached,
            waiting,
            cancel,
            terms,
            ..
        } = self;
        drop(registration);
        // Its place in the queue is nobody's.
        drop(waiting);
        let owed = to_client.split_unsent();
        let farewell = async {
            match ending {
                Ending::Told(_) => farewell(io, owed).await,
                // Another process may have the socket as well: it is closed here, and not shut down.
                Ending::Goodbye | Ending::Vanished | Ending::HandedOver => drop(io),
            }
        };
        let recovery = async {
            if let Some(attached) = attached {
                let lanes = recovery::Unfinished { to_client, to_server };
                recovery::discard_or_recover(attached, dialogue, lanes, cancel, &terms, ending).await;
            }
        };
        tokio::join!(farewell, recovery);
    }
}

/// How long a client that has to go gets to read what it is owed.
const FAREWELL: Duration = Duration::from_secs(5);

/// Sends the rest and closes the stream properly.
async fn farewell<I: crate::backend::Io>(mut io: I, mut lane: Lane) {
    let all = async {
        poll_fn(|cx| {
            let sent = lane.poll_send(&mut io, cx, &mut bytes::BytesMut::new(), &[]);
            if sent.is_err() || lane.is_flushed() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
        // The peer may have closed already; there is nobody left to tell.
        let _ = io.shutdown().await;
    };
    let _ = tokio::time::timeout(FAREWELL, all).await;
}
