//! `USE` with the name by which a client asked for its source: the gateway's name for the database, which no server knows.
//!
//! Drivers say it without being asked to (FreeTDS's dblib right after each login). Only a batch that is nothing else is
//! recognised; in anything longer the name of the real database has to be used.

use std::sync::Arc;

use crate::wire::{
    TdsVersion,
    all_headers::AllHeaders,
    packet::{HEADER, Header, PacketKind},
    utf16::{self, Utf16},
};

/// The two names of one database.
#[derive(Clone, Debug)]
pub(super) struct Alias {
    /// The gateway's.
    asked: String,
    /// The server's.
    real: Arc<str>,
}

/// Units of a batch that may be such a `USE`: two quoted names, and some room.
const LONGEST: usize = 300;

impl Alias {
    /// `None` where there is only one name.
    pub(super) fn new(asked: String, real: Arc<str>) -> Option<Box<Self>> {
        let differ = !asked.is_empty() && !asked.eq_ignore_ascii_case(&real);
        differ.then(|| Box::new(Alias { asked, real }))
    }

    /// The gateway's name.
    pub(super) fn asked(&self) -> &str {
        &self.asked
    }

    /// The packet with the real name in place of the other, if it is a whole batch that says `USE` with that.
    pub(super) fn replace(&self, header: Header, packet: &[u8], version: TdsVersion) -> Option<(Header, Vec<u8>)> {
        if header.kind != PacketKind::SqlBatch || !header.status.ends_message() {
            return None;
        }
        let payload = packet.get(HEADER..)?;
        let headers = match version.is_wide() {
            true => AllHeaders::read(payload).ok()?.length,
            false => 0,
        };
        let (headers, text) = payload.split_at_checked(headers)?;
        if text.len() > 2 * LONGEST || !begins_with_u(Utf16(text)) {
            return None;
        }
        let text = Utf16(text).decode()?;
        if !name_used(&text)?.eq_ignore_ascii_case(&self.asked) {
            return None;
        }
        let real = utf16::encode(&format!("USE [{}]", self.real.replace(']', "]]")));
        let length = u16::try_from(HEADER + headers.len() + real.len()).ok()?;
        let header = Header { length, ..header };
        let mut rewritten = Vec::with_capacity(usize::from(length));
        rewritten.extend_from_slice(&header.to_bytes());
        rewritten.extend_from_slice(headers);
        rewritten.extend_from_slice(&real);
        Some((header, rewritten))
    }
}

/// Whether it may be a `USE` at all; hardly a text is worth decoding for it.
fn begins_with_u(text: Utf16<'_>) -> bool {
    let mut characters = text.units().filter_map(|unit| char::from_u32(unit.into()));
    matches!(characters.find(|character| !character.is_whitespace()), Some('u' | 'U'))
}

/// The name in `USE name`, `USE [name]` or `USE "name"`, if the text is nothing else.
fn name_used(text: &str) -> Option<String> {
    let text = text.trim().trim_end_matches(';').trim_end();
    let (word, rest) = text.split_at_checked(3)?;
    if !word.eq_ignore_ascii_case("use") {
        return None;
    }
    let name = rest.trim_start();
    let quoted = |open: char, close: char| -> Option<Option<String>> {
        let inner = name.strip_prefix(open)?;
        let inner = inner.strip_suffix(close);
        // A quote in the name is doubled.
        Some(
            inner
                .map(|inner| inner.replace(&format!("{close}{close}"), "\0"))
                .and_then(|inner| {
                    let is_one = !inner.contains(close);
                    is_one.then(|| inner.replace('\0', &close.to_string()))
                }),
        )
    };
    match quoted('[', ']').or_else(|| quoted('"', '"')) {
        Some(name) => name,
        None => {
            let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '@' | '#' | '$');
            let is_apart = rest.len() > name.len();
            (is_apart && !name.is_empty() && name.chars().all(is_plain)).then(|| name.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::packet::Status;

    #[test]
    fn only_a_use_and_nothing_else_names_a_database() {
        for (text, name) in [
            ("use [erp]", Some("erp")),
            ("USE erp", Some("erp")),
            ("  Use\n erp ; ", Some("erp")),
            ("use[a]]b]", Some("a]b")),
            ("use \"erp\";", Some("erp")),
            ("use [erp] select 1", None),
            ("use [erp]; use [x]", None),
            ("use erp select 1", None),
            ("useerp", None),
            ("use", None),
            ("select 1", None),
            ("ü", None),
            ("", None),
        ] {
            assert_eq!(name_used(text).as_deref(), name, "{text:?}");
        }
    }

    #[test]
    fn the_real_name_takes_the_others_place() {
        let alias = Alias::new("erp".to_owned(), "ERP]PROD".into()).expect("two names");
        assert!(Alias::new("ERP".to_owned(), "erp".into()).is_none());
        assert!(Alias::new(String::new(), "erp".into()).is_none());
        let headers = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
        let packet = |text: &str| {
            let text = utf16::encode(text);
            let header = Header {
                kind: PacketKind::SqlBatch,
                status: Status::END_OF_MESSAGE.with(Status::RESET_CONNECTION),
                length: (HEADER + headers.len() + text.len()) as u16,
                spid: 0,
                packet_id: 1,
            };
            (header, [&header.to_bytes()[..], &headers, &text].concat())
        };
        let (header, bytes) = packet("use [ERP]");
        let replaced = alias.replace(header, &bytes, TdsVersion::V7_4).expect("replaced");
        assert_eq!(
            replaced.1,
            packet("USE [ERP]]PROD]").1,
            "the reset bit and the headers stay"
        );
        assert_eq!(usize::from(replaced.0.length), replaced.1.len());
        for text in ["use [other]", "select 'use [erp]'"] {
            let (header, bytes) = packet(text);
            assert!(alias.replace(header, &bytes, TdsVersion::V7_4).is_none(), "{text}");
        }
    }
}
