//! The commonest text of all, recognised without being taken apart: a SELECT that calls nothing by parentheses, quotes no
//! names and says none of the words that make more of it than a question.
//!
//! Invariant: [`is_plain_select`] only says yes where the whole reading comes to [`super::plain_select`]; no is always
//! right. The tests hold the two against each other on texts made of everything that matters to either.

/// Whether the text is one SELECT that can neither write nor leave anything behind.
pub(super) fn is_plain_select(text: &[u8]) -> bool {
    const SELECT: &[u8] = b"select";
    let Some((verb, rest)) = text.split_at_checked(SELECT.len()) else {
        return false;
    };
    verb.eq_ignore_ascii_case(SELECT)
        && rest.first().is_some_and(|byte| KINDS[usize::from(*byte)] != Kind::Word)
        && is_plain(rest)
}

/// Of what stands behind a word. Words are passed over byte by byte; what may be one that matters is seen from what it
/// begins with, at the byte before it.
fn is_plain(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        match KINDS[usize::from(*byte)] {
            Kind::Word => continue,
            Kind::Harmless => {}
            Kind::Quote => match string_length(&text[at - 1..]) {
                Some(length) => at += length - 1,
                None => return false,
            },
            // `--` and `/*` are comments.
            Kind::Minus if text.get(at) != Some(&b'-') => {}
            Kind::Slash if text.get(at) != Some(&b'*') => {}
            Kind::Semicolon => return text[at..].iter().all(|byte| *byte == b' '),
            Kind::Minus | Kind::Slash | Kind::Unclear => return false,
        }
        let next = text.get(at).map_or(0, |byte| *byte | 0x20);
        if next.wrapping_sub(b'a') < 26 && INITIALS >> (next - b'a') & 1 == 1 {
            let word = &text[at..];
            let length = word_length(word);
            if matters(&word[..length]) {
                return false;
            }
            at += length;
        }
    }
    true
}

/// The letters that words which matter begin with, `a` as the lowest bit.
const INITIALS: u32 = {
    let (mut letters, mut at) = (0, 0);
    while at < b"cdehilmopstu".len() {
        letters |= 1 << (b"cdehilmopstu"[at] - b'a');
        at += 1;
    }
    letters
};

fn word_length(text: &[u8]) -> usize {
    let ends = |byte: &u8| KINDS[usize::from(*byte)] != Kind::Word;
    text.iter().position(ends).unwrap_or(text.len())
}

/// Of a string with its quotes, if it ends and hides nothing behind a backslash. A doubled quote is taken for the end of
/// one string and the beginning of the next: together they are as long.
fn string_length(text: &[u8]) -> Option<usize> {
    let inside = &text[1..];
    // A zero ends the text.
    let end = inside.iter().position(|byte| matches!(byte, b'\'' | b'\\' | 0))?;
    (inside[end] == b'\'').then_some(end + 2)
}

/// Whether a word may make more of the statement, wherever it stands.
fn matters(word: &[u8]) -> bool {
    let is = |known: &[u8]| word.eq_ignore_ascii_case(known);
    match word[0] | 0x20 {
        b'c' => is(b"concurrently") || is(b"currval"),
        b'd' => is(b"default") || is(b"delete") || is(b"distinct"),
        b'e' => is(b"execute"),
        b'h' => is(b"hold"),
        b'i' => is(b"into") || is(b"insert"),
        b'l' => is(b"language") || is(b"lastval"),
        b'm' => is(b"merge"),
        b'o' => is(b"operator"),
        b'p' => word.len() > 2 && word[1] | 0x20 == b'g' && word[2] == b'_',
        b's' => is(b"share"),
        b't' => is(b"temp") || is(b"temporary"),
        b'u' => is(b"update"),
        _ => false,
    }
}

/// What a byte outside of strings may be part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Word,
    /// Space, and operators that are nothing else.
    Harmless,
    Quote,
    Minus,
    Slash,
    Semicolon,
    /// Calls, quoted names, dollar quotes, escapes, anything beyond ASCII: for the one that takes texts apart.
    Unclear,
}

