//! The messages of a login: AuthenticationOk and the SASL messages, in both directions, and PasswordMessage.
//!
//! Pure. Invariant: a SASL message from a client is at most [`MAX_SASL_MESSAGE`] bytes, PostgreSQL's own bound.

use bytes::{BufMut, BytesMut};

/// Bytes of the longest SASL message that is read from a client (PostgreSQL: `PG_MAX_SASL_MESSAGE_LENGTH`).
pub const MAX_SASL_MESSAGE: usize = 1024;

/// What an Authentication message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Nothing any more.
    Ok,
    /// The password itself.
    ClearTextPassword,
    /// MD5 of password, user and salt.
    Md5Password,
    /// Any step of a SASL exchange.
    Sasl,
    /// Kerberos, GSSAPI, SSPI, or something from the future; the number.
    Other(u32),
}

impl Request {
    /// Reads the body of an Authentication message (`R`).
    pub fn parse(body: &[u8]) -> Option<Request> {
        let code = u32::from_be_bytes(body.get(..4)?.try_into().ok()?);
        Some(match code {
            0 => Request::Ok,
            3 => Request::ClearTextPassword,
            5 => Request::Md5Password,
            10..=12 => Request::Sasl,
            other => Request::Other(other),
        })
    }
}

/// "You are in."
pub fn authentication_ok(out: &mut BytesMut) {
    authentication(0, &[], out);
}

/// "Choose one of these mechanisms."
pub fn sasl_mechanisms(mechanisms: &[&str], out: &mut BytesMut) {
    let mut body = Vec::new();
    for mechanism in mechanisms {
        body.extend_from_slice(mechanism.as_bytes());
        body.push(0);
    }
    body.push(0);
    authentication(10, &body, out);
}

/// The server's challenge.
pub fn sasl_continue(data: &[u8], out: &mut BytesMut) {
    authentication(11, data, out);
}

/// The server's proof.
pub fn sasl_final(data: &[u8], out: &mut BytesMut) {
    authentication(12, data, out);
}

fn authentication(code: u32, body: &[u8], out: &mut BytesMut) {
    out.put_u8(b'R');
    // Bodies are mechanism names and SCRAM messages of the gateway's own: far below 4 GiB.
    out.put_u32(8 + body.len() as u32);
    out.put_u32(code);
    out.put_slice(body);
}

/// BackendKeyData: how to cancel this session.
pub fn backend_key_data(id: u32, secret: &[u8], out: &mut BytesMut) {
    out.put_u8(b'K');
    // Secrets are 4 or 32 bytes.
    out.put_u32(8 + secret.len() as u32);
    out.put_u32(id);
    out.put_slice(secret);
}

/// The password-type message at the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// At least this many bytes are needed in all.
    Need(usize),
    /// Its body, and how many bytes the message took.
    Body(&'a [u8], usize),
}

/// Something else than a password-type message, or a bad length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFault {
    /// Another message type.
    Type,
    /// Shorter than its length field, or longer than [`MAX_SASL_MESSAGE`].
    Length,
}

/// Reads a message of type `p`: SASLInitialResponse, SASLResponse or PasswordMessage, told apart by what was asked.
///
/// # Errors
/// [`AnswerFault`] as soon as it is certain.
pub fn answer(bytes: &[u8]) -> Result<Answer<'_>, AnswerFault> {
    match bytes.first() {
        None => return Ok(Answer::Need(5)),
        Some(b'p') => {}
        Some(_) => return Err(AnswerFault::Type),
    }
    let Some(length) = bytes.get(1..5).and_then(|length| length.try_into().ok()) else {
        return Ok(Answer::Need(5));
    };
    let length = u32::from_be_bytes(length) as usize;
    if !(4..=MAX_SASL_MESSAGE + 4).contains(&length) {
        return Err(AnswerFault::Length);
    }
    match bytes.get(5..1 + length) {
        Some(body) => Ok(Answer::Body(body, 1 + length)),
        None => Ok(Answer::Need(1 + length)),
    }
}

/// Splits a SASLInitialResponse into the mechanism and the client's first message; `None` if it is not well-formed or
/// carries no first message (every known driver sends it along).
pub fn sasl_initial_response(body: &[u8]) -> Option<(&str, &[u8])> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let mechanism = std::str::from_utf8(&body[..end]).ok()?;
    let rest = &body[end + 1..];
    let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let data = &rest[4..];
    (data.len() == length).then_some((mechanism, data))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_answers_are_refused_at_once() {
        assert_eq!(answer(b""), Ok(Answer::Need(5)));
        assert_eq!(answer(b"Q"), Err(AnswerFault::Type));
        for length in [0_u32, 3, 1029, (1 << 31) - 1, 1 << 31, u32::MAX] {
            let bytes = [&b"p"[..], &length.to_be_bytes()].concat();
            assert_eq!(answer(&bytes), Err(AnswerFault::Length), "length {length}");
        }
        assert_eq!(answer(b"p\0\0\0\x06ab"), Ok(Answer::Body(b"ab", 7)));
        assert_eq!(answer(b"p\0\0\0\x06abX"), Ok(Answer::Body(b"ab", 7)));
        assert_eq!(answer(b"p\0\0\0\x06a"), Ok(Answer::Need(7)));
    }

    #[test]
    fn the_first_sasl_message_is_split() {
        assert_eq!(
            sasl_initial_response(b"SCRAM-SHA-256\0\0\0\0\x03n,,"),
            Some(("SCRAM-SHA-256", &b"n,,"[..]))
        );
        for malformed in [
            &b""[..],
            b"SCRAM",
            b"SCRAM\0",
            b"SCRAM\0\0\0\0\x04n,,",
            b"SCRAM\0\xff\xff\xff\xff",
            b"\xff\0\0\0\0\0",
        ] {
            assert_eq!(sasl_initial_response(malformed), None, "{malformed:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(Answer::Body(body, taken)) = answer(&bytes) {
                prop_assert!(taken <= bytes.len() && body.len() + 5 == taken);
            }
            let _ = sasl_initial_response(&bytes);
            let _ = Request::parse(&bytes);
        }
    }
}
