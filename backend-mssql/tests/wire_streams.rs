//! Streams of every shape, cut anywhere: always the same tokens, where the generator put them; and what another decoder
//! makes of them.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod differential;
#[allow(unreachable_pub, reason = "shared with the fuzz targets")]
mod generate;

use differential::{ours, theirs};
use generate::{Entropy, Negotiated, Part, calls, response};
use proptest::prelude::*;
use weir_mssql::wire::{
    TdsVersion,
    column_metadata::ColumnEncryption,
    data_classification::ClassificationVersion,
    rpc::{Enclave, ParameterValue, Procedure, RpcPiece, RpcReader, WellKnown},
    walker::{Layout, Piece, Walker},
};

type Tokens = Vec<(usize, usize, u8)>;

fn layout(negotiated: Negotiated) -> Layout {
    Layout {
        version: if negotiated.narrow {
            TdsVersion::V7_1
        } else {
            TdsVersion::V7_4
        },
        column_encryption: if negotiated.column_encryption {
            ColumnEncryption::On
        } else {
            ColumnEncryption::Off
        },
        data_classification: if negotiated.ranks {
            ClassificationVersion::Two
        } else {
            ClassificationVersion::One
        },
    }
}

/// Cuts bytes at these distances, again and again.
fn cut<'a>(mut bytes: &'a [u8], cuts: &'a [usize]) -> Vec<&'a [u8]> {
    let mut slices = Vec::new();
    for length in cuts.iter().cycle() {
        if bytes.is_empty() {
            break;
        }
        let (now, later) = bytes.split_at((*length).clamp(1, bytes.len()));
        slices.push(now);
        bytes = later;
    }
    slices
}

fn walk(bytes: &[u8], cuts: &[usize], layout: Layout) -> Tokens {
    let mut walker = Walker::new(layout);
    let (mut tokens, mut seen) = (Vec::new(), Vec::new());
    for mut input in cut(bytes, cuts) {
        let before = seen.len() + walker.held() + input.len();
        while let Some(piece) = walker.next(&mut input).unwrap() {
            seen.extend_from_slice(piece.bytes());
            if let Piece::Token(token) = piece {
                tokens.push((token.at as usize, token.bytes.len(), token.bytes[0]));
            }
        }
        assert_eq!(walker.position(), seen.len() as u64);
        assert_eq!(seen.len() + walker.held(), before, "nothing is lost");
    }
    assert_eq!(seen, bytes);
    assert!(walker.is_complete());
    tokens
}

fn negotiated() -> impl Strategy<Value = Negotiated> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(narrow, column_encryption, ranks)| Negotiated {
        narrow,
        column_encryption: column_encryption && !narrow,
        ranks,
        common: false,
    })
}

fn entropy() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..600)
}

fn cuts() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        Just(vec![1]),
        proptest::collection::vec(1_usize..40, 1..20),
        Just(vec![4088])
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_split_of_any_response_gives_the_tokens_that_are_in_it(
        bytes in entropy(), negotiated in negotiated(), cuts in cuts(),
    ) {
        let made = response(&mut Entropy(&bytes), negotiated);
        let layout = layout(negotiated);
        prop_assert_eq!(&walk(&made.bytes, &[made.bytes.len()], layout), &made.tokens);
        prop_assert_eq!(&walk(&made.bytes, &cuts, layout), &made.tokens);
    }

    #[test]
    fn another_decoder_finds_the_same(bytes in entropy(), cuts in cuts()) {
        let negotiated = Negotiated { common: true, ..Negotiated::default() };
        let made = response(&mut Entropy(&bytes), negotiated);
        prop_assert_eq!(ours(cut(&made.bytes, &cuts)), theirs(&made.bytes));
    }

    #[test]
    fn any_split_of_any_request_gives_the_parts_that_are_in_it(
        bytes in entropy(), enclave in any::<bool>(), cuts in cuts(), text_limit in prop_oneof![Just(40_usize), Just(100_000)],
    ) {
        let made = calls(&mut Entropy(&bytes), enclave, text_limit);
        prop_assert_eq!(&parts(&made.bytes, &[made.bytes.len()], enclave, text_limit), &made.parts);
        prop_assert_eq!(&parts(&made.bytes, &cuts, enclave, text_limit), &made.parts);
    }

    #[test]
    fn no_bytes_panic_and_no_byte_is_lost(bytes in entropy(), cuts in cuts(), negotiated in negotiated()) {
        let mut walker = Walker::new(layout(negotiated));
        prop_assert!(bytes.starts_with(&seen(&bytes, &cuts, |input| Ok(walker.next(input)?.map(|piece| piece.bytes().to_vec())))));
        let mut reader = RpcReader::new(layout(negotiated).version, Enclave::No, 100);
        prop_assert!(bytes.starts_with(&seen(&bytes, &cuts, |input| Ok(reader.next(input)?.map(|piece| piece.bytes().to_vec())))));
    }
}

