//! Responses: however they are cut, the same tokens and no byte lost; and in valid ones, the tokens that are there.

use weir_mssql::{
    limits,
    wire::{
        TdsVersion,
        column_metadata::ColumnEncryption,
        data_classification::ClassificationVersion,
        walker::{Content, Layout, Piece, Walker},
    },
};

use crate::generate::{self, Entropy, Negotiated};

/// What a walk gives: tokens with their places, the bytes handed out, whether it may end here, or what was wrong.
type Walk = (Vec<(u64, Vec<u8>)>, Vec<u8>, Result<bool, &'static str>);

/// The first byte chooses the layout, and whether the rest is a stream or what a valid one is made from; the second where
/// it is cut in two.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else {
        return;
    };
    let negotiated = Negotiated {
        narrow: first & 3 == 3,
        column_encryption: first & 3 == 1,
        ranks: first & 4 != 0,
        common: false,
    };
    let Some((cut, rest)) = rest.split_first() else { return };
    let made = match first & 8 {
        0 => None,
        _ => Some(generate::response(&mut Entropy(rest), negotiated)),
    };
    let stream = made.as_ref().map_or(rest, |made| &made.bytes);
    let (front, back) = stream.split_at(usize::from(*cut).min(stream.len()));
    let layout = layout(negotiated);
    let whole = walk([stream], layout, *first);
    check(&walk([front, back], layout, *first), &whole);
    check(&walk(stream.chunks(1), layout, *first), &whole);
    if let Some(made) = &made {
        assert_eq!(whole.2, Ok(true), "a valid response is not complete");
        let places: Vec<(usize, usize)> = made.tokens.iter().map(|(at, length, _)| (*at, *length)).collect();
        let found: Vec<(usize, usize)> = whole.0.iter().map(|(at, bytes)| (*at as usize, bytes.len())).collect();
        assert_eq!(found, places);
    }
}

/// Bytes in front of an error are not handed out when they came with it.
fn check(split: &Walk, whole: &Walk) {
    assert_eq!(split.0, whole.0);
    assert_eq!(split.2, whole.2);
    match whole.2 {
        Ok(_) => assert_eq!(split.1, whole.1),
        Err(_) => assert!(split.1.starts_with(&whole.1)),
    }
}

fn layout(negotiated: Negotiated) -> Layout {
    Layout {
        version: match negotiated.narrow {
            true => TdsVersion::V7_1,
            false => TdsVersion::V7_4,
        },
        column_encryption: match negotiated.column_encryption {
            true => ColumnEncryption::On,
            false => ColumnEncryption::Off,
        },
        data_classification: match negotiated.ranks {
            true => ClassificationVersion::Two,
            false => ClassificationVersion::One,
        },
    }
}

fn walk<'a>(slices: impl IntoIterator<Item = &'a [u8]>, layout: Layout, first: u8) -> Walk {
    let mut walker = Walker::new(layout);
    if first & 16 != 0 {
        walker.expect_cursor_rows();
    }
    let (mut tokens, mut seen) = (Vec::new(), Vec::new());
    for mut input in slices {
        loop {
            match walker.next(&mut input) {
                Ok(None) => break,
                Ok(Some(piece)) => {
                    assert!(!piece.bytes().is_empty());
                    seen.extend_from_slice(piece.bytes());
                    if let Piece::Token(token) = piece {
                        look(token.content, token.bytes);
                        tokens.push((token.at, token.bytes.to_vec()));
                    }
                }
                Err(what) => return (tokens, seen, Err(what)),
            }
        }
        assert!(input.is_empty(), "input is left");
        assert!(walker.held() <= limits::MAX_TOKEN);
        assert_eq!(walker.position(), seen.len() as u64);
    }
    (tokens, seen, Ok(walker.is_complete()))
}

fn look(content: Content<'_>, bytes: &[u8]) {
    if let Content::SessionState(state) = content {
        let said: usize = state.entries().map(|(_, value)| value.len()).sum();
        assert!(said <= bytes.len());
    }
}
