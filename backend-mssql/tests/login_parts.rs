//! The pure parts of the logins: the handshake with a client under any split, the matrix of encryption, what LOGIN7 may not
//! ask for, a server's answer and what clients are told of it.

use bytes::BytesMut;
use weir_core::secret::Secret;
use weir_mssql::{
    login::{
        handshake::{Handshake, Security, TlsPolicy, Verdict},
        reply::{Asked, LoginReply, Told, Welcome},
        request::LoginRequest,
    },
    session::{Features, Notices},
    wire::{
        TdsVersion,
        done::{Done, DoneStatus},
        env_change,
        feature_ext::{self, Feature, id},
        login_ack,
        login7::{Login7, flags1, flags2, flags3, type_flags},
        message::OwnMessage,
        packet::{HEADER, LOGIN_PACKET_SIZE, PacketKind, Status},
        prelogin::{Encryption, PreLogin, ProductVersion},
        reframe,
    },
};

const VERSION: ProductVersion = ProductVersion {
    major: 15,
    minor: 0,
    build: 4415,
    sub_build: 0,
};

/// What FreeTDS 1.5 sends.
fn hello(encryption: Encryption) -> Vec<u8> {
    let payload = PreLogin {
        encryption: Some(encryption),
        instance: Some(b"MSSQLServer".to_vec()),
        thread_id: Some(vec![1, 2, 3, 4]),
        mars: Some(0),
        ..PreLogin::default()
    }
    .to_client_payload();
    reframe::framed(PacketKind::PreLogin, &payload, LOGIN_PACKET_SIZE).to_vec()
}

fn login() -> Login7 {
    Login7 {
        tds_version: TdsVersion::V7_4.code(),
        packet_size: 8000,
        flags1: flags1::USE_DATABASE | flags1::SET_LANGUAGE,
        flags2: flags2::LANGUAGE_FATAL | flags2::ODBC,
        user: "änn".to_owned(),
        password: Secret::new("canary-5K".to_owned()),
        database: "erp".to_owned(),
        application: "shop".to_owned(),
        features: vec![
            Feature::new(id::UTF8_SUPPORT, &[1]),
            Feature::new(id::USER_AGENT, b"{}"),
        ],
        ..Login7::default()
    }
}

fn packets(login: &Login7) -> Vec<u8> {
    let payload = login.to_payload().expect("short texts");
    reframe::framed(PacketKind::Login7, &payload, LOGIN_PACKET_SIZE).to_vec()
}

/// One whole message at a time, as the shell gives it.
fn judge(handshake: &mut Handshake, mut bytes: &[u8]) -> Verdict {
    let verdict = handshake.judge(&mut bytes);
    assert!(bytes.is_empty(), "the message was taken as a whole");
    verdict
}

fn answered(verdict: Verdict) -> (PreLogin, Security) {
    let Verdict::Answer { bytes, security } = verdict else {
        panic!("{verdict:?}")
    };
    assert_eq!(bytes[0], PacketKind::Response as u8);
    assert_eq!(bytes[1], Status::END_OF_MESSAGE.0);
    (PreLogin::parse(&bytes[HEADER..]).expect("an answer"), security)
}

#[test]
fn the_answer_to_prelogin_to_the_byte() {
    let mut handshake = Handshake::new(TlsPolicy::Optional, VERSION);
    let verdict = judge(&mut handshake, &hello(Encryption::NotSupported));
    let Verdict::Answer { bytes, .. } = verdict else {
        panic!("{verdict:?}")
    };
    let expected: &[u8] = &[
        0x04, 0x01, 0, 43, 0, 0, 1, 0, // header
        0x00, 0, 26, 0, 6, // VERSION
        0x01, 0, 32, 0, 1, // ENCRYPTION
        0x02, 0, 33, 0, 1, // INSTOPT
        0x03, 0, 34, 0, 0, // THREADID, empty
        0x04, 0, 34, 0, 1, // MARS
        0xff, 15, 0, 0x11, 0x3f, 0, 0, 2, 0, 0,
    ];
    assert_eq!(bytes, expected);
}

