//! The bytes that the specification gives, read and written.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::BytesMut;
use weir_mssql::wire::{
    TdsVersion,
    all_headers::{self, AllHeaders},
    done::{Done, DoneKind, DoneStatus, command},
    env_change::{self, EnvChange, TransactionChange},
    packet::Header,
    read::Stop,
    return_value::{self, Value},
    rpc::{self, Enclave, ParameterValue, Procedure, RpcPiece, RpcReader, WellKnown},
    transaction_request::{self, Begin, TransactionRequest},
    utf16::Utf16,
    walker::{Content, Layout, Piece, Walker},
};

const DESCRIPTOR: u64 = 0x8877_6655_4433_2211;
const DESCRIPTOR_BYTES: &str = "11 22 33 44 55 66 77 88";

fn hex(text: &str) -> Vec<u8> {
    let text = text.replace("<d>", DESCRIPTOR_BYTES);
    text.split_whitespace()
        .flat_map(|word| match word.split_once('*') {
            Some((byte, count)) => vec![u8::from_str_radix(byte, 16).unwrap(); count.parse().unwrap()],
            None => vec![u8::from_str_radix(word, 16).unwrap()],
        })
        .collect()
}

fn written(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

/// The tokens of a response as text, fed in one slice.
fn walk(bytes: &[u8]) -> (Vec<String>, bool) {
    let mut walker = Walker::new(Layout::default());
    let mut input = bytes;
    let mut tokens = Vec::new();
    while let Some(piece) = walker.next(&mut input).unwrap() {
        if let Piece::Token(token) = piece {
            tokens.push(format!("{:?}", token.content));
        }
    }
    (tokens, walker.is_complete())
}

#[test]
fn golden_bytes_are_what_we_write() {
    let version = TdsVersion::V7_4;
    assert_eq!(Header::attention().to_bytes()[..], hex("06 01 00 08 00 00 01 00"));
    assert_eq!(
        written(|out| Done::attention().write(version, out)),
        hex("FD 20 00 FD 00 00*8")
    );
    assert_eq!(
        written(|out| Done::ignored().write(version, out)),
        hex("FD 02 00 00 00 00*8")
    );
    assert_eq!(written(env_change::write_reset_ack), hex("E3 03 00 12 00 00"));
    for (change, command, bytes) in [
        (
            TransactionChange::Begin,
            command::BEGIN,
            "E3 0B 00 08 08 <d> 00 FD 00 00 D4 00 00*8",
        ),
        (
            TransactionChange::Commit,
            command::COMMIT,
            "E3 0B 00 09 00 08 <d> FD 00 00 D5 00 00*8",
        ),
        (
            TransactionChange::Rollback,
            command::ROLLBACK,
            "E3 0B 00 0A 00 08 <d> FD 00 00 D2 00 00*8",
        ),
    ] {
        let ours = written(|out| {
            env_change::write_transaction(change, DESCRIPTOR, out);
            Done::statement(DoneStatus::default(), command).write(version, out);
        });
        assert_eq!(ours, hex(bytes));
    }
    let headers = "16 00 00 00 12 00 00 00 02 00 <d> 01 00 00 00";
    assert_eq!(written(|out| all_headers::write(DESCRIPTOR, out)), hex(headers));
    let none = Utf16(&[]);
    assert_eq!(
        written(|out| transaction_request::write_begin(0, none, out)),
        hex("05 00 00 00")
    );
    assert_eq!(
        written(|out| transaction_request::write_commit(none, out)),
        hex("07 00 00 00")
    );
    assert_eq!(
        written(|out| transaction_request::write_rollback(none, out)),
        hex("08 00 00 00")
    );
}

#[test]
fn golden_bytes_are_what_we_read() {
    let headers = hex("16 00 00 00 12 00 00 00 02 00 <d> 01 00 00 00");
    let read = AllHeaders::read(&headers).unwrap();
    let descriptor = read.transaction.unwrap();
    assert_eq!((read.length, descriptor.value, descriptor.at), (22, DESCRIPTOR, 10));
    for cut in 0..headers.len() {
        assert!(matches!(AllHeaders::read(&headers[..cut]), Err(Stop::Need(need)) if need > cut && need <= 22));
    }
    let begin = Begin::default();
    for (bytes, request) in [
        ("05 00 00 00", TransactionRequest::Begin(begin)),
        (
            "05 00 02 00",
            TransactionRequest::Begin(Begin { isolation: 2, ..begin }),
        ),
        (
            "07 00 00 01 00 00",
            TransactionRequest::Commit {
                name: Utf16(&[]),
                next: Some(begin),
            },
        ),
        (
            "07 00 00 00",
            TransactionRequest::Commit {
                name: Utf16(&[]),
                next: None,
            },
        ),
        (
            "08 00 06 73 00 70 00 31 00 00",
            TransactionRequest::Rollback {
                name: Utf16(b"s\0p\x001\0"),
                next: None,
            },
        ),
        ("06 00", TransactionRequest::Promote),
    ] {
        let bytes = hex(bytes);
        assert_eq!(TransactionRequest::read(&bytes), Ok(request));
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(TransactionRequest::read(&longer), Err(Stop::Fault(_))));
        assert!(matches!(
            TransactionRequest::read(&bytes[..bytes.len() - 1]),
            Err(Stop::Need(_))
        ));
    }
}

