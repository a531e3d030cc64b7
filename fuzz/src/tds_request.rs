//! Requests: headers, transaction requests, and calls however they are cut; in valid calls, the parts that are there.

use weir_mssql::{
    limits,
    wire::{
        TdsVersion,
        all_headers::AllHeaders,
        read::Stop,
        rpc::{Enclave, ParameterValue, RpcPiece, RpcReader},
        transaction_request::TransactionRequest,
    },
};

use crate::generate::{self, Entropy, Part};

/// Texts of parameters up to here.
const TEXT_LIMIT: usize = 60;

/// Places and bytes of what is handed out whole, the bytes handed out, whether it may end here, or what was wrong. A text
/// over the limit has no bytes: how many of them come with its head depends on the cuts.
type Walk = (Vec<(u64, Vec<u8>)>, Vec<u8>, Result<bool, &'static str>);

/// The first byte chooses the version, and whether the rest is a request or what a valid one is made from; the second
/// where it is cut in two.
pub fn run(data: &[u8]) {
    let [first, cut, rest @ ..] = data else { return };
    headers(rest);
    let made = match first & 1 {
        0 => None,
        _ => Some(generate::calls(&mut Entropy(rest), first & 2 != 0, TEXT_LIMIT)),
    };
    let stream = made.as_ref().map_or(rest, |made| &made.bytes);
    let (front, back) = stream.split_at(usize::from(*cut).min(stream.len()));
    let whole = walk([stream], *first);
    check(&walk([front, back], *first), &whole);
    check(&walk(stream.chunks(1), *first), &whole);
    if let Some(made) = &made
        && first & 4 == 0
    {
        assert_eq!(whole.2, Ok(true), "a valid request is not complete");
        let places: Vec<usize> = made.parts.iter().map(|(at, ..)| *at).collect();
        let found: Vec<usize> = whole.0.iter().map(|(at, _)| *at as usize).collect();
        assert_eq!(found, places);
        assert!(made.parts.first().is_some_and(|(.., part)| *part == Part::Call));
    }
}

fn headers(bytes: &[u8]) {
    match AllHeaders::read(bytes) {
        Ok(read) => {
            assert!(read.length <= bytes.len());
            if let Some(descriptor) = read.transaction {
                let there = &bytes[descriptor.at..descriptor.at + 8];
                assert_eq!(there, descriptor.value.to_le_bytes());
            }
            let _ = TransactionRequest::read(&bytes[read.length..]);
        }
        Err(Stop::Need(need)) => assert!(need > bytes.len() && need <= limits::MAX_ALL_HEADERS),
        Err(Stop::Fault(_)) => {}
    }
}

fn check(split: &Walk, whole: &Walk) {
    assert_eq!(split.0, whole.0);
    assert_eq!(split.2, whole.2);
    match whole.2 {
        Ok(_) => assert_eq!(split.1, whole.1),
        Err(_) => assert!(split.1.starts_with(&whole.1)),
    }
}

fn walk<'a>(slices: impl IntoIterator<Item = &'a [u8]>, first: u8) -> Walk {
    let version = if first & 4 == 0 {
        TdsVersion::V7_4
    } else {
        TdsVersion::V7_1
    };
    let enclave = if first & 2 == 0 { Enclave::No } else { Enclave::Package };
    let mut reader = RpcReader::new(version, enclave, TEXT_LIMIT);
    let (mut parts, mut seen) = (Vec::new(), Vec::new());
    for mut input in slices {
        loop {
            match reader.next(&mut input) {
                Ok(None) => break,
                Ok(Some(piece)) => {
                    assert!(!piece.bytes().is_empty());
                    seen.extend_from_slice(piece.bytes());
                    parts.extend(look(piece));
                }
                Err(what) => return (parts, seen, Err(what)),
            }
        }
        assert!(input.is_empty(), "input is left");
        assert!(reader.held() <= limits::MAX_ELEMENT + TEXT_LIMIT);
        assert_eq!(reader.position(), seen.len() as u64);
    }
    (parts, seen, Ok(reader.is_complete()))
}

fn look(piece: RpcPiece<'_>) -> Option<(u64, Vec<u8>)> {
    Some(match piece {
        RpcPiece::Pass(_) => return None,
        RpcPiece::Call(call) => {
            assert!(call.flags_at + 2 <= call.bytes.len());
            (call.at, call.bytes.to_vec())
        }
        RpcPiece::Separator(separator) => (separator.at, separator.bytes.to_vec()),
        RpcPiece::Parameter(parameter) => {
            match parameter.value {
                ParameterValue::Integer { at, size, .. } => assert_eq!(at + size, parameter.bytes.len()),
                ParameterValue::Text(text) => assert!(text.0.len() < parameter.bytes.len()),
                ParameterValue::Follows => return Some((parameter.at, Vec::new())),
                ParameterValue::Null => {}
            }
            (parameter.at, parameter.bytes.to_vec())
        }
    })
}