#[test]
fn the_matrix_of_encryption() {
    use Encryption::{NotSupported, Off, On, Other, Required};

    const CLEAR: Option<Security> = Some(Security::Clear);
    const LOGIN: Option<Security> = Some(Security::LoginOnly);
    const FULL: Option<Security> = Some(Security::Full);
    for (asked, disable, optional, require) in [
        (Off, (NotSupported, CLEAR), (Off, LOGIN), (Required, FULL)),
        (On, (NotSupported, None), (On, FULL), (On, FULL)),
        (
            NotSupported,
            (NotSupported, CLEAR),
            (NotSupported, CLEAR),
            (Required, FULL),
        ),
        (Required, (NotSupported, None), (On, FULL), (On, FULL)),
    ] {
        for (policy, (answer, security)) in [
            (TlsPolicy::Disable, disable),
            (TlsPolicy::Optional, optional),
            (TlsPolicy::Require, require),
        ] {
            let mut handshake = Handshake::new(policy, VERSION);
            let (told, outcome) = answered(judge(&mut handshake, &hello(asked)));
            assert_eq!(told.encryption, Some(answer), "{asked:?} {policy:?}");
            assert_eq!(
                told.mars,
                Some(0),
                "never without it: FreeTDS would fall back to TDS 7.1"
            );
            match security {
                Some(security) => assert_eq!(outcome, security, "{asked:?} {policy:?}"),
                None => {
                    // Whoever goes on in clear all the same is refused before its password is looked at.
                    let verdict = judge(&mut handshake, &packets(&login()));
                    assert!(
                        matches!(&verdict, Verdict::Refuse(words) if words.text.contains("does not do encryption")),
                        "{asked:?} {policy:?}: {verdict:?}"
                    );
                }
            }
        }
    }
    for policy in [TlsPolicy::Disable, TlsPolicy::Optional, TlsPolicy::Require] {
        let mut handshake = Handshake::new(policy, VERSION);
        assert!(
            matches!(judge(&mut handshake, &hello(Other(0x81))), Verdict::Close(_)),
            "{policy:?}"
        );
    }
}

#[test]
fn tls_from_the_first_byte_on() {
    let record = [0x16, 3, 1, 2, 0];
    for (policy, possible) in [
        (TlsPolicy::Disable, false),
        (TlsPolicy::Optional, true),
        (TlsPolicy::Require, true),
        (TlsPolicy::Strict, true),
    ] {
        let mut handshake = Handshake::new(policy, VERSION);
        let verdict = handshake.judge(&mut record.as_slice());
        assert_eq!(matches!(verdict, Verdict::SecureDirectly), possible, "{policy:?}");
        if possible {
            // What clients say inside of it about encryption means nothing (TDS 2.4).
            let (_, security) = answered(judge(&mut handshake, &hello(Encryption::NotSupported)));
            assert_eq!(security, Security::Strict);
            assert!(matches!(judge(&mut handshake, &packets(&login())), Verdict::Login(_)));
        }
    }
    let mut strict = Handshake::new(TlsPolicy::Strict, VERSION);
    assert!(matches!(
        strict.judge(&mut hello(Encryption::On).as_slice()),
        Verdict::Close(_)
    ));
}

#[test]
fn any_split_gives_the_same_verdicts() {
    let (hello, login) = (hello(Encryption::On), packets(&login()));
    for cut in 0..=hello.len() + login.len() {
        let mut handshake = Handshake::new(TlsPolicy::Require, VERSION);
        let mut pending = Vec::new();
        let mut verdicts = Vec::new();
        let mut feed = |bytes: &[u8]| {
            pending.extend_from_slice(bytes);
            loop {
                let mut rest = &pending[..];
                let verdict = handshake.judge(&mut rest);
                let taken = pending.len() - rest.len();
                pending.drain(..taken);
                match verdict {
                    Verdict::Need => return,
                    Verdict::Answer { security, .. } => verdicts.push(format!("{security:?}")),
                    Verdict::Login(login) => {
                        verdicts.push(format!("{} {}", login.user, login.database));
                        return;
                    }
                    other => panic!("cut at {cut}: {other:?}"),
                }
            }
        };
        // The second message follows only when the first has been answered.
        let in_first = cut.min(hello.len());
        feed(&hello[..in_first]);
        feed(&hello[in_first..]);
        let in_second = cut.saturating_sub(hello.len());
        feed(&login[..in_second]);
        feed(&login[in_second..]);
        assert_eq!(verdicts, ["Full", "änn erp"], "cut at {cut}");
        assert!(pending.is_empty());
    }
}

#[test]
fn what_stands_behind_a_message_is_left_where_it_is() {
    let mut handshake = Handshake::new(TlsPolicy::Optional, VERSION);
    let sent = [hello(Encryption::Off), b"SELECT 1".to_vec()].concat();
    let mut rest = &sent[..];
    assert!(matches!(handshake.judge(&mut rest), Verdict::Answer { .. }));
    assert_eq!(rest, b"SELECT 1", "for the shell to see that something is there");
}

