//! Query: text, terminated.

use super::find_zero;

/// The text of a whole Query body, without its terminator. PostgreSQL refuses one that lacks it; so it is judged as it
/// is and left to the server to refuse.
pub fn text(body: &[u8]) -> &[u8] {
    find_zero(body).map_or(body, |end| &body[..end])
}