/// What is handed out up to the first error.
fn seen<'a>(
    bytes: &'a [u8],
    cuts: &'a [usize],
    mut next: impl FnMut(&mut &'a [u8]) -> Result<Option<Vec<u8>>, &'static str>,
) -> Vec<u8> {
    let mut seen = Vec::new();
    for mut input in cut(bytes, cuts) {
        loop {
            match next(&mut input) {
                Ok(Some(piece)) => seen.extend(piece),
                Ok(None) => break,
                Err(_) => return seen,
            }
        }
    }
    seen
}

fn parts(bytes: &[u8], cuts: &[usize], enclave: bool, text_limit: usize) -> Vec<(usize, usize, Part)> {
    let enclave = if enclave { Enclave::Package } else { Enclave::No };
    let mut reader = RpcReader::new(TdsVersion::V7_4, enclave, text_limit);
    let (mut parts, mut seen) = (Vec::new(), Vec::new());
    let mut looks = false;
    for mut input in cut(bytes, cuts) {
        while let Some(piece) = reader.next(&mut input).unwrap() {
            seen.extend_from_slice(piece.bytes());
            match piece {
                RpcPiece::Pass(_) => {}
                RpcPiece::Call(call) => {
                    looks = matches!(
                        call.procedure,
                        Procedure::WellKnown(WellKnown::ExecuteSql | WellKnown::PrepExec)
                    );
                    assert_eq!(call.bytes[call.flags_at..][..2], [2, 0]);
                    parts.push((call.at as usize, call.bytes.len(), Part::Call));
                }
                RpcPiece::Separator(separator) => parts.push((separator.at as usize, 1, Part::Separator)),
                RpcPiece::Parameter(parameter) => {
                    let is_text = matches!(parameter.type_id, 0xe7 | 0xef | 0x63) && parameter.status & 8 == 0;
                    let (length, part) = match parameter.value {
                        ParameterValue::Integer { value, at, size } => {
                            assert_eq!(at + size, parameter.bytes.len());
                            (parameter.bytes.len(), Part::Integer(Some(value)))
                        }
                        ParameterValue::Null if is_text => (parameter.bytes.len(), Part::Text(None)),
                        ParameterValue::Null => (parameter.bytes.len(), Part::Integer(None)),
                        ParameterValue::Text(text) => (parameter.bytes.len(), Part::Text(Some(text.0.to_vec()))),
                        // How much of a text over the limit comes with its head depends on the cuts.
                        ParameterValue::Follows if is_text && looks && parameter.ordinal < 4 => {
                            (usize::MAX, Part::Other)
                        }
                        ParameterValue::Follows => (parameter.bytes.len(), Part::Other),
                    };
                    parts.push((parameter.at as usize, length, part));
                }
            }
        }
    }
    assert_eq!(seen, bytes);
    assert!(reader.is_complete());
    parts
}
