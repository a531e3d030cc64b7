//! The messages of a login: what is written is what is read, and whatever is wrong is refused.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::BytesMut;
use proptest::prelude::*;
use weir_core::{refusal::Fault, secret::Secret};
use weir_mssql::wire::{
    TdsVersion,
    assemble::Assembler,
    feature_ext::{self, Feature},
    login_ack::{self, LoginAck},
    login7::{Login7, flags3},
    packet::{self, Framed, Header, PacketKind, PacketReader, Sender, Status},
    prelogin::{Encryption, PreLogin, ProductVersion},
    read::Stop,
    reframe::{Reframer, framed},
};

fn login() -> Login7 {
    Login7 {
        tds_version: TdsVersion::V7_4.code(),
        packet_size: 8000,
        process_id: 7,
        flags1: 0xe0,
        flags2: 0x03,
        flags3: flags3::EXTENSION,
        host: "host".to_owned(),
        user: "änn".to_owned(),
        password: Secret::new("pässword 🔑".to_owned()),
        application: "app".to_owned(),
        server: "server".to_owned(),
        library: "lib".to_owned(),
        database: "ledger".to_owned(),
        client_id: [1, 2, 3, 4, 5, 6],
        features: vec![
            Feature::new(feature_ext::id::SESSION_RECOVERY, &[]),
            Feature::new(feature_ext::id::UTF8_SUPPORT, &[1]),
        ],
        ..Login7::default()
    }
}

#[test]
fn a_login_survives_the_wire() {
    let payload = login().to_payload().unwrap();
    assert_eq!(Login7::parse(&payload), Ok(login()));
    let read = Login7::parse(&payload).unwrap();
    assert_eq!(read.version(), Some(TdsVersion::V7_4));
    assert_eq!(read.feature(feature_ext::id::UTF8_SUPPORT), Some(&[1][..]));
    assert_eq!(read.feature(feature_ext::id::JSON_SUPPORT), None);
}

#[test]
fn an_old_login_has_the_old_layout() {
    let old = Login7 {
        tds_version: TdsVersion::V7_1.code(),
        flags3: 0,
        features: Vec::new(),
        ..login()
    };
    let payload = old.to_payload().unwrap();
    assert_eq!(Login7::parse(&payload), Ok(old));
    // Where the host stands tells where the fixed part ends.
    assert_eq!(payload[36..38], [86, 0]);
    let unable = Login7 {
        tds_version: TdsVersion::V7_1.code(),
        ..login()
    };
    assert!(unable.to_payload().is_err());
}

#[test]
fn the_password_is_not_in_the_clear_and_never_shown() {
    let payload = login().to_payload().unwrap();
    let clear: Vec<u8> = "pässword".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(!payload.windows(clear.len()).any(|window| window == clear));
    assert!(!format!("{:?}", login()).contains("pässword"));
}

#[test]
fn the_example_of_the_documentation_hides_a_password_as_we_do() {
    // TDS 3.1: swap the halves, then XOR with 0xA5. 'a' is 0x61: 0x16 ^ 0xa5 = 0xb3; its high byte 0 becomes 0xa5.
    let mut one = Login7 {
        tds_version: TdsVersion::V7_4.code(),
        ..Login7::default()
    };
    one.password = Secret::new("a".to_owned());
    let payload = one.to_payload().unwrap();
    assert_eq!(payload[94..96], [0xb3, 0xa5]);
}

#[test]
fn a_login_whose_offsets_lie_is_refused() {
    let good = login().to_payload().unwrap().to_vec();
    let changed = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        Login7::parse(&bad)
    };
    for (at, bytes, why) in [
        (0, &[0xff, 0xff, 0xff, 0x7f][..], "another length"),
        (36, &[0xff, 0xff], "host outside"),
        (36, &[0, 0], "host in the fixed part"),
        (42, &[0x81, 0], "user longer than 128"),
        (46, &[0xff, 0xff], "password longer than 128"),
        (56, &[0, 0], "extension in the fixed part"),
        (56, &[0xff, 0xff], "extension outside"),
        (80, &[0xff, 0x7f], "SSPI outside"),
    ] {
        assert!(changed(at, bytes).is_err(), "{why}");
    }
    // An empty text may point anywhere.
    assert!(changed(64, &[0xff, 0xff, 0, 0]).is_ok());
}

