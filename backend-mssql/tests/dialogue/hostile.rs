//! Peers that keep no rules: nothing panics, and a server connection that has lost its thread is never idle again.

use bytes::BytesMut;
use weir_core::{
    backend::{Dialogue, Outbox, SessionState, Step, TransactionDetection},
    refusal::Fault,
};
use weir_mssql::{dialogue::Conversation, session::SourceState};

use crate::{
    gateway::{init, session},
    messages::{Calls, attention, batch, begin, commit_and_begin},
    model::{Kind, Model},
};

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn requests() -> Vec<Vec<u8>> {
    vec![
        batch("PRINT a"),
        batch("SET NOCOUNT ON; CREATE TABLE #t"),
        batch("BEGIN TRAN"),
        begin(0),
        commit_and_begin(0),
        attention(),
        Calls::new().sql("PRINT b").done(),
        Calls::new().prepare_and_execute(None, "VALUE", 1).done(),
        Calls::new().execute(1, 2).then().execute(1, 3).done(),
        batch(&format!("PRINT {}", "x".repeat(1_000))),
    ]
}

/// Feeds bytes as a relay does; what is not consumed is dropped.
fn feed(bytes: &[u8], mut look: impl FnMut(&[u8]) -> Result<Step, Fault>) -> Result<(), Fault> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match look(rest)? {
            Step::Forward(count) | Step::Skip(count) => {
                assert!(count > 0);
                rest = rest.get(count as usize..).unwrap_or_default();
            }
            Step::Need(count) => {
                assert!(count > rest.len());
                return Ok(());
            }
            Step::Lease(_) | Step::Hold | Step::Finish => return Ok(()),
        }
    }
    Ok(())
}

#[test]
fn nothing_panics_and_nothing_broken_is_idle() {
    let requests = requests();
    for seed in 1..=3_000_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let kind = if seed % 2 == 0 { Kind::SqlServer } else { Kind::Probe };
        let shared = SourceState::new();
        let mut model = Model::new(kind, 1);
        let mut session = session(&shared, &model);
        let mut conversation = Conversation::new(init(&shared, kind));
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        for _ in 0..12 {
            let mut bytes = requests[random.next() as usize % requests.len()].clone();
            let is_broken = random.next().is_multiple_of(3);
            if is_broken {
                let at = random.next() as usize % bytes.len();
                bytes[at] = random.next() as u8;
            }
            let has_session = !random.next().is_multiple_of(5);
            let held = (has_session || session.state() != SessionState::Idle).then_some(&mut session);
            let mut held = held;
            let from_client = feed(&bytes, |bytes| {
                conversation.from_client(bytes, held.as_deref_mut(), &mut out)
            });
            if from_client.is_err() {
                break;
            }
            let mut answer = match random.next() % 3 {
                // An answer to something else, or half of one.
                0 => {
                    model = Model::new(kind, 1);
                    model.send(&batch("PRINT other"));
                    model.receive()
                }
                1 => (0..random.next() % 60).map(|_| random.next() as u8).collect(),
                _ => {
                    let mut fresh = Model::new(kind, 1);
                    fresh.send(&batch("BEGIN TRAN; RAISERROR"));
                    fresh.receive()
                }
            };
            if let Some(at) = (random.next() as usize).checked_rem(answer.len())
                && random.next().is_multiple_of(2)
            {
                answer[at] = random.next() as u8;
            }
            let from_server = feed(&answer, |bytes| conversation.from_server(bytes, &mut session, &mut out));
            if from_server.is_err() {
                assert!(
                    matches!(session.state(), SessionState::Broken(_)),
                    "seed {seed}: a fault, and not broken"
                );
                let mut out = Outbox::default();
                conversation.server_lost(&mut session, false, &mut out);
                assert!(matches!(session.state(), SessionState::Broken(_)));
                break;
            }
            out = Outbox::default();
        }
    }
}

#[test]
fn an_answer_that_nobody_asked_for_breaks_the_connection() {
    let shared = SourceState::new();
    let mut model = Model::new(Kind::SqlServer, 1);
    model.send(&batch("PRINT a"));
    let answer = model.receive();
    let mut session = session(&shared, &model);
    let mut conversation = Conversation::new(init(&shared, Kind::SqlServer));
    let mut out = Outbox::default();
    conversation.adopt(&mut session, &mut out);
    assert!(conversation.from_server(&answer, &mut session, &mut out).is_err());
    assert!(matches!(session.state(), SessionState::Broken(_)));
    assert!(out.to_client.is_empty());
}

#[test]
fn an_acknowledgement_of_no_attention_breaks_the_connection() {
    let shared = SourceState::new();
    let mut model = Model::new(Kind::SqlServer, 1);
    let mut session = session(&shared, &model);
    let mut conversation = Conversation::new(init(&shared, Kind::SqlServer));
    let mut out = Outbox::default();
    conversation.adopt(&mut session, &mut out);
    let request = batch("PRINT a");
    assert!(matches!(
        conversation.from_client(&request, Some(&mut session), &mut out),
        Ok(Step::Forward(_))
    ));
    model.send(&attention());
    let stray = model.receive();
    assert!(conversation.from_server(&stray, &mut session, &mut out).is_err());
    assert!(matches!(session.state(), SessionState::Broken(_)));
}

#[test]
fn what_a_client_may_not_send_ends_it() {
    let shared = SourceState::new();
    let model = Model::new(Kind::SqlServer, 1);
    let mut too_long = batch("PRINT a");
    too_long[2] = 0x40;
    let mut both_bits = batch("PRINT a");
    both_bits[1] |= 0x18;
    let mut no_headers = batch("PRINT a");
    no_headers[8] = 3;
    let mut response = batch("PRINT a");
    response[0] = 4;
    let mut login = batch("PRINT a");
    login[0] = 0x10;
    for bytes in [
        too_long,
        both_bits,
        no_headers,
        response,
        login,
        vec![1, 1, 0, 4, 0, 0, 0, 0],
    ] {
        let mut session = session(&shared, &model);
        let mut conversation = Conversation::new(init(&shared, Kind::SqlServer));
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        let result = conversation.from_client(&bytes, Some(&mut session), &mut out);
        assert!(matches!(result, Err(Fault::Client(_))), "{result:?}");
        assert_eq!(out.to_server, BytesMut::new());
        assert_eq!(session.state(), SessionState::Idle);
    }
}
