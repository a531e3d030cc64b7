//! Hostile bytes from either side: no panic, no allocation by claimed length, never idle again after a fault.

use bytes::BytesMut;
use proptest::prelude::*;
use weir_core::{
    backend::{Dialogue, Outbox, SessionReset, SessionState, Step, TransactionDetection},
    limits::MAX_PEEK,
    refusal::Fault,
    testing::contract::{Exchange, check},
};
use weir_postgres::{dialogue::Conversation, session::SourceState};

use crate::{
    gateway::{init, session},
    messages::*,
    model::{Model, Server},
};

/// Messages of any type with bodies of any kind, well framed or not.
fn messages() -> impl Strategy<Value = Vec<u8>> {
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[a-z]{0,5}\0[A-Z ']{0,12}\0\0\0".prop_map(String::into_bytes),
        "[SP][a-z]{0,5}\0".prop_map(String::into_bytes),
        "SERROR\0C[0-9A-Z]{5}\0Mweir_[a-z]{0,5}\0\0".prop_map(String::into_bytes),
        "[ITEx]".prop_map(String::into_bytes),
    ];
    let kind = prop_oneof![
        proptest::sample::select(b"BCDEFHPQSXcdf123ACDEGHINSTVWZcdnst".to_vec()),
        any::<u8>()
    ];
    let length = prop_oneof![9 => Just(None), 1 => any::<u32>().prop_map(Some)];
    let message = (kind, body, length).prop_map(|(kind, body, length)| {
        let length = length.unwrap_or(body.len() as u32 + 4);
        [&[kind], &length.to_be_bytes()[..], &body].concat()
    });
    proptest::collection::vec(message, 1..12).prop_map(|messages| messages.concat())
}

fn conversation() -> (Conversation, weir_postgres::session::Session) {
    let shared = SourceState::new();
    (Conversation::new(init(&shared)), session(&shared, 2))
}