#[test]
fn features_are_bounded_and_come_once() {
    let mut twice = login();
    twice.features.push(Feature::new(feature_ext::id::UTF8_SUPPORT, &[1]));
    assert!(Login7::parse(&twice.to_payload().unwrap()).is_err());
    let mut many = login();
    many.features = (0..65).map(|id| Feature::new(id, &[])).collect();
    assert!(Login7::parse(&many.to_payload().unwrap()).is_err());
}

#[test]
fn prelogins_survive_the_wire() {
    let client = PreLogin {
        version: ProductVersion {
            major: 18,
            minor: 6,
            build: 2,
            sub_build: 0,
        },
        encryption: Some(Encryption::Off),
        instance: Some(b"MSSQLServer".to_vec()),
        thread_id: Some(vec![1, 2, 3, 4]),
        mars: Some(0),
        trace_id: Some(vec![7; 36]),
        federated_authentication: Some(1),
        nonce: None,
    };
    assert_eq!(PreLogin::parse(&client.to_client_payload()), Ok(client));
    // The answer of a server that its captures show (TDS 2.1), without TRACEID.
    let answer = PreLogin {
        version: ProductVersion {
            major: 12,
            minor: 0,
            build: 2000,
            sub_build: 0,
        },
        encryption: Some(Encryption::NotSupported),
        instance: Some(vec![0]),
        thread_id: Some(Vec::new()),
        mars: Some(0),
        ..PreLogin::default()
    };
    let bytes = answer.to_server_payload();
    assert_eq!(bytes.len(), 26 + 6 + 1 + 1 + 1);
    assert_eq!(bytes[..6], [0, 0, 26, 0, 6, 1]);
    assert_eq!(bytes[26..], [12, 0, 0x07, 0xd0, 0, 0, 2, 0, 0]);
}

#[test]
fn prelogins_that_lie_are_refused() {
    for (payload, why) in [
        (&[][..], "empty"),
        (&[0xff], "no VERSION"),
        (&[1, 0, 6, 0, 1, 0xff, 0], "VERSION is not first"),
        (&[0, 0, 6, 0, 6, 0xff, 1, 2, 3, 4, 5], "outside"),
        (&[0, 0, 6, 0, 5, 0xff, 1, 2, 3, 4, 5], "VERSION too short"),
        (&[0, 0, 6, 0, 6, 1, 2, 3, 4, 5, 6], "no end"),
    ] {
        assert!(PreLogin::parse(payload).is_err(), "{why}");
    }
    let twice = [0, 0, 16, 0, 6, 4, 0, 16, 0, 1, 4, 0, 16, 0, 1, 0xff, 1, 2, 3, 4, 5, 6];
    assert_eq!(PreLogin::parse(&twice), Err("PRELOGIN option twice"));
}

#[test]
fn login_acknowledgements_survive_the_wire() {
    for version in [
        TdsVersion::V7_1,
        TdsVersion::V7_2,
        TdsVersion::V7_3A,
        TdsVersion::V7_3B,
        TdsVersion::V7_4,
        TdsVersion::V8_0,
    ] {
        let product = ProductVersion {
            major: 16,
            minor: 0,
            build: 4135,
            sub_build: 0,
        };
        let mut out = BytesMut::new();
        login_ack::write(version, "Microsoft SQL Server", product, &mut out);
        let read = LoginAck::parse(&out).unwrap();
        assert_eq!(TdsVersion::from_code(read.tds_version), Some(version));
        assert_eq!((read.interface, read.version), (1, product));
        assert_eq!(read.program.to_lossy(), "Microsoft SQL Server");
    }
    let mut out = BytesMut::new();
    login_ack::write(TdsVersion::V7_4, "", ProductVersion::default(), &mut out);
    assert_eq!(out[4..8], [0x74, 0, 0, 4], "the version is big-endian (TDS 3.3)");
}

