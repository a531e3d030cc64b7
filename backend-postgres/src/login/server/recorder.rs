//! What a server says while the gateway logs in to it: judged, recorded, and passed on or not.
//!
//! Pure. Sits between the socket and tokio-postgres's login code, which must never see a demand that would make it send
//! a password in clear over a line that is not proven, and need not see what the gateway keeps for itself. Invariants:
//! message sizes are checked before a byte of the body is read; everything kept is bounded; after
//! [`Verdict::Ready`] or [`Verdict::Veto`] nothing further is judged.

use weir_core::{refusal::Rejection, secret::Secret};

use crate::{
    login::limits,
    wire::{authentication::Request, error_response::ErrorFields, startup},
};

/// What kind of demand for a password is obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordPolicy {
    /// SCRAM only: the line may be listened to, or its other end is not proven.
    ScramOnly,
    /// Any: the server's certificate was verified, or it is reached over a Unix socket.
    Any,
}

/// What to do with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Pass it on as it is.
    Deliver,
    /// Pass on these bytes instead.
    Replace(&'static [u8]),
    /// Pass on nothing; it is recorded.
    Swallow,
    /// Pass it on; it is the last one of the login.
    Ready,
    /// Pass on nothing, end the login.
    Veto(Veto),
}

/// Why a login is broken off by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Veto {
    /// The server wants the password in clear over an unproven line.
    ClearText,
    /// The server wants an MD5 of the password over an unproven line.
    Md5,
    /// The server broke the protocol.
    Protocol(&'static str),
}

/// BackendKeyData for tokio-postgres, which knows keys of 4 bytes only. It never uses them: the gateway cancels itself.
const BLANK_KEY: &[u8] = b"K\0\0\0\x0c\0\0\0\0\0\0\0\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Authenticating,
    Authenticated,
    Over,
}

/// The recorder of one login.
#[derive(Debug)]
pub struct Recorder {
    policy: PasswordPolicy,
    phase: Phase,
    bytes_left: usize,
    record: Record,
}

/// What was learned in one login.
#[derive(Debug, Default)]
pub struct Record {
    /// ParameterStatus messages, in the order in which the server sent them.
    pub parameters: Vec<(String, String)>,
    /// How to cancel, if the server said so.
    pub key: Option<ServerKey>,
    /// What the server said when it refused.
    pub rejection: Option<Rejection>,
    /// Why the gateway refused.
    pub veto: Option<Veto>,
    /// Why the line broke.
    pub broken: Option<std::io::ErrorKind>,
}

/// The key of a server connection.
#[derive(Clone, Debug)]
pub struct ServerKey {
    /// Process id.
    pub id: u32,
    /// 4 to 256 bytes.
    pub secret: Secret<Vec<u8>>,
}

impl Recorder {
    /// A recorder for a login that begins.
    pub fn new(policy: PasswordPolicy) -> Self {
        Recorder {
            policy,
            phase: Phase::Authenticating,
            bytes_left: limits::SERVER_LOGIN_BYTES,
            record: Record::default(),
        }
    }

    /// What was learned.
    pub fn into_record(self) -> Record {
        self.record
    }

    /// What was learned; the recorder forgets it.
    pub fn take_record(&mut self) -> Record {
        std::mem::take(&mut self.record)
    }

    /// Notes that the line broke.
    pub fn broken(&mut self, error: &std::io::Error) {
        self.record.broken = Some(error.kind());
    }

    /// Whether the login has ended, in whatever way.
    pub fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Judges a header: the size of the body to read before [`Recorder::judge`].
    ///
    /// # Errors
    /// The message is too long or too short to be one.
    pub fn header(&mut self, header: [u8; 5]) -> Result<usize, Veto> {
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if !(4..=limits::SERVER_LOGIN_MESSAGE).contains(&length) {
            return Err(self.veto(Veto::Protocol("a message of impossible length during login")));
        }
        match self.bytes_left.checked_sub(length + 1) {
            Some(left) => self.bytes_left = left,
            None => return Err(self.veto(Veto::Protocol("too much talk during login"))),
        }
        Ok(length - 4)
    }

    /// Judges a whole message.
    pub fn judge(&mut self, kind: u8, body: &[u8]) -> Verdict {
        let verdict = match (self.phase, kind) {
            (Phase::Over, _) => Verdict::Veto(Veto::Protocol("a message after the end of the login")),
            (_, b'E') => {
                // CVE-2026-6666: an error without SQLSTATE is an error all the same.
                self.record.rejection = Some(ErrorFields::read(body).to_rejection());
                Verdict::Deliver
            }
            (_, b'N') => Verdict::Swallow,
            (Phase::Authenticating, b'R') => self.demand(body),
            // NegotiateProtocolVersion: the key lengths are read from the messages themselves, so nothing depends on it.
            (Phase::Authenticating, b'v') => Verdict::Swallow,
            (Phase::Authenticated, b'S') => self.parameter(body),
            (Phase::Authenticated, b'K') => self.key(body),
            (Phase::Authenticated, b'Z') if body == b"I" => {
                self.phase = Phase::Over;
                Verdict::Ready
            }
            _ => Verdict::Veto(Veto::Protocol("an unexpected message during login")),
        };
        if let Verdict::Veto(veto) = verdict {
            self.veto(veto);
        }
        verdict
    }

    fn veto(&mut self, veto: Veto) -> Veto {
        self.phase = Phase::Over;
        self.record.veto = Some(veto);
        veto
    }

