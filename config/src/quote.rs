//! Quoting of names and values in messages.

use crate::limits;

/// The text with control characters escaped, cut after [`limits::MAX_QUOTED`] characters.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(limits::MAX_QUOTED).flat_map(escaped).collect();
    if text.chars().nth(limits::MAX_QUOTED).is_some() {
        short.push('…');
    }
    short
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    let (plain, escape) = match character.is_control() {
        true => (None, Some(character.escape_default())),
        false => (Some(character), None),
    };
    plain.into_iter().chain(escape.into_iter().flatten())
}