#[test]
fn feature_acknowledgements_survive_the_wire() {
    let features = vec![
        Feature::new(feature_ext::id::UTF8_SUPPORT, &[1]),
        Feature::new(feature_ext::id::JSON_SUPPORT, &[1]),
    ];
    let mut out = BytesMut::new();
    feature_ext::write_ack(&features, &mut out);
    assert_eq!(feature_ext::parse_ack(&out), Ok((features, out.len())));
    for cut in 0..out.len() {
        assert!(
            matches!(feature_ext::parse_ack(&out[..cut]), Err(Stop::Need(need)) if need > cut && need <= out.len())
        );
    }
    let mut none = BytesMut::new();
    feature_ext::write_ack(&[], &mut none);
    assert!(none.is_empty());
}

#[test]
fn packet_sizes_are_negotiated_as_servers_do() {
    for (asked, given) in [
        (0, 4096),
        (1, 512),
        (512, 512),
        (4097, 4096),
        (8000, 8000),
        (32767, 32764),
        (65535, 32764),
    ] {
        assert_eq!(packet::negotiate_packet_size(asked), given, "{asked}");
    }
}

#[test]
fn a_login_over_the_limit_is_refused_before_it_is_held() {
    let message = framed(PacketKind::Login7, &[0; 10_000], 4096);
    let mut assembler = Assembler::new(Sender::Client, 9_999);
    assert_eq!(
        assembler.push(&mut &message[..]).unwrap_err(),
        Fault::Client("message longer than a login may be")
    );
}

proptest! {
    #[test]
    fn any_split_of_a_login_gives_the_same_message(cuts in proptest::collection::vec(1_usize..700, 1..40), size in 600_usize..9_000) {
        let payload: Vec<u8> = (0..size).map(|at| at as u8).collect();
        let bytes = framed(PacketKind::Login7, &payload, 4096);
        let mut assembler = Assembler::new(Sender::Client, 131_071);
        let (mut arrived, mut taken, mut found) = (0, 0, None);
        for cut in cuts.iter().cycle() {
            arrived = (arrived + cut).min(bytes.len());
            let mut now = &bytes[taken..arrived];
            found = assembler.push(&mut now).unwrap();
            taken = arrived - now.len();
            if found.is_some() {
                break;
            }
            prop_assert!(arrived < bytes.len());
        }
        prop_assert_eq!(taken, bytes.len());
        prop_assert_eq!(&found.unwrap().payload[..], &payload[..]);
        prop_assert!(assembler.is_between_messages());
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Login7::parse(&bytes);
        let _ = PreLogin::parse(&bytes);
        let _ = LoginAck::parse(&bytes);
        let _ = feature_ext::parse_ack(&bytes);
    }
}

#[test]
fn texts_of_a_login_have_the_protocols_bounds() {
    let mut long = login();
    long.application = "a".repeat(128);
    let good = long.to_payload().unwrap().to_vec();
    assert!(Login7::parse(&good).is_ok());
    // The user's name becomes one unit longer than allowed, over bytes that are there.
    let at = |slot: usize| u16::from_le_bytes([good[slot], good[slot + 1]]);
    let mut bad = good.clone();
    bad[40..42].copy_from_slice(&at(48).to_le_bytes());
    bad[42..44].copy_from_slice(&129_u16.to_le_bytes());
    assert_eq!(
        Login7::parse(&bad),
        Err("a text in LOGIN7 is longer than the protocol allows")
    );
    bad[42..44].copy_from_slice(&128_u16.to_le_bytes());
    assert!(Login7::parse(&bad).is_ok());
    // The pointer to the features points into the fixed part.
    let mut bad = good.clone();
    let pointer = usize::from(at(56));
    bad[pointer..pointer + 4].copy_from_slice(&93_u32.to_le_bytes());
    assert_eq!(Login7::parse(&bad), Err("LOGIN7 points into its fixed part"));
    long.application.push('a');
    assert!(long.to_payload().is_err());
}