#[test]
fn responses_of_the_specification_are_walked_to_their_end() {
    let (tokens, complete) = walk(&hex("FF 11 00 C1 00 01 00*7 79 00 00 00 00 FE 00 00 E0 00 00*8"));
    assert!(complete);
    assert_eq!(tokens.len(), 3);
    assert_eq!(tokens[1], "ReturnStatus(0)");

    let (tokens, complete) = walk(&hex("E3 03 00 12 00 00 E3 0B 00 08 08 <d> 00 FD 00 00 D4 00 00*8"));
    assert!(complete);
    assert_eq!(tokens[0], "EnvChange(ResetAck)");
    assert!(tokens[1].contains("Begin"));

    for (bytes, why) in [
        ("FD 01 00 C1 00 00*8", "more comes"),
        ("FF 00 00 C1 00 00*8", "a DONEINPROC ends no response"),
        ("FD 00 00 C1 00 00*7", "a byte is missing"),
        ("FD 00 00 C1 00 00*8 79 00 00 00 00", "the last token is no DONE"),
        ("FD 00 00 C1 00 00*8 E3", "half a token follows"),
        ("", "nothing at all"),
    ] {
        assert!(!walk(&hex(bytes)).1, "{why}");
    }
}

#[test]
fn descriptors_are_found_wherever_they_stand() {
    for (bytes, at) in [
        ("E3 0B 00 08 08 <d> 00", 5),
        ("E3 0B 00 09 00 08 <d>", 6),
        ("E3 0B 00 0B 08 <d> 00", 5),
        ("E3 0B 00 0C 00 08 <d>", 6),
        ("E3 0B 00 11 08 <d> 00", 5),
    ] {
        let bytes = hex(bytes);
        let Ok(EnvChange::Transaction {
            descriptor, at: found, ..
        }) = EnvChange::parse(&bytes)
        else {
            panic!("{bytes:02x?}")
        };
        assert_eq!((descriptor, found), (DESCRIPTOR, Some(at)));
    }
}

/// TDS 4.3: its length says 1, whatever follows.
#[test]
fn a_promoted_transaction_has_a_length_that_lies() {
    let bytes = hex("E3 01 00 0F 05 00 00 00 01 02 03 04 05 00 FD 00 00 00 00 00*8");
    let (tokens, complete) = walk(&bytes);
    assert!(complete);
    assert_eq!(tokens[0], "EnvChange(Other(15))");
}

#[test]
fn done_below_7_2_is_shorter() {
    let mut walker = Walker::new(Layout {
        version: TdsVersion::V7_1,
        ..Layout::default()
    });
    let bytes = hex("FD 10 00 C1 00 05 00 00 00");
    let mut input = &bytes[..];
    let Some(Piece::Token(token)) = walker.next(&mut input).unwrap() else {
        panic!()
    };
    let Content::Done(done) = token.content else { panic!() };
    assert_eq!((done.kind, done.rows, token.bytes.len()), (DoneKind::Statement, 5, 9));
}

