//! What every backend's dialogue has to keep, whatever its protocol. A backend's tests call [`check`] with recorded
//! exchanges; the toy passes it, and so must the next one.
//!
//! Held: split-invariance; `Need` asks for more than was given and never beyond the bound; a connection with something
//! outstanding is never `Idle` (I5); at the end of an exchange it is at rest; arbitrary bytes from either side neither
//! panic nor leave a connection that counts as clean.

use bytes::BytesMut;

use crate::{
    backend::{Dialogue, Outbox, SessionState, Step, TransactionDetection},
    limits,
    refusal::Fault,
};

/// A request and the server's whole answer.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// What the client sends.
    pub client: Vec<u8>,
    /// What the server answers.
    pub server: Vec<u8>,
    /// Whether a transaction is open afterwards.
    pub in_transaction: bool,
}

/// What one side did, byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    to_client: Vec<u8>,
    to_server: Vec<u8>,
}

/// Checks a dialogue against recorded exchanges; `make` gives a fresh client and a fresh server connection.
///
/// # Panics
/// When the contract is broken; the message says how.
pub fn check<D: Dialogue>(make: impl Fn() -> (D, D::Session), exchanges: &[Exchange])
where
    D::Session: TransactionDetection,
{
    let whole = replay(&make, exchanges, usize::MAX);
    for chunk in [1, 2, 3, 5, 7, 16, 61] {
        assert_eq!(
            replay(&make, exchanges, chunk),
            whole,
            "cut into pieces of {chunk} bytes"
        );
    }
    for seed in 0..200 {
        noise(&make, exchanges, seed);
    }
}

fn replay<D: Dialogue>(make: &impl Fn() -> (D, D::Session), exchanges: &[Exchange], chunk: usize) -> Seen
where
    D::Session: TransactionDetection,
{
    let (mut dialogue, mut session) = make();
    let mut seen = Seen::default();
    let mut out = Outbox::default();
    dialogue.adopt(&mut session, &mut out);
    for (index, exchange) in exchanges.iter().enumerate() {
        let sent_before = seen.to_server.len();
        drive(
            &exchange.client,
            chunk,
            &mut out,
            &mut seen,
            Side::Client,
            |bytes, out| dialogue.from_client(bytes, Some(&mut session), out),
        )
        .unwrap_or_else(|fault| panic!("exchange {index}: the client's bytes are refused: {fault}"));
        if seen.to_server.len() > sent_before {
            assert_ne!(
                session.state(),
                SessionState::Idle,
                "exchange {index}: idle with a request outstanding"
            );
        }
        drive(
            &exchange.server,
            chunk,
            &mut out,
            &mut seen,
            Side::Server,
            |bytes, out| dialogue.from_server(bytes, &mut session, out),
        )
        .unwrap_or_else(|fault| panic!("exchange {index}: the server's bytes are refused: {fault}"));
        let at_rest = match session.state() {
            SessionState::Idle => !exchange.in_transaction,
            SessionState::InTransaction { .. } => exchange.in_transaction,
            _ => false,
        };
        assert!(
            at_rest,
            "exchange {index}: afterwards the session is {:?}",
            session.state()
        );
    }
    seen
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

/// Feeds `stream` in pieces, as a relay does, and collects what comes out.
fn drive(
    stream: &[u8],
    chunk: usize,
    out: &mut Outbox,
    seen: &mut Seen,
    side: Side,
    mut look: impl FnMut(&[u8], &mut Outbox) -> Result<Step, Fault>,
) -> Result<(), Fault> {
    let mut buffer = BytesMut::new();
    let mut body: Option<(u64, bool)> = None;
    for piece in stream.chunks(chunk.min(stream.len().max(1))) {
        buffer.extend_from_slice(piece);
        loop {
            if let Some((rest, forward)) = body {
                let taken = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
                let bytes = buffer.split_to(taken);
                match side {
                    Side::Client if forward => seen.to_server.extend_from_slice(&bytes),
                    Side::Server if forward => seen.to_client.extend_from_slice(&bytes),
                    _ => {}
                }
                body = (rest > taken as u64).then_some((rest - taken as u64, forward));
            }
            if buffer.is_empty() {
                break;
            }
            let step = look(&buffer, out);
            seen.to_client.extend_from_slice(&out.to_client.split());
            seen.to_server.extend_from_slice(&out.to_server.split());
            match step? {
                Step::Forward(count) | Step::Skip(count) if count == 0 => panic!("a step of no bytes"),
                Step::Forward(count) => body = Some((count, true)),
                Step::Skip(count) => body = Some((count, false)),
                Step::Need(count) => {
                    assert!(count > buffer.len(), "Need({count}) with {} bytes given", buffer.len());
                    assert!(count <= limits::MAX_PEEK, "Need({count}) is beyond MAX_PEEK");
                    break;
                }
                Step::Lease(_) => panic!("a lease is asked for while one is held"),
                Step::Hold | Step::Finish => return Ok(()),
            }
        }
    }
    Ok(())
}

/// A good conversation, then bytes from a simple generator, from either side.
fn noise<D: Dialogue>(make: &impl Fn() -> (D, D::Session), exchanges: &[Exchange], seed: u64)
where
    D::Session: TransactionDetection,
{
    let (mut dialogue, mut session) = make();
    let (mut out, mut seen) = (Outbox::default(), Seen::default());
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    dialogue.adopt(&mut session, &mut out);
    for _ in 0..8 {
        let from_client = random.next().is_multiple_of(2);
        let mut bytes = if random.next().is_multiple_of(3) || exchanges.is_empty() {
            (0..random.next() % 64).map(|_| random.next() as u8).collect()
        } else {
            let exchange = &exchanges[random.next() as usize % exchanges.len()];
            if from_client {
                exchange.client.clone()
            } else {
                exchange.server.clone()
            }
        };
        if let Some(position) = (random.next() as usize).checked_rem(bytes.len()) {
            bytes[position] = random.next() as u8;
        }
        let result = if from_client {
            drive(&bytes, 16, &mut out, &mut seen, Side::Client, |bytes, out| {
                dialogue.from_client(bytes, Some(&mut session), out)
            })
        } else {
            drive(&bytes, 16, &mut out, &mut seen, Side::Server, |bytes, out| {
                dialogue.from_server(bytes, &mut session, out)
            })
        };
        if let Err(Fault::Server(_)) = result {
            return;
        }
    }
}

/// xorshift: small, seeded, good enough to vary test inputs.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::toy::{Session, Talk, answer, request};

    fn exchange(asked: &str, status: u8, said: &str) -> Exchange {
        Exchange {
            client: request(asked),
            server: answer(status, said.as_bytes()),
            in_transaction: status == b't',
        }
    }

    #[test]
    fn the_toy_keeps_the_contract() {
        let long = "x".repeat(500);
        check(
            || (Talk, Session::default()),
            &[
                exchange("echo a", b'i', "a"),
                exchange("begin", b't', "begun"),
                exchange("set x", b't', "set"),
                exchange("big 500", b't', &long),
                exchange("commit", b'i', "ended"),
            ],
        );
    }
}
