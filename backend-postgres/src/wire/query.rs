//! Query: text, terminated.

use super::find_zero;

/// The text of a whole Query body, without its terminator. PostgreSQL refuses one that lacks it; so it is judged as it
/// is and left to the server to refuse.
pub fn text(body: &[u8]) -> &[u8] {
    find_zero(body).map_or(body, |end| &body[..end])
}

/// The same, for whoever reads every byte of it anyway: up to a terminator at the very end. There may be another before.
pub fn text_to_last_zero(body: &[u8]) -> &[u8] {
    body.strip_suffix(b"\0").unwrap_or(body)
}