#[test]
fn messages_in_the_wrong_order_or_of_the_wrong_size_end_it() {
    let close = |bytes: &[u8]| {
        let mut handshake = Handshake::new(TlsPolicy::Optional, VERSION);
        handshake.judge(&mut &*bytes)
    };
    assert!(matches!(close(&packets(&login())), Verdict::Close(_)), "LOGIN7 first");
    assert!(matches!(close(b"GET / HTTP/1.1\r\n"), Verdict::Close(_)));
    let long = reframe::framed(PacketKind::PreLogin, &[0; 5000], LOGIN_PACKET_SIZE);
    assert!(matches!(close(&long), Verdict::Close(_)), "PRELOGIN of 5,000 bytes");

    let mut handshake = Handshake::new(TlsPolicy::Optional, VERSION);
    judge(&mut handshake, &hello(Encryption::NotSupported));
    let huge = reframe::framed(PacketKind::Login7, &[0; 40_000], LOGIN_PACKET_SIZE);
    // Refused with the packet that goes too far, long before the end.
    let mut rest = &huge[..];
    assert!(matches!(handshake.judge(&mut rest), Verdict::Close(_)));

    let mut handshake = Handshake::new(TlsPolicy::Optional, VERSION);
    judge(&mut handshake, &hello(Encryption::NotSupported));
    assert!(
        matches!(judge(&mut handshake, &hello(Encryption::Off)), Verdict::Close(_)),
        "PRELOGIN twice"
    );
}

#[test]
fn noise_never_panics() {
    let good = [hello(Encryption::NotSupported), packets(&login())].concat();
    for position in 0..good.len() {
        for byte in [0, 1, 0x7f, 0xff] {
            let mut bent = good.clone();
            bent[position] = byte;
            let mut handshake = Handshake::new(TlsPolicy::Optional, VERSION);
            let mut rest = &bent[..];
            for _ in 0..8 {
                match handshake.judge(&mut rest) {
                    Verdict::Answer { .. } => {}
                    _ => break,
                }
            }
        }
    }
}

fn read(login: &Login7) -> Result<LoginRequest, String> {
    let payload = login.to_payload().expect("short texts");
    LoginRequest::read(&payload, Security::Full).map_err(|words| format!("{}: {}", words.number, words.text))
}

#[test]
fn a_login_says_what_its_session_has_to_be_like() {
    let mut wanted = login();
    wanted.type_flags = type_flags::READ_ONLY_INTENT;
    wanted.language = "Deutsch".to_owned();
    wanted.features.push(Feature::new(id::JSON_SUPPORT, &[1]));
    wanted.features.push(Feature::new(id::VECTOR_SUPPORT, &[7]));
    wanted.features.push(Feature::new(id::SESSION_RECOVERY, &[]));
    let request = read(&wanted).expect("a login");
    assert_eq!((request.user.as_str(), request.database.as_str()), ("änn", "erp"));
    assert_eq!(request.password.expose(), "canary-5K");
    assert_eq!((request.packet_size, request.language.as_str()), (8000, "Deutsch"));
    let profile = &request.profile;
    assert!(profile.odbc && profile.read_only_intent && !profile.binary_xml);
    let expected = Features {
        utf8: true,
        json: 1,
        vector: 2,
    };
    assert_eq!(profile.features, expected);
    assert!(!format!("{request:?}").contains("canary-5K"));
}

#[test]
fn tds_8_has_the_profile_of_7_4() {
    let mut strict = login();
    strict.tds_version = TdsVersion::V8_0.code();
    let (strict, plain) = (read(&strict).expect("a login"), read(&login()).expect("a login"));
    assert_eq!(strict.tds_version, TdsVersion::V8_0);
    assert_eq!(strict.profile, plain.profile);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    type Change = fn(&mut Login7);
    let cases: [(Change, i32, &str); 10] = [
        (|login| login.flags2 |= flags2::INTEGRATED_SECURITY, 18452, "Integrated"),
        (|login| login.sspi = Secret::new(vec![1]), 18452, "Integrated"),
        (
            |login| login.features.push(Feature::new(id::FEDERATED_AUTHENTICATION, &[2])),
            40510,
            "Entra",
        ),
        (|login| login.flags3 |= flags3::CHANGE_PASSWORD, 40510, "changed"),
        (
            |login| login.new_password = Secret::new("canary-6L".to_owned()),
            40510,
            "changed",
        ),
        (
            |login| login.attach_file = "x.mdf".to_owned(),
            40510,
            "AttachDBFilename",
        ),
        (|login| login.flags3 |= flags3::USER_INSTANCE, 40510, "User instances"),
        (|login| login.flags2 |= 0x30, 40510, "replication"),
        (
            |login| login.features.push(Feature::new(id::SESSION_RECOVERY, &[1, 2])),
            40510,
            "recovered",
        ),
        (|login| login.tds_version = 0x7000_0000, 40510, "7.4"),
    ];
    for (change, number, word) in cases {
        let mut login = login();
        change(&mut login);
        let told = read(&login).expect_err(word);
        assert!(
            told.starts_with(&format!("{number}: ")) && told.contains(word),
            "{told}"
        );
        assert!(!told.contains("canary"), "{told}");
    }
}