#[test]
fn what_is_no_token_is_refused() {
    let mut walker = Walker::new(Layout::default());
    let bytes = hex("FD 00 00 C1 00 00*8 42");
    let mut input = &bytes[..];
    assert!(matches!(walker.next(&mut input), Ok(Some(Piece::Token(_)))));
    assert!(walker.is_complete());
    assert!(walker.next(&mut input).is_err());
    assert!(!walker.is_complete(), "what is broken is not complete");
    assert!(walker.next(&mut &bytes[..]).is_err(), "and stays broken");
    walker.begin();
    assert!(walker.next(&mut &bytes[..]).is_ok());
    let mut walker = Walker::new(Layout::default());
    assert!(walker.next(&mut &[0xd1, 1][..]).is_err(), "a row without metadata");
}

#[test]
fn types_that_cannot_be_are_refused() {
    for (column, why) in [
        ("AD FF FF", "a fixed length without a length"),
        ("AF FF FF 09 04 D0 00 34", "a fixed length without a length"),
        ("F3", "a table is no column"),
        ("00", "no type at all"),
        ("42", "no type at all"),
    ] {
        let mut walker = Walker::new(Layout::default());
        let bytes = hex(&format!("81 01 00 00 00 00 00 09 00 {column} 01 61 00 D1"));
        let mut input = &bytes[..];
        assert!(matches!(walker.next(&mut input), Ok(Some(Piece::Token(_)))));
        assert!(walker.next(&mut input).is_err(), "{why}");
    }
}

/// TDS 7.1: `AC ordinal name status usertype flags 26 04 04 <handle>`, of which the last four bytes are replaced.
#[test]
fn handles_come_and_go_as_return_values() {
    for version in [TdsVersion::V7_1, TdsVersion::V7_4] {
        let name = Utf16(b"@\0h\0");
        let token = written(|out| return_value::write_integer(3, name, 0x0102_0304, version, out));
        let stream = [&token[..], &written(|out| return_value::write_status(-6, out))].concat();
        let mut walker = Walker::new(Layout {
            version,
            ..Layout::default()
        });
        let mut input = &stream[..];
        let Some(Piece::Token(token)) = walker.next(&mut input).unwrap() else {
            panic!()
        };
        let Content::ReturnValue(read) = token.content else {
            panic!()
        };
        let at = token.bytes.len() - 4;
        let value = Value::Integer {
            value: 0x0102_0304,
            at,
            size: 4,
        };
        assert_eq!((read.ordinal, read.name, read.status, read.value), (3, name, 1, value));
        let Some(Piece::Token(token)) = walker.next(&mut input).unwrap() else {
            panic!()
        };
        assert_eq!(token.content, Content::ReturnStatus(-6));
    }
}

/// TDS 4.3a: the status of a row that a cursor fetched, without a column for it; in each of two result sets.
#[test]
fn a_status_behind_fetched_rows_needs_no_description() {
    let column = "81 01 00 00 00 00 00 09 00 26 04 00";
    let fetched = format!("{column} D1 04 07 00*3 01 00*3 D1 04 08 00*3 02 00*3 FF 11 00 C1 00 00*8");
    let bytes = hex(&format!("{fetched} {fetched} 79 00*4 FE 00 00 E0 00 00*8"));
    for slice in 1..bytes.len() {
        let mut walker = Walker::new(Layout::default());
        walker.expect_cursor_rows();
        for mut input in bytes.chunks(slice) {
            while walker.next(&mut input).unwrap().is_some() {}
        }
        assert!(walker.is_complete(), "{slice}");
    }
    // Only where it is expected, and only behind a row.
    let mut walker = Walker::new(Layout::default());
    let mut input = &bytes[..];
    assert!((0..9).any(|_| walker.next(&mut input).is_err()));
    let mut walker = Walker::new(Layout::default());
    walker.expect_cursor_rows();
    assert!(walker.next(&mut &hex("01 00*3")[..]).is_err());
}

