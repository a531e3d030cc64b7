//! What two processes of Weir say to each other over the control socket, and what `weir restart` says to one.
//!
//! The words are JSON with a `type`, so that another version may add fields and types: unknown fields are passed over, an
//! unknown type is [`Message::Unknown`] and passed over as well once the versions have been agreed on. Invariant: whatever
//! is secret in a message is a [`Blob`], which cannot be printed. Pure.

use std::fmt;

use serde::{Deserialize, Serialize, de};

use super::standing::Standing;

/// Of the handshake and everything behind it. Raised when a peer that does not know the change would do harm.
pub(super) const VERSION: u32 = 1;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Message {
    /// A successor introduces itself.
    Hello {
        version: u32,
        /// As `weir --version` says.
        build: String,
        pid: u32,
        /// Whether it takes clients that are at rest.
        #[serde(default)]
        takes_clients: bool,
    },
    /// The answer, with the listening sockets as descriptors, in the order of `doors`.
    Welcome {
        version: u32,
        build: String,
        pid: u32,
        doors: Vec<Door>,
        /// What every pool of the predecessor may have: nothing is open to the successor before the first
        /// [`Message::Held`].
        held: Vec<Held>,
        /// The sources that the predecessor serves, so that they are not lost to an edit that it has refused. Nothing
        /// where its version does not say.
        #[serde(default)]
        sources: Vec<String>,
        /// The users that may log in there, likewise.
        #[serde(default)]
        users: Vec<String>,
        /// What administrators have made of its sources, where that is not what every source is.
        #[serde(default)]
        standings: Vec<Standing>,
    },
    /// No, and why. Also to somebody who is no successor.
    Refused { reason: String },
    /// The successor has everything that it needs.
    Ready,
    /// It may begin to accept.
    Go,
    /// It accepts: the predecessor stops accepting.
    Serving,
    /// The predecessor accepts no more.
    Released,
    /// Server connections that the predecessor may still have, by pool. Never more than said before.
    Held { pools: Vec<Held> },
    /// An administrator has changed how a source stands.
    Stands(Standing),
    /// A cancel request for somebody who is not here.
    Cancel { number: u64, id: u32, secret: Blob },
    /// It has been dealt with, whether or not it was for anybody.
    Cancelled { number: u64 },
    /// A client at rest, with its socket as the descriptor. Nobody reads it until there is an answer.
    Client { number: u64, client: Box<Traveller> },
    /// It can be served: it is the successor's as soon as [`Message::Yours`] comes.
    Accepted { number: u64 },
    /// It stays where it is, for this reason.
    Declined { number: u64, reason: String },
    /// The predecessor reads it no more.
    Yours { number: u64 },
    /// The answer came too late: the predecessor reads it again.
    Kept { number: u64 },
    /// The successor serves it.
    Running { number: u64 },
    /// From `weir restart`: start a successor.
    Restart,
    /// The successor serves.
    Restarted { pid: u32 },
    /// Something that a later version says.
    #[serde(other)]
    Unknown,
}

/// What goes with a client's socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traveller {
    /// The listener at which it arrived.
    pub(super) listener: String,
    pub(super) user: String,
    pub(super) source: String,
    /// Which part of the source, as behind the `@` of a database name.
    pub(super) target: Option<String>,
    pub(super) application_name: String,
    pub(super) origin: Origin,
    pub(super) id: u32,
    pub(super) secret: Blob,
    /// What its dialogue remembers, in a form of its protocol's.
    pub(super) dialogue: Blob,
    /// Which server connections can serve it, in the same way.
    #[serde(default)]
    pub(super) profile: Blob,
}

/// Where a client comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Origin {
    Tcp(std::net::SocketAddr),
    Unix,
    Proxied(Option<std::net::SocketAddr>),
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Door {
    /// The listener's name.
    pub(super) listener: String,
    pub(super) place: Place,
}

/// Where it listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    Tcp(std::net::SocketAddr),
    Unix(std::path::PathBuf),
}

/// What one pool holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// As `Sources` names it.
    pub(super) pool: String,
    /// Server connections, in any state.
    pub(super) connections: u32,
}

/// Bytes, as hexadecimal digits, which no log ever shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Blob(pub(super) Vec<u8>);

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut text = String::with_capacity(self.0.len() * 2);
        for byte in &self.0 {
            text.push(char::from(DIGITS[usize::from(byte >> 4)]));
            text.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
        serializer.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let pairs = text.as_bytes().chunks(2);
        let bytes = pairs.map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        });
        let bytes = bytes.collect::<Option<Vec<u8>>>();
        bytes
            .map(Blob)
            .ok_or_else(|| de::Error::custom("not hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let read = |text: &str| serde_json::from_str::<Message>(text).expect("it is a message");
        assert_eq!(read(r#"{"type":"go","with":"speed"}"#), Message::Go);
        assert_eq!(read(r#"{"type":"sing","song":[1,2]}"#), Message::Unknown);
        assert!(serde_json::from_str::<Message>(r#"{"song":1}"#).is_err());
    }

    #[test]
    fn an_earlier_version_does_not_say_which_sources_it_serves() {
        let text = r#"{"type":"welcome","version":1,"build":"0","pid":7,"doors":[],"held":[]}"#;
        let message = serde_json::from_str::<Message>(text).expect("it is a message");
        let Message::Welcome {
            sources,
            users,
            standings,
            ..
        } = message
        else {
            panic!("a welcome");
        };
        assert!(sources.is_empty() && users.is_empty() && standings.is_empty());
    }

    #[test]
    fn a_secret_travels_and_is_not_printed() {
        let cancel = Message::Cancel {
            number: 7,
            id: 1,
            secret: Blob(vec![0, 0xAB, 0xFF]),
        };
        let text = serde_json::to_string(&cancel).expect("it can be written");
        assert!(text.contains("\"00abff\""), "{text}");
        assert_eq!(serde_json::from_str::<Message>(&text).expect("it can be read"), cancel);
        assert!(format!("{cancel:?}").contains("(3 bytes)"), "{cancel:?}");
        let odd = text.replace("00abff", "00abf");
        assert!(serde_json::from_str::<Message>(&odd).is_err());
    }
}
