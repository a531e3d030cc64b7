//! Messages as bytes: a length of four bytes, the number of descriptors that come with it in one byte, the message.
//!
//! Pure: slices in, messages out. Invariants: no more than [`limits`](super::limits) says is ever kept, whatever a peer
//! claims; a message and its descriptors come out together.

use std::fmt;

use super::{
    limits::{MAX_DESCRIPTORS, MAX_MESSAGE},
    message::Message,
};

/// Length and number of descriptors.
const HEAD: usize = 5;

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed(&'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not the protocol of Weir's control socket: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// A message as bytes.
///
/// # Errors
/// It is longer, or comes with more descriptors, than a peer would take.
pub(super) fn encode(message: &Message, descriptors: usize) -> Result<Vec<u8>, Malformed> {
    let body = serde_json::to_vec(message).map_err(|_| Malformed("a message that cannot be written"))?;
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= MAX_MESSAGE);
    let length = length.ok_or(Malformed("a message that is too long"))?;
    let count = u8::try_from(descriptors)
        .ok()
        .filter(|_| descriptors <= MAX_DESCRIPTORS);
    let count = count.ok_or(Malformed("too many descriptors"))?;
    let mut bytes = Vec::with_capacity(HEAD + body.len());
    bytes.extend(length.to_be_bytes());
    bytes.push(count);
    bytes.extend(body);
    Ok(bytes)
}

/// Finds messages in a stream.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    unread: Vec<u8>,
}

impl Decoder {
    /// What has arrived.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// The next message and how many descriptors belong to it; `None` until it is complete.
    ///
    /// # Errors
    /// Nothing sensible can follow.
    pub(super) fn next(&mut self) -> Result<Option<(Message, usize)>, Malformed> {
        let Some((head, rest)) = self.unread.split_at_checked(HEAD) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes([head[0], head[1], head[2], head[3]]) as usize;
        let descriptors = usize::from(head[4]);
        if length > MAX_MESSAGE {
            return Err(Malformed("a message that is too long"));
        }
        if descriptors > MAX_DESCRIPTORS {
            return Err(Malformed("too many descriptors"));
        }
        let Some(body) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(body).map_err(|_| Malformed("a message that cannot be read"))?;
        self.unread.drain(..HEAD + length);
        Ok(Some((message, descriptors)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::takeover::message::Blob;

    fn cancel(number: u64) -> Message {
        Message::Cancel {
            number,
            id: 3,
            secret: Blob(vec![1, 2, 3, 4]),
        }
    }

    #[test]
    fn messages_come_out_however_they_are_cut() {
        let mut bytes = encode(&cancel(1), 2).expect("short");
        bytes.extend(encode(&Message::Go, 0).expect("short"));
        bytes.extend(encode(&cancel(2), 0).expect("short"));
        for size in 1..bytes.len() {
            let mut decoder = Decoder::default();
            let mut found = Vec::new();
            for piece in bytes.chunks(size) {
                decoder.feed(piece);
                while let Some(message) = decoder.next().expect("well formed") {
                    found.push(message);
                }
            }
            assert_eq!(found, [(cancel(1), 2), (Message::Go, 0), (cancel(2), 0)]);
            assert!(decoder.unread.is_empty());
        }
    }

    #[test]
    fn what_is_claimed_is_bounded_before_it_is_believed() {
        let claims = |head: [u8; HEAD]| {
            let mut decoder = Decoder::default();
            decoder.feed(&head);
            decoder.next()
        };
        assert_eq!(
            claims([0xFF, 0xFF, 0xFF, 0xFF, 0]),
            Err(Malformed("a message that is too long"))
        );
        assert_eq!(claims([0, 0, 0, 2, 0xFF]), Err(Malformed("too many descriptors")));
        assert_eq!(claims([0, 0, 0, 2, 0]), Ok(None));
        let mut decoder = Decoder::default();
        decoder.feed(&[0, 0, 0, 2, 0, b'[', b']']);
        assert_eq!(decoder.next(), Err(Malformed("a message that cannot be read")));
        assert_eq!(
            encode(&Message::Go, MAX_DESCRIPTORS + 1),
            Err(Malformed("too many descriptors"))
        );
    }

    #[test]
    fn noise_is_an_error_and_no_panic() {
        let mut state = 1_u64;
        for _ in 0..2_000 {
            let mut decoder = Decoder::default();
            for _ in 0..8 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                decoder.feed(&(state >> 40).to_be_bytes()[6..]);
            }
            while let Ok(Some(_)) = decoder.next() {}
        }
    }
}