/// The example of the protocol's documentation: a table of one column and one row (TDS 7.1).
#[test]
fn a_table_valued_parameter_streams_by() {
    let bytes = hex(
        "03 00 66 00 6F 00 6F 00 00 00 00 00 F3 00 03 64 00 62 00 6F 00 07 74 00 76 00 70 00 74 00 79 00 70 00 65 00 \
         01 00 00 00 00 00 00 00 26 01 00 00 01 01 02 00",
    );
    let mut reader = RpcReader::new(TdsVersion::V7_3A, Enclave::No, 100);
    let mut input = &bytes[..];
    let Some(RpcPiece::Call(call)) = reader.next(&mut input).unwrap() else {
        panic!()
    };
    assert_eq!(call.procedure, Procedure::Named(Utf16(b"f\0o\0o\0")));
    let Some(RpcPiece::Parameter(parameter)) = reader.next(&mut input).unwrap() else {
        panic!()
    };
    assert_eq!((parameter.type_id, parameter.value), (0xf3, ParameterValue::Follows));
    let Some(RpcPiece::Pass(table)) = reader.next(&mut input).unwrap() else {
        panic!()
    };
    assert_eq!(table.len(), bytes.len() - 13);
    assert!(reader.is_complete());
}

#[test]
fn procedures_are_known_by_number_and_by_name() {
    let name = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for (text, known) in [
        ("sp_execute", Some(WellKnown::Execute)),
        ("SP_PrepExec", Some(WellKnown::PrepExec)),
        ("sys.sp_executesql", Some(WellKnown::ExecuteSql)),
        ("[sys].[sp_unprepare]", Some(WellKnown::Unprepare)),
        ("\"sp_cursoropen\"", Some(WellKnown::CursorOpen)),
        ("master.dbo.sp_prepare", Some(WellKnown::Prepare)),
        ("master..sp_reset_connection", Some(WellKnown::ResetConnection)),
        ("other.sys.sp_execute", None),
        ("server.master.sys.sp_execute", None),
        ("mine.sp_execute", None),
        ("sp_executes", None),
        ("[sp_execute", None),
        ("[sp]]_execute]", None),
        ("a.b.c.d.e", None),
        ("", None),
    ] {
        let found = match Procedure::from_name(Utf16(&name(text))) {
            Procedure::WellKnown(known) => Some(known),
            _ => None,
        };
        assert_eq!(found, known, "{text}");
    }
    assert_eq!(Procedure::from_number(13), Procedure::WellKnown(WellKnown::PrepExec));
    assert_eq!(Procedure::from_number(16), Procedure::Unknown(16));
    assert_eq!(Procedure::from_number(0xfff0), Procedure::Unknown(0xfff0));
}

/// TDS 7.2: `sp_execute` becomes `sp_prepexec` with its values as they came.
#[test]
fn an_execute_can_be_turned_into_a_prepare_and_execute() {
    let collation = [9, 4, 0xd0, 0, 0x34];
    let none = Utf16(&[]);
    let text = "select @p"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect::<Vec<u8>>();
    let values = hex("00 00 E7 40 1F 09 04 D0 00 34 04 00 61 00 62 00 00 00 26 08 08 01 02 03 04 05 06 07 08");
    let request = written(|out| {
        rpc::write::call(WellKnown::Execute, out);
        rpc::write::integer(none, 0, Some(7), out);
        out.extend_from_slice(&values);
    });
    let rewritten = written(|out| {
        let mut reader = RpcReader::new(TdsVersion::V7_4, Enclave::No, 1000);
        let mut input = &request[..];
        while let Some(piece) = reader.next(&mut input).unwrap() {
            match piece {
                RpcPiece::Call(_) => rpc::write::call(WellKnown::PrepExec, out),
                RpcPiece::Parameter(parameter) if parameter.ordinal == 0 => {
                    assert!(matches!(parameter.value, ParameterValue::Integer { value: 7, .. }));
                    rpc::write::integer(parameter.name, rpc::status::OUTPUT, None, out);
                    rpc::write::text(none, Some(none), collation, out);
                    rpc::write::text(none, Some(Utf16(&text)), collation, out);
                }
                other => out.extend_from_slice(other.bytes()),
            }
        }
    });
    assert!(rewritten.ends_with(&values));
    let mut reader = RpcReader::new(TdsVersion::V7_4, Enclave::No, 1000);
    let mut input = &rewritten[..];
    let mut found = Vec::new();
    while let Some(piece) = reader.next(&mut input).unwrap() {
        if let RpcPiece::Parameter(parameter) = piece {
            found.push(format!("{:?}", parameter.value));
        }
    }
    assert!(reader.is_complete());
    assert_eq!(found[..3], ["Null", "Text(\"\")", "Text(\"select @p\")"]);
    assert_eq!(found.len(), 5);
}