const COLLATION: [u8; 5] = [0x09, 0x04, 0xd0, 0x00, 0x34];

const ASKED: Asked = Asked {
    tds_version: TdsVersion::V7_4,
    packet_size: 4096,
    features: Features {
        utf8: true,
        json: 1,
        vector: 0,
    },
};

fn info(number: i32, text: &str, out: &mut BytesMut) {
    OwnMessage {
        number,
        state: 2,
        class: 0,
        text,
        server: "SQL1",
        procedure: "",
        line: 1,
    }
    .write_info(TdsVersion::V7_4, out);
}

/// What SQL Server answers.
fn reply(features: &[Feature]) -> BytesMut {
    let mut out = BytesMut::new();
    env_change::write_database("ERP_PROD", "master", &mut out);
    info(5701, "Changed database context to 'ERP_PROD'.", &mut out);
    env_change::write_collation(COLLATION, &mut out);
    env_change::write_language("us_english", "", &mut out);
    info(5703, "Changed language setting to us_english.", &mut out);
    login_ack::write(TdsVersion::V7_4, "Microsoft SQL Server\0\0", VERSION, &mut out);
    env_change::write_packet_size(8000, 4096, &mut out);
    feature_ext::write_ack(features, &mut out);
    Done::statement(DoneStatus::default(), 0).write(TdsVersion::V7_4, &mut out);
    out
}