#[test]
fn packets_that_cannot_be_are_refused() {
    let read = |sender, size, packets: &[[u8; 8]]| {
        let bytes = packets.concat();
        let mut reader = PacketReader::new(sender);
        reader.set_packet_size(size);
        let mut input = &bytes[..];
        loop {
            match reader.read(&mut input) {
                Ok(Framed::Need(_)) => return Ok(()),
                Ok(_) => {}
                Err(fault) => return Err(fault),
            }
        }
    };
    let packet = |kind: u8, status: u8, length: u16| {
        let [high, low] = length.to_be_bytes();
        [kind, status, high, low, 0, 0, 1, 0]
    };
    for (sender, packets, why) in [
        (Sender::Client, vec![packet(1, 1, 7)], "shorter than its header"),
        (Sender::Client, vec![packet(1, 1, 4097)], "longer than negotiated"),
        (Sender::Client, vec![packet(5, 1, 8)], "an unknown type"),
        (Sender::Client, vec![packet(2, 1, 8)], "the login before TDS 7"),
        (Sender::Client, vec![packet(4, 1, 8)], "a response of a client"),
        (Sender::Server, vec![packet(1, 1, 8)], "a batch of a server"),
        (
            Sender::Client,
            vec![packet(1, 0, 8), packet(3, 1, 8)],
            "another type in the middle",
        ),
        (
            Sender::Client,
            vec![packet(1, 0, 8), packet(6, 1, 8)],
            "an Attention in the middle",
        ),
        (Sender::Client, vec![packet(6, 1, 9)], "an Attention with a payload"),
        (Sender::Client, vec![packet(6, 0, 8)], "an Attention without an end"),
        (Sender::Client, vec![packet(1, 0x19, 8)], "both reset bits"),
    ] {
        let fault = read(sender, 4096, &packets).expect_err(why);
        assert!(matches!(
            (sender, fault),
            (Sender::Client, Fault::Client(_)) | (Sender::Server, Fault::Server(_))
        ));
    }
    for (sender, packets) in [
        (Sender::Client, vec![packet(1, 0, 8), packet(1, 1, 8), packet(6, 1, 8)]),
        (Sender::Client, vec![packet(1, 1, 4096)]),
        (
            Sender::Server,
            vec![packet(4, 0, 8), packet(4, 1, 8), packet(0x12, 1, 8)],
        ),
    ] {
        assert_eq!(read(sender, 4096, &packets), Ok(()));
    }
}

#[test]
fn a_payload_that_fills_its_packets_needs_no_empty_one() {
    for (payload, lengths) in [
        (0, vec![8]),
        (504, vec![512]),
        (505, vec![512, 9]),
        (1008, vec![512, 512]),
    ] {
        let bytes = framed(PacketKind::SqlBatch, &vec![7; payload], 512);
        let (mut rest, mut found) = (&bytes[..], Vec::new());
        while let Some(header) = Header::read(rest).unwrap() {
            rest = &rest[usize::from(header.length)..];
            assert_eq!(header.status.ends_message(), rest.is_empty());
            found.push(header.length);
        }
        assert_eq!(found, lengths, "{payload}");
    }
}

#[test]
fn a_message_that_is_broken_off_is_taken_back_only_if_it_was_begun() {
    let mut reframer = Reframer::new(512);
    let mut out = BytesMut::new();
    reframer.begin(PacketKind::SqlBatch, Status::default());
    reframer.push(&[1; 100], &mut out);
    assert!(!reframer.abort(&mut out) && out.is_empty());
    reframer.begin(PacketKind::SqlBatch, Status::default());
    reframer.push(&[1; 600], &mut out);
    assert!(reframer.abort(&mut out));
    let last = Header::read(&out[512..]).unwrap().unwrap();
    assert!(last.status.ignores_message());
    assert_eq!(usize::from(last.length), out.len() - 512);
}