    fn demand(&mut self, body: &[u8]) -> Verdict {
        let unproven = self.policy == PasswordPolicy::ScramOnly;
        match Request::parse(body) {
            None => Verdict::Veto(Veto::Protocol("a truncated authentication request")),
            Some(Request::ClearTextPassword) if unproven => Verdict::Veto(Veto::ClearText),
            Some(Request::Md5Password) if unproven => Verdict::Veto(Veto::Md5),
            Some(Request::Ok) => {
                self.phase = Phase::Authenticated;
                Verdict::Deliver
            }
            Some(_) => Verdict::Deliver,
        }
    }

    fn parameter(&mut self, body: &[u8]) -> Verdict {
        let mut fields = body.split(|byte| *byte == 0);
        let (Some(name), Some(value), Some(b""), None) = (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Verdict::Veto(Veto::Protocol("a malformed parameter status"));
        };
        let (Ok(name), Ok(value)) = (std::str::from_utf8(name), std::str::from_utf8(value)) else {
            // A value in another encoding cannot be shown to clients as it is meant; they do without it.
            return Verdict::Swallow;
        };
        let parameters = &mut self.record.parameters;
        match parameters.iter().position(|(known, _)| known == name) {
            Some(position) => value.clone_into(&mut parameters[position].1),
            None if parameters.len() < limits::SERVER_PARAMETERS => {
                parameters.push((name.to_owned(), value.to_owned()))
            }
            None => return Verdict::Veto(Veto::Protocol("too many parameters during login")),
        }
        Verdict::Swallow
    }

    fn key(&mut self, body: &[u8]) -> Verdict {
        let Some((id, secret)) = body.split_first_chunk::<4>() else {
            return Verdict::Veto(Veto::Protocol("a truncated cancel key"));
        };
        if !startup::CANCEL_SECRET.contains(&secret.len()) {
            return Verdict::Veto(Veto::Protocol("a cancel key of impossible length"));
        }
        self.record.key = Some(ServerKey {
            id: u32::from_be_bytes(*id),
            secret: Secret::new(secret.to_vec()),
        });
        Verdict::Replace(BLANK_KEY)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn authenticated() -> Recorder {
        let mut recorder = Recorder::new(PasswordPolicy::ScramOnly);
        assert_eq!(recorder.judge(b'R', &[0; 4]), Verdict::Deliver);
        recorder
    }

    #[test]
    fn a_login_is_recorded() {
        let mut recorder = authenticated();
        assert_eq!(recorder.judge(b'S', b"TimeZone\0UTC\0"), Verdict::Swallow);
        assert_eq!(recorder.judge(b'N', b"anything"), Verdict::Swallow);
        let key = [&7_u32.to_be_bytes()[..], &[5; 32]].concat();
        assert_eq!(recorder.judge(b'K', &key), Verdict::Replace(BLANK_KEY));
        assert_eq!(recorder.judge(b'Z', b"I"), Verdict::Ready);
        let record = recorder.into_record();
        assert_eq!(record.parameters, [("TimeZone".to_owned(), "UTC".to_owned())]);
        assert_eq!(record.key.map(|key| (key.id, key.secret.expose().len())), Some((7, 32)));
    }

    #[test]
    fn passwords_in_clear_are_vetoed_on_an_unproven_line() {
        for (demand, veto) in [(3_u32, Veto::ClearText), (5, Veto::Md5)] {
            let body = [&demand.to_be_bytes()[..], b"salt"].concat();
            assert_eq!(
                Recorder::new(PasswordPolicy::ScramOnly).judge(b'R', &body),
                Verdict::Veto(veto)
            );
            assert_eq!(Recorder::new(PasswordPolicy::Any).judge(b'R', &body), Verdict::Deliver);
        }
    }

    #[test]
    fn hostile_servers_get_nowhere() {
        for length in [0_u32, 3, 30_001, 1 << 31, u32::MAX] {
            let [a, b, c, d] = length.to_be_bytes();
            assert!(authenticated().header([b'S', a, b, c, d]).is_err(), "length {length}");
        }
        for (kind, body) in [
            (b'K', &[0; 7][..]),
            (b'K', &[0; 261]),
            (b'S', b"name"),
            (b'S', b"name\0value"),
            (b'S', b"name\0value\0more\0"),
            (b'Z', b"T"),
            (b'D', b""),
            (b'R', &[0; 4]),
            (b'v', b""),
        ] {
            let verdict = authenticated().judge(kind, body);
            assert!(
                matches!(verdict, Verdict::Veto(Veto::Protocol(_))),
                "{kind} {body:?}: {verdict:?}"
            );
        }
        let mut recorder = authenticated();
        let mut parameters = 0;
        while recorder.judge(b'S', format!("p{parameters}\0v\0").as_bytes()) == Verdict::Swallow {
            parameters += 1;
        }
        assert_eq!(parameters, limits::SERVER_PARAMETERS);
        let mut recorder = authenticated();
        let header = [b'N', 0, 0, 0x40, 0];
        assert_eq!((0..).take_while(|_| recorder.header(header).is_ok()).count(), 7);
    }

    #[test]
    fn an_error_without_a_code_is_an_error() {
        let mut recorder = Recorder::new(PasswordPolicy::ScramOnly);
        assert_eq!(recorder.judge(b'E', b"Mgo away\0\0"), Verdict::Deliver);
        let rejection = recorder.into_record().rejection.expect("a rejection");
        assert_eq!(
            (rejection.code.as_str(), rejection.message.as_str()),
            ("XX000", "go away")
        );
    }

    proptest! {
        #[test]
        fn any_message(messages in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 0..20)) {
            let mut recorder = Recorder::new(PasswordPolicy::ScramOnly);
            let mut ended = false;
            for (kind, body) in messages {
                let verdict = recorder.judge(kind, &body);
                prop_assert!(!ended || matches!(verdict, Verdict::Veto(_)));
                ended |= matches!(verdict, Verdict::Veto(_) | Verdict::Ready);
            }
        }
    }
}