/// Feeds a stream; says what came of it in bytes.
fn feed(
    stream: &[u8],
    chunk: usize,
    mut look: impl FnMut(&[u8], &mut Outbox) -> Result<Step, Fault>,
) -> (Vec<u8>, Option<Fault>) {
    let (mut kept, mut passed) = (Vec::new(), Vec::new());
    let mut body: Option<(u64, bool)> = None;
    for piece in stream.chunks(chunk) {
        kept.extend_from_slice(piece);
        loop {
            if let Some((rest, forward)) = body {
                let count = rest.min(kept.len() as u64);
                let bytes: Vec<u8> = kept.drain(..count as usize).collect();
                if forward {
                    passed.extend(bytes);
                }
                body = (rest > count).then_some((rest - count, forward));
            }
            if kept.is_empty() {
                break;
            }
            let mut out = Outbox::default();
            let step = look(&kept, &mut out);
            assert!(
                out.to_client.len() + out.to_server.len() <= 4 * stream.len() + 4096,
                "out of proportion"
            );
            passed.extend_from_slice(&out.to_client);
            passed.extend_from_slice(&out.to_server);
            match step {
                Ok(Step::Forward(0) | Step::Skip(0)) => panic!("a step of no bytes"),
                Ok(Step::Forward(count)) => body = Some((count, true)),
                Ok(Step::Skip(count)) => body = Some((count, false)),
                Ok(Step::Need(count)) => {
                    assert!(count > kept.len() && count <= MAX_PEEK);
                    break;
                }
                Ok(Step::Lease(_)) => panic!("a lease with one at hand"),
                Ok(Step::Hold | Step::Finish) => return (passed, None),
                Err(fault) => return (passed, Some(fault)),
            }
        }
    }
    (passed, None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn a_hostile_client_and_a_hostile_server(client in messages(), server in messages(), chunk in 1_usize..40) {
        let (mut conversation, mut session) = conversation();
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        feed(&client, chunk, |bytes, out| conversation.from_client(bytes, Some(&mut session), out));
        let (_, fault) = feed(&server, chunk, |bytes, out| conversation.from_server(bytes, &mut session, out));
        if fault.is_some() {
            prop_assert!(matches!(session.state(), SessionState::Broken(_)));
            let again = conversation.from_server(b"Z\0\0\0\x05I", &mut session, &mut Outbox::default());
            prop_assert!(again.is_err());
            prop_assert!(matches!(session.state(), SessionState::Broken(_)));
        }
        let mut out = Outbox::default();
        conversation.leave(&mut session, false, &mut out);
        feed(&server, chunk, |bytes, out| conversation.from_server(bytes, &mut session, out));
        conversation.server_lost(&mut session, false, &mut Outbox::default());
        prop_assert!(matches!(session.state(), SessionState::Broken(_)));
    }

    #[test]
    fn any_chunks_give_the_same_bytes(client in messages(), server in messages(), chunk in 1_usize..40) {
        let run = |chunk: usize| {
            let (mut conversation, mut session) = conversation();
            conversation.adopt(&mut session, &mut Outbox::default());
            let one = feed(&client, chunk, |bytes, out| conversation.from_client(bytes, Some(&mut session), out));
            let two = feed(&server, chunk, |bytes, out| conversation.from_server(bytes, &mut session, out));
            (one, two, session.state())
        };
        let ((whole_client, client_fault), (whole_server, server_fault), state) = run(usize::MAX);
        let ((cut_client, cut_client_fault), (cut_server, cut_server_fault), cut_state) = run(chunk);
        // Names of statements are numbered through the process.
        let plain = |bytes: &[u8]| bytes.len();
        prop_assert_eq!(client_fault, cut_client_fault);
        prop_assert_eq!(server_fault, cut_server_fault);
        prop_assert_eq!(state, cut_state);
        prop_assert_eq!(plain(&whole_server), plain(&cut_server));
        let _ = (whole_client, cut_client);
    }

    #[test]
    fn hostile_bytes_while_idle_and_in_a_reset(bytes in messages(), chunk in 1_usize..40) {
        let (_, mut session) = conversation();
        let mut fault = false;
        for piece in bytes.chunks(chunk) {
            fault |= session.while_idle(piece).is_err();
            prop_assert!(!fault || matches!(session.state(), SessionState::Broken(_)));
        }
        let (_, mut session) = conversation();
        let mut out = BytesMut::new();
        session.begin_reset(weir_core::backend::ResetDepth::Everything, &mut out);
        let mut input = BytesMut::from(&bytes[..]);
        let _ = session.continue_reset(&mut input);
    }

    #[test]
    fn any_text_is_classified(text in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = weir_postgres::session::classify::classify(&text);
    }

    #[test]
    fn any_text_of_sql_crumbs_is_classified(crumbs in proptest::collection::vec(
        proptest::sample::select(vec![
            "'", "\"", "$$", "$a$", "--", "/*", "*/", "\n", ";", "(", ")", ",", ".", "::", "\\", "E'", "U&\"", "SET",
            "LOCAL", "set_config", "SELECT", "f", "é", " ", "1", "$1", "DEALLOCATE", "ALL", "TEMP", "CREATE",
        ]), 0..40)) {
        let _ = weir_postgres::session::classify::classify(crumbs.concat().as_bytes());
    }
}

#[test]
fn claimed_lengths_are_not_believed() {
    for kind in 0..=u8::MAX {
        for length in [0_u32, 1, 2, 3, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, u32::MAX] {
            let bytes = [&[kind], &length.to_be_bytes()[..]].concat();
            let (mut conversation, mut session) = conversation();
            let mut out = Outbox::default();
            conversation.adopt(&mut session, &mut out);
            let step = conversation.from_client(&bytes, Some(&mut session), &mut out);
            assert!(matches!(step, Err(Fault::Client(_))), "{kind} {length}: {step:?}");
            let step = conversation.from_server(&bytes, &mut session, &mut out);
            assert!(length == 0x7fff_ffff || step.is_err(), "{kind} {length}: {step:?}");
        }
    }
}

#[test]
fn answers_that_nobody_asked_for_end_the_connection_s2_1() {
    let answers: [&[u8]; 8] = [
        b"1\0\0\0\x04",
        b"2\0\0\0\x04",
        b"3\0\0\0\x04",
        b"Z\0\0\0\x05I",
        b"D\0\0\0\x06\0\0",
        b"C\0\0\0\x05\0",
        b"R\0\0\0\x08\0\0\0\0",
        b"K\0\0\0\x0c\0\0\0\0\0\0\0\0",
    ];
    for answer in answers {
        let (mut conversation, mut session) = conversation();
        let mut out = Outbox::default();
        conversation.adopt(&mut session, &mut out);
        assert!(conversation.from_server(answer, &mut session, &mut out).is_err());
        assert!(matches!(session.state(), SessionState::Broken(_)));
    }
}

/// Another order of letters than what was asked (what a pooler must not guess its way through).
#[test]
fn an_answer_to_another_message_ends_the_connection_s2_1() {
    let (mut conversation, mut session) = conversation();
    let mut out = Outbox::default();
    conversation.adopt(&mut session, &mut out);
    conversation
        .from_client(&parse("", "SELECT 'x'"), Some(&mut session), &mut out)
        .unwrap();
    assert!(
        conversation
            .from_server(b"2\0\0\0\x04", &mut session, &mut out)
            .is_err()
    );
}

#[test]
fn the_dialogue_keeps_the_cores_contract() {
    let mut server = Model::default();
    let mut exchange = |client: Vec<u8>, in_transaction| {
        server.send(&client);
        Exchange {
            client,
            server: server.receive(),
            in_transaction,
        }
    };
    let exchanges = [
        exchange(query("SELECT 'x'"), false),
        exchange(one_shot("SELECT 'y'"), false),
        exchange(query("BEGIN"), true),
        exchange([query("SELEC"), one_shot("SELECT 'z'")].concat(), true),
        exchange(query("ROLLBACK"), false),
        exchange(query("COPY (SELECT 'x') TO STDOUT"), false),
        exchange(
            [query("COPY t FROM STDIN"), copy_data("1\n"), copy_done()].concat(),
            false,
        ),
    ];
    // The recorded server answers no questions of the gateway's own.
    let forgetful = || {
        let shared = SourceState::new();
        let mut init = init(&shared);
        init.session_state = weir_config::SessionStatePolicy::Reset;
        (Conversation::new(init), session(&shared, 2))
    };
    check(forgetful, &exchanges);
}