fn welcome(features: &[Feature]) -> Welcome {
    match LoginReply::read(&reply(features), &ASKED) {
        Ok(LoginReply::Accepted(accepted)) => accepted.welcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_servers_answer_is_taken_apart() {
    let features = [
        Feature::new(id::SESSION_RECOVERY, &[9, 1, 5]),
        Feature::new(id::UTF8_SUPPORT, &[1]),
    ];
    let Ok(LoginReply::Accepted(accepted)) = LoginReply::read(&reply(&features), &ASKED) else {
        panic!("not let in")
    };
    assert_eq!(accepted.packet_size, 8000);
    assert_eq!(accepted.initial_state.as_deref(), Some(&[9, 1, 5][..]));
    let welcome = accepted.welcome;
    assert_eq!(
        (welcome.database.as_str(), welcome.language.as_str()),
        ("ERP_PROD", "us_english")
    );
    assert_eq!((welcome.collation, welcome.version), (COLLATION, VERSION));
    assert_eq!(welcome.server_name, "SQL1");
    assert!(welcome.features.utf8 && welcome.features.json == 0);
    assert_eq!(welcome.database_notice.map(|notice| notice.state), Some(2));
}

#[test]
fn what_clients_are_told_reads_like_a_servers_own_answer() {
    let welcome = welcome(&[Feature::new(id::UTF8_SUPPORT, &[1])]);
    let told = Told {
        tds_version: TdsVersion::V7_4,
        packet_size: 8000,
        database: "erp_prod",
        language: "",
        notices: Notices {
            database: true,
            language: true,
        },
        features: ASKED.features,
    };
    let mut out = BytesMut::new();
    welcome.write(&told, &mut out);
    assert_eq!(out, reply(&[Feature::new(id::UTF8_SUPPORT, &[1])]), "the same bytes");

    // A client that did not ask for the feature or the notices gets neither, but always its packet size.
    let told = Told {
        packet_size: 4096,
        notices: Notices::default(),
        features: Features::default(),
        database: "erp",
        language: "Deutsch",
        ..told
    };
    let mut out = BytesMut::new();
    welcome.write(&told, &mut out);
    let asked = Asked {
        features: Features::default(),
        ..ASKED
    };
    let Ok(LoginReply::Accepted(read)) = LoginReply::read(&out, &asked) else {
        panic!("not readable")
    };
    assert_eq!((read.packet_size, read.welcome.language.as_str()), (4096, "Deutsch"));
    assert_eq!(read.welcome.database, "erp", "the name that the client used");
    assert_eq!(
        (read.welcome.database_notice, read.welcome.language_notice),
        (None, None)
    );
    let needle: Vec<u8> = "4096".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(
        out.windows(needle.len()).any(|window| window == needle),
        "ENVCHANGE 4 is always there"
    );
}

#[test]
fn a_notice_counts_by_its_place_not_its_number() {
    // As a server of the other kind has it (TDS 14).
    let mut out = BytesMut::new();
    env_change::write_database("appdb", "", &mut out);
    info(0, "Changed database context to 'appdb'.", &mut out);
    login_ack::write(TdsVersion::V7_4, "Microsoft SQL Server", VERSION, &mut out);
    Done::statement(DoneStatus::default(), 2).write(TdsVersion::V7_4, &mut out);
    let Ok(LoginReply::Accepted(accepted)) = LoginReply::read(&out, &ASKED) else {
        panic!("not let in")
    };
    assert_eq!(accepted.packet_size, 4096, "it said nothing else");
    assert!(accepted.initial_state.is_none());
    assert_eq!(accepted.welcome.database_notice.map(|notice| notice.number), Some(0));
}

#[test]
fn refused_redirected_or_nonsense() {
    let error = |number: i32, text: &str, out: &mut BytesMut| {
        OwnMessage {
            number,
            state: 8,
            class: 14,
            text,
            server: "SQL1",
            procedure: "",
            line: 1,
        }
        .write_error(TdsVersion::V7_4, out);
    };
    let done = |out: &mut BytesMut| Done::statement(DoneStatus::ERROR, 0).write(TdsVersion::V7_4, out);

    let mut out = BytesMut::new();
    error(4060, "Cannot open database", &mut out);
    error(18456, "Login failed", &mut out);
    done(&mut out);
    let Ok(LoginReply::Refused(why)) = LoginReply::read(&out, &ASKED) else {
        panic!("let in")
    };
    assert_eq!((why.number, why.state), (4060, 8));

    // Routing: 20, length of the value, protocol 0, port, host; then an empty old value.
    let host: Vec<u8> = "node7".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut value = vec![0, 0x39, 0x30];
    value.extend_from_slice(&5_u16.to_le_bytes());
    value.extend_from_slice(&host);
    let mut token = vec![20];
    token.extend_from_slice(&(value.len() as u16).to_le_bytes());
    token.extend_from_slice(&value);
    token.extend_from_slice(&[0, 0]);
    let mut out = reply(&[]);
    let end = out.split_off(out.len() - 13);
    out.extend_from_slice(&[0xe3]);
    out.extend_from_slice(&(token.len() as u16).to_le_bytes());
    out.extend_from_slice(&token);
    out.unsplit(end);
    let elsewhere = LoginReply::Elsewhere {
        host: "node7".to_owned(),
        port: 12345,
    };
    assert_eq!(LoginReply::read(&out, &ASKED), Ok(elsewhere));

    let unasked = reply(&[Feature::new(id::COLUMN_ENCRYPTION, &[1])]);
    assert!(
        LoginReply::read(&unasked, &ASKED).is_err(),
        "a feature nobody asked for"
    );
    let mut older = ASKED;
    older.tds_version = TdsVersion::V7_3B;
    assert!(LoginReply::read(&reply(&[]), &older).is_err(), "another version");
    assert!(LoginReply::read(&[], &ASKED).is_err());
    let mut behind = reply(&[]);
    done(&mut behind);
    assert!(LoginReply::read(&behind, &ASKED).is_err(), "tokens behind the last one");
    let mut rows = BytesMut::from(&[0x81, 0xff, 0xff][..]);
    done(&mut rows);
    assert!(LoginReply::read(&rows, &ASKED).is_err(), "rows in a login");
}

#[test]
fn a_hostile_answer_never_panics() {
    let good = reply(&[Feature::new(id::SESSION_RECOVERY, &[1, 2, 3])]);
    for length in 0..good.len() {
        assert!(LoginReply::read(&good[..length], &ASKED).is_err(), "cut at {length}");
    }
    for position in 0..good.len() {
        for byte in [0, 1, 0x7f, 0x80, 0xfd, 0xff] {
            let mut bent = good.clone();
            bent[position] = byte;
            let _ = LoginReply::read(&bent, &ASKED);
        }
    }
}