const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Unclear; 256];
    let mut byte = 0;
    while byte < 256 {
        kinds[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => Kind::Word,
            b' ' | b'\t' | b'\n' | b'\r' => Kind::Harmless,
            b',' | b'.' | b'=' | b'<' | b'>' | b'*' | b'+' | b'%' | b'!' | b'|' | b'~' | b':' | b'[' | b']' => {
                Kind::Harmless
            }
            b'\'' => Kind::Quote,
            b'-' => Kind::Minus,
            b'/' => Kind::Slash,
            b';' => Kind::Semicolon,
            _ => Kind::Unclear,
        };
        byte += 1;
    }
    kinds
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{Class, classify_whole, plain_select},
        *,
    };

    #[test]
    fn usual_questions_are_recognised() {
        for text in [
            "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;",
            "select 1",
            "SELECT a.b, c::int, d[1] FROM s.t AS a WHERE x = 'it''s -- ; /* ( into' AND y <> -5 ORDER BY 1 LIMIT 10 ; ",
            "SELECT E'a' , N'b'\n'c'",
            "SELECT 6/2*3%4-1",
        ] {
            assert!(is_plain_select(text.as_bytes()), "{text}");
            assert_eq!(classify_whole(text.as_bytes()), plain_select(), "{text}");
        }
    }

    #[test]
    fn whatever_may_be_more_is_not() {
        for text in [
            "SELECT f(1)",
            "SELECT 1 INTO t",
            "SELECT 1; SELECT 2",
            "SELECT 1 FOR UPDATE",
            "SELECT 1 FOR share",
            "SELECT \"a\"",
            "SELECT 1 -- x",
            "SELECT /* x */ 1",
            "SELECT $1",
            "SELECT $$a$$",
            "SELECT E'\\'",
            "SELECT 'a",
            "SELECT U&'a'",
            "SELECT pg_temp.t",
            "SELECT currval",
            "SELECTA",
            "selects 1",
            "",
            "select",
            "VALUES (1)",
            "SELECT \u{e9}",
            "SELECT 1\0",
            "SELECT 'a\0b'",
        ] {
            assert!(!is_plain_select(text.as_bytes()), "{text}");
        }
    }

    fn pieces() -> impl Strategy<Value = String> {
        let words = prop::sample::select(vec![
            "SELECT",
            "select",
            "a",
            "b_1",
            "FROM",
            "where",
            "into",
            "INSERT",
            "merge",
            "default",
            "delete",
            "distinct",
            "on",
            "for",
            "update",
            "share",
            "key",
            "no",
            "execute",
            "temp",
            "temporary",
            "table",
            "create",
            "global",
            "local",
            "concurrently",
            "view",
            "with",
            "hold",
            "operator",
            "language",
            "c",
            "currval",
            "LastVal",
            "pg_temp",
            "pg_temp_3",
            "pg_catalog",
            "pg_prepared_statements",
            "set",
            "begin",
            "commit",
            "values",
            "as",
            "union",
            "all",
            "lock",
            "in",
            "mode",
            "nowait",
            "set_config",
            "nextval",
            "explain",
            "analyze",
            "E",
            "N",
            "U",
            "B",
            "1",
            "2.5",
            "1e5",
            "1into",
            ".5into",
            "\u{e9}",
        ]);
        let signs = prop::sample::select(vec![
            " ", " ", " ", "\n", "\t", ",", ".", ";", "=", "-", "--", "/", "/*", "*/", "*", "'", "''", "'x'", "'c'",
            "\"", "\\", "$", "$1", "$$", "(", ")", "::", ":", "&", "&'", "[", "]", "<>", "!", "|", "\r", "\u{b}",
        ]);
        prop_oneof![3 => words.prop_map(|word| format!(" {word}")), 1 => words_without_space(), 2 => signs.prop_map(String::from)]
    }

    fn words_without_space() -> impl Strategy<Value = String> {
        "[a-z_0-9]{1,4}"
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_plain_for_one_is_plain_for_the_other(rest in prop::collection::vec(pieces(), 0..14)) {
            let text = format!("SELECT {}", rest.concat());
            if is_plain_select(text.as_bytes()) {
                prop_assert_eq!(classify_whole(text.as_bytes()), plain_select(), "{}", text);
            }
        }
    }

    #[test]
    fn a_plain_select_is_what_the_whole_reading_says() {
        assert_eq!(classify_whole(b"SELECT 1"), plain_select());
        assert_ne!(plain_select(), Class::default());
    }
}
