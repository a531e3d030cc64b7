//! Finds out whether a server tells when transactions begin and end (TDS 4.3a): by what it does, not by what it calls itself.
//!
//! Invariant: the session is outside of a transaction afterwards, or the connection is given up.

use weir_core::refusal::OpenError;

use super::{
    super::{
        reply::{BatchReply, ServerError},
        stream::TdsStream,
    },
    exchange::{Batch, faulty},
};
use crate::{
    session::Tracker,
    wire::{TdsVersion, env_change::TransactionChange},
};

/// Begins a transaction and takes it back.
pub(super) async fn run(stream: &mut TdsStream, version: TdsVersion, packet_size: u16) -> Result<Tracker, OpenError> {
    let mut batch = Batch { stream, packet_size };
    let begun = ask(&mut batch, "BEGIN TRAN", 0, version).await?;
    let begin = begun.transactions.first().copied();
    let descriptor = match begin {
        Some((TransactionChange::Begin, descriptor)) => descriptor,
        _ => 0,
    };
    let ended = ask(&mut batch, "ROLLBACK TRAN", descriptor, version).await?;
    Ok(judge(&begun, &ended))
}

async fn ask(
    batch: &mut Batch<'_>,
    text: &str,
    transaction: u64,
    version: TdsVersion,
) -> Result<BatchReply, OpenError> {
    let payload = batch.run_in(text, transaction).await?;
    let reply = BatchReply::read(&payload, version).map_err(faulty)?;
    match reply.error {
        Some(ServerError { number, text: why, .. }) => Err(OpenError::Unreachable(format!(
            "the server does not take {text}: {why} ({number})"
        ))),
        None => Ok(reply),
    }
}

fn judge(begun: &BatchReply, ended: &BatchReply) -> Tracker {
    let begins = matches!(begun.transactions[..], [(TransactionChange::Begin, 1..)]);
    let ends = matches!(ended.transactions[..], [(TransactionChange::Rollback, _)]);
    match begins && ends {
        true => Tracker::EnvChange,
        false => Tracker::Probe,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_that_tells_both_is_believed() {
        let reply = |changes: &[(TransactionChange, u64)]| BatchReply {
            transactions: changes.to_vec(),
            error: None,
        };
        let begin = reply(&[(TransactionChange::Begin, 7)]);
        let end = reply(&[(TransactionChange::Rollback, 7)]);
        let nothing = reply(&[]);
        assert_eq!(judge(&begin, &end), Tracker::EnvChange);
        for (begun, ended) in [
            (&nothing, &nothing),
            (&begin, &nothing),
            (&nothing, &end),
            (&end, &begin),
            (&reply(&[(TransactionChange::Begin, 0)]), &end),
        ] {
            assert_eq!(judge(begun, ended), Tracker::Probe, "{begun:?} {ended:?}");
        }
    }
}
