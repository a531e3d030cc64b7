//! Query: text, terminated.

/// The text of a whole Query body, without its terminator. PostgreSQL refuses one that lacks it; so it is judged as it
/// is and left to the server to refuse.
pub fn text(body: &[u8]) -> &[u8] {
    match body.iter().position(|byte| *byte == 0) {
        Some(end) => &body[..end],
        None => body,
    }
}