/// One longer than 8,000 bytes goes in chunks, NULL is told from empty.
#[test]
fn texts_of_any_length_survive_the_wire() {
    for text in [None, Some(0), Some(1), Some(4000), Some(4001), Some(100_000)] {
        let units = text.map(|length| b"x\0".repeat(length));
        let request = written(|out| {
            rpc::write::call(WellKnown::ExecuteSql, out);
            rpc::write::text(Utf16(b"@\0s\0"), units.as_deref().map(Utf16), [0; 5], out);
        });
        for slice in [1, 1000, request.len()] {
            let mut reader = RpcReader::new(TdsVersion::V7_4, Enclave::No, 1_000_000);
            let mut found = None;
            for mut input in request.chunks(slice) {
                while let Some(piece) = reader.next(&mut input).unwrap() {
                    if let RpcPiece::Parameter(parameter) = piece {
                        found = Some(match parameter.value {
                            ParameterValue::Null => None,
                            ParameterValue::Text(text) => Some(text.0.to_vec()),
                            other => panic!("{other:?}"),
                        });
                        assert_eq!(parameter.name, Utf16(b"@\0s\0"));
                    }
                }
            }
            assert_eq!(found, Some(units.clone()), "{text:?} {slice}");
        }
    }
}

/// Totals of COMPUTE: their rows are skipped by the metadata with their id, which holds for one result set.
#[test]
fn totals_are_skipped_by_their_own_metadata() {
    let columns = "81 01 00 00 00 00 00 09 00 26 04 00";
    let totals = "88 01 00 07 00 01 01 00 4D 01 00 00 00 00 00 00 00 38 00";
    let row = "D3 07 00 01 02 03 04";
    let good = hex(&format!(
        "{columns} {totals} D1 00 {row} D1 00 {row} FD 00 00 C1 00 00*8"
    ));
    for slice in 1..=good.len() {
        let mut walker = Walker::new(Layout::default());
        for mut input in good.chunks(slice) {
            while walker.next(&mut input).unwrap().is_some() {}
        }
        assert!(walker.is_complete(), "{slice}");
    }
    for bad in [
        format!("{columns} {totals} D1 00 {columns} {row}"),
        format!("{columns} D1 00 {row}"),
    ] {
        let bytes = hex(&bad);
        let mut walker = Walker::new(Layout::default());
        let mut input = &bytes[..];
        assert!((0..9).any(|_| walker.next(&mut input).is_err()), "{bad}");
    }
}

#[test]
fn what_is_longer_than_its_kind_may_be_is_refused_however_it_is_cut() {
    // A table's name in three parts of 128 KiB.
    let mut bytes = hex("81 01 00 00 00 00 00 09 00 22 FF FF FF 7F 03");
    for _ in 0..3 {
        bytes.extend([0xff, 0xff]);
        bytes.extend([0; 2 * 0xffff]);
    }
    bytes.extend([0, 0xfd]);
    for slice in [4088, bytes.len()] {
        let mut walker = Walker::new(Layout::default());
        let refused = bytes.chunks(slice).any(|mut input| {
            loop {
                match walker.next(&mut input) {
                    Ok(Some(_)) => {}
                    Ok(None) => break false,
                    Err(_) => break true,
                }
            }
        });
        assert!(refused, "{slice}");
    }
}

#[test]
fn a_text_over_the_limit_may_end_the_request() {
    let request = written(|out| {
        rpc::write::call(WellKnown::ExecuteSql, out);
        rpc::write::text(Utf16(&[]), Some(Utf16(&[b'x', 0].repeat(50))), [0; 5], out);
    });
    for limit in 0..request.len() {
        for slice in [1, request.len()] {
            let mut reader = RpcReader::new(TdsVersion::V7_4, Enclave::No, limit);
            for mut input in request.chunks(slice) {
                while reader.next(&mut input).unwrap().is_some() {}
            }
            assert!(reader.is_complete(), "{limit} {slice}");
        }
    }
}
