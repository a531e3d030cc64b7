//! The start of a client's connection, up to the point where it has to authenticate itself.
//!
//! Pure: bytes in, verdict out. A verdict carries the next state, so that no answer can be given twice. Rules: the
//! specification's appendix A. Must not know how TLS is done or who may log in.

use weir_core::secret::Secret;

use super::{options, words::Fatal};
use crate::{
    settings::Replication,
    wire::startup::{self, Progress, Protocol, StartupFault, StartupMessage, StartupPacket},
};

/// The newest version that is spoken with clients.
pub const NEWEST: Protocol = Protocol::V3_2;

/// Whether a listener can do TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsOffer {
    /// It has a certificate.
    Available,
    /// It has none, or the socket is a Unix one.
    Unavailable,
}

/// A handshake under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake(Stage);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing was asked yet: the only time for direct TLS.
    Fresh(TlsOffer),
    /// In clear; something was asked and refused.
    Clear {
        offer: TlsOffer,
        gss_refused: bool,
        ssl_refused: bool,
    },
    /// Inside TLS.
    Secured,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Read on; at least this many bytes are needed in all.
    Need(usize),
    /// Answer `N`, drop `taken` bytes, go on.
    SayNo {
        /// Bytes of the request.
        taken: usize,
        /// The next state.
        next: Handshake,
    },
    /// Answer `S`, drop `taken` bytes, prove that nothing else was sent in clear, do the TLS handshake, go on.
    Secure {
        /// Bytes of the request.
        taken: usize,
        /// The next state.
        next: Handshake,
    },
    /// The bytes are the start of a TLS handshake: do it (ALPN `postgresql` is required), go on.
    SecureDirectly(Handshake),
    /// A cancel request.
    Cancel {
        /// The client's id.
        id: u32,
        /// The rest of the key.
        secret: Secret<Vec<u8>>,
    },
    /// The client wants to log in.
    Login {
        /// Bytes of the packet.
        taken: usize,
        /// As what.
        login: Box<Login>,
    },
    /// Tell the client, then close.
    Refuse(Fatal),
    /// Close without a word: what came is not this protocol, or an answer would be of no use to it.
    Close(&'static str),
}

/// A startup packet that makes sense.
#[derive(Debug, PartialEq, Eq)]
pub struct Login {
    /// What will be spoken.
    pub protocol: Protocol,
    /// Present when NegotiateProtocolVersion has to be sent; the option names that we do not know.
    pub negotiate: Option<Vec<String>>,
    /// Who.
    pub user: String,
    /// Which database; the user's name when the client did not say.
    pub database: String,
    /// Whether it wants to replicate.
    pub replication: Replication,
    /// Settings, those of `options` first, as PostgreSQL applies them.
    pub settings: Vec<(String, String)>,
}

impl Handshake {
    /// A handshake that begins.
    pub fn new(offer: TlsOffer) -> Self {
        Handshake(Stage::Fresh(offer))
    }

    /// Judges what has arrived so far. Give it everything that was not taken.
    pub fn judge(&self, bytes: &[u8]) -> Verdict {
        if bytes.first() == Some(&startup::TLS_HANDSHAKE) {
            return match self.0 {
                Stage::Fresh(TlsOffer::Available) => Verdict::SecureDirectly(Handshake(Stage::Secured)),
                _ => Verdict::Close("a TLS handshake where none is possible"),
            };
        }
        let (packet, taken) = match startup::parse(bytes) {
            Ok(Progress::Need(needed)) => return Verdict::Need(needed),
            Ok(Progress::Packet(packet, taken)) => (packet, taken),
            Err(StartupFault::CancelKey) => return Verdict::Close(StartupFault::CancelKey.as_str()),
            Err(fault) => return Verdict::Refuse(Fatal::new("08P01", fault.as_str())),
        };
        match packet {
            // Whatever the answer: what came along with the question was not encrypted, and may be somebody else's. So
            // does PostgreSQL (CVE-2021-23214).
            StartupPacket::SslRequest | StartupPacket::GssEncRequest if bytes.len() > taken => unencrypted(&packet),
            StartupPacket::SslRequest => self.ssl_request(taken),
            StartupPacket::GssEncRequest => self.gss_request(taken),
            StartupPacket::Cancel { id, secret } => Verdict::Cancel { id, secret },
            StartupPacket::Startup(message) => match login(message) {
                Ok(login) => Verdict::Login {
                    taken,
                    login: Box::new(login),
                },
                Err(fatal) => Verdict::Refuse(fatal),
            },
        }
    }

    fn ssl_request(&self, taken: usize) -> Verdict {
        let (offer, gss_refused) = match self.0 {
            Stage::Fresh(offer) => (offer, false),
            Stage::Clear {
                offer,
                gss_refused,
                ssl_refused: false,
            } => (offer, gss_refused),
            Stage::Clear { .. } | Stage::Secured => return repeated(80_877_103),
        };
        match offer {
            TlsOffer::Available => Verdict::Secure {
                taken,
                next: Handshake(Stage::Secured),
            },
            TlsOffer::Unavailable => Verdict::SayNo {
                taken,
                next: Handshake(Stage::Clear {
                    offer,
                    gss_refused,
                    ssl_refused: true,
                }),
            },
        }
    }

    fn gss_request(&self, taken: usize) -> Verdict {
        let (offer, ssl_refused) = match self.0 {
            Stage::Fresh(offer) => (offer, false),
            Stage::Clear {
                offer,
                gss_refused: false,
                ssl_refused,
            } => (offer, ssl_refused),
            Stage::Clear { .. } | Stage::Secured => return repeated(80_877_104),
        };
        Verdict::SayNo {
            taken,
            next: Handshake(Stage::Clear {
                offer,
                gss_refused: true,
                ssl_refused,
            }),
        }
    }
}

fn unencrypted(request: &StartupPacket) -> Verdict {
    let message = match request {
        StartupPacket::GssEncRequest => "received unencrypted data after GSSAPI encryption request",
        _ => "received unencrypted data after SSL request",
    };
    Verdict::Refuse(
        Fatal::new("08P01", message)
            .detail("This could be either a client-software bug or evidence of an attempted man-in-the-middle attack."),
    )
}

/// A second request of the same kind is, as for PostgreSQL, a protocol version that nobody speaks.
fn repeated(code: u32) -> Verdict {
    Verdict::Refuse(unsupported(Protocol::from_code(code)))
}

fn unsupported(protocol: Protocol) -> Fatal {
    let Protocol { major, minor } = protocol;
    Fatal::new(
        "0A000",
        format!(
            "unsupported frontend protocol {major}.{minor}: server supports 3.0 to {}.{}",
            NEWEST.major, NEWEST.minor
        ),
    )
}

fn login(message: StartupMessage) -> Result<Login, Fatal> {
    if message.protocol.major != NEWEST.major {
        return Err(unsupported(message.protocol));
    }
    let user = match message.parameter("user") {
        Some(user) if !user.is_empty() => user.to_owned(),
        _ => {
            return Err(Fatal::new(
                "28000",
                "no PostgreSQL user name specified in startup packet",
            ));
        }
    };
    let database = match message.parameter("database") {
        Some(database) if !database.is_empty() => database.to_owned(),
        _ => user.clone(),
    };
    let replication = message
        .parameter("replication")
        .map_or(Ok(Replication::No), replication)?;
    let mut settings = message
        .parameter("options")
        .map_or(Ok(Vec::new()), options::parse)
        .map_err(|invalid| {
            Fatal::new(
                "42601",
                format!("invalid command-line argument for server process: {}", invalid.0),
            )
            .hint("The parameter \"options\" takes settings only: -c name=value, or --name=value.")
        })?;
    let protocol = message.protocol.min(NEWEST);
    let mut unrecognised = Vec::new();
    for (name, value) in message.parameters {
        match name.as_str() {
            "user" | "database" | "options" | "replication" => {}
            extension if extension.starts_with("_pq_.") => unrecognised.push(name),
            _ => settings.push((name, value)),
        }
    }
    let negotiate = (message.protocol > NEWEST || !unrecognised.is_empty()).then_some(unrecognised);
    Ok(Login {
        protocol,
        negotiate,
        user,
        database,
        replication,
        settings,
    })
}

fn replication(value: &str) -> Result<Replication, Fatal> {
    match value.to_ascii_lowercase().as_str() {
        "database" => Ok(Replication::Logical),
        "true" | "t" | "tr" | "tru" | "yes" | "y" | "ye" | "on" | "1" => Ok(Replication::Physical),
        "false" | "f" | "fa" | "fal" | "fals" | "no" | "n" | "off" | "of" | "0" => Ok(Replication::No),
        _ => Err(Fatal::new(
            "22023",
            format!("invalid value for parameter \"replication\": \"{value}\""),
        )
        .hint("Valid values are: \"false\", 0, \"true\", 1, \"database\".")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GSS: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];

    fn packet(protocol: Protocol, parameters: &[(&str, &str)]) -> Vec<u8> {
        startup::startup_message(protocol, parameters.iter().copied()).unwrap()
    }

    fn fresh() -> Handshake {
        Handshake::new(TlsOffer::Available)
    }

    fn logged(protocol: Protocol, parameters: &[(&str, &str)]) -> Result<Login, Fatal> {
        match fresh().judge(&packet(protocol, parameters)) {
            Verdict::Login { login, .. } => Ok(*login),
            Verdict::Refuse(fatal) => Err(fatal),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn ssl_then_startup() {
        let Verdict::Secure { taken: 8, next } = fresh().judge(&startup::ssl_request()) else {
            panic!("no TLS")
        };
        assert!(matches!(next.judge(&startup::ssl_request()), Verdict::Refuse(fatal) if fatal.code == "0A000"));
        let Verdict::SayNo { next, .. } = Handshake::new(TlsOffer::Unavailable).judge(&startup::ssl_request()) else {
            panic!("no refusal")
        };
        assert!(matches!(
            next.judge(&packet(Protocol::V3_0, &[("user", "ann")])),
            Verdict::Login { .. }
        ));
    }

    #[test]
    fn nothing_may_come_along_with_a_request_for_encryption() {
        for offer in [TlsOffer::Available, TlsOffer::Unavailable] {
            for request in [startup::ssl_request(), GSS] {
                let verdict = Handshake::new(offer).judge(&[&request[..], b"x"].concat());
                assert!(
                    matches!(&verdict, Verdict::Refuse(fatal) if fatal.message.contains("unencrypted")),
                    "{verdict:?}"
                );
            }
        }
    }

    #[test]
    fn each_request_once() {
        let Verdict::SayNo { taken: 8, next } = fresh().judge(&GSS) else {
            panic!("no refusal")
        };
        assert!(matches!(next.judge(&startup::ssl_request()), Verdict::Secure { .. }));
        let Verdict::SayNo { next, .. } = fresh().judge(&GSS) else {
            panic!("no refusal")
        };
        assert!(matches!(next.judge(&GSS), Verdict::Refuse(fatal) if fatal.message.contains("1234.5680")));
        let Verdict::SayNo { next, .. } = Handshake::new(TlsOffer::Unavailable).judge(&startup::ssl_request()) else {
            panic!("no refusal")
        };
        let Verdict::SayNo { next, .. } = next.judge(&GSS) else {
            panic!("no refusal")
        };
        assert!(matches!(next.judge(&startup::ssl_request()), Verdict::Refuse(_)));
    }

    #[test]
    fn direct_tls_only_at_the_very_start() {
        assert!(matches!(fresh().judge(&[0x16, 3, 1]), Verdict::SecureDirectly(_)));
        assert!(matches!(
            Handshake::new(TlsOffer::Unavailable).judge(&[0x16]),
            Verdict::Close(_)
        ));
        let Verdict::SayNo { next, .. } = fresh().judge(&GSS) else {
            panic!("no refusal")
        };
        assert!(matches!(next.judge(&[0x16]), Verdict::Close(_)));
    }

    #[test]
    fn cancel_everywhere() {
        let cancel = startup::cancel_request(9, &[1, 2, 3, 4]);
        let expected = Verdict::Cancel {
            id: 9,
            secret: Secret::new(vec![1, 2, 3, 4]),
        };
        assert_eq!(fresh().judge(&cancel), expected);
        let Verdict::Secure { next, .. } = fresh().judge(&startup::ssl_request()) else {
            panic!("no TLS")
        };
        assert_eq!(next.judge(&cancel), expected);
    }

    #[test]
    fn versions() {
        let user = ("user", "ann");
        for minor in 0..=2 {
            let login = logged(Protocol { major: 3, minor }, &[user]).unwrap();
            assert_eq!((login.protocol.minor, login.negotiate), (minor, None));
        }
        // PostgreSQL 19's libpq "greases".
        let login = logged(
            Protocol { major: 3, minor: 9999 },
            &[user, ("_pq_.test_protocol_negotiation", "")],
        )
        .unwrap();
        assert_eq!(login.protocol, Protocol::V3_2);
        assert_eq!(login.negotiate, Some(vec!["_pq_.test_protocol_negotiation".to_owned()]));
        let login = logged(Protocol::V3_0, &[user, ("_pq_.x", "1")]).unwrap();
        assert_eq!(
            (login.protocol, login.negotiate),
            (Protocol::V3_0, Some(vec!["_pq_.x".to_owned()]))
        );
        assert_eq!(
            logged(Protocol { major: 3, minor: 3 }, &[user]).unwrap().negotiate,
            Some(Vec::new())
        );
        for major in [0, 1, 2, 4, 99] {
            let fatal = logged(Protocol { major, minor: 0 }, &[user]).unwrap_err();
            assert_eq!(
                fatal.message,
                format!("unsupported frontend protocol {major}.0: server supports 3.0 to 3.2")
            );
        }
    }

    #[test]
    fn who_and_where() {
        let login = logged(Protocol::V3_0, &[("user", "ann")]).unwrap();
        assert_eq!(login.database, "ann");
        for parameters in [&[][..], &[("user", "")], &[("database", "x")]] {
            let fatal = logged(Protocol::V3_0, parameters).unwrap_err();
            assert_eq!(fatal.code, "28000");
            assert_eq!(fatal.message, "no PostgreSQL user name specified in startup packet");
        }
    }

    #[test]
    fn settings_and_replication() {
        let login = logged(
            Protocol::V3_0,
            &[
                ("user", "ann"),
                ("extra_float_digits", "2"),
                ("options", "-c search_path=a --geqo=off"),
                ("replication", "database"),
            ],
        )
        .unwrap();
        let names: Vec<_> = login.settings.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["search_path", "geqo", "extra_float_digits"]);
        assert_eq!(login.replication, Replication::Logical);
        assert_eq!(
            logged(Protocol::V3_0, &[("user", "a"), ("replication", "on")])
                .unwrap()
                .replication,
            Replication::Physical
        );
        assert_eq!(
            logged(Protocol::V3_0, &[("user", "a"), ("replication", "x")])
                .unwrap_err()
                .code,
            "22023"
        );
        assert_eq!(
            logged(Protocol::V3_0, &[("user", "a"), ("options", "-x")])
                .unwrap_err()
                .code,
            "42601"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_any_split(bytes in proptest::collection::vec(any::<u8>(), 1..120), cut in 0_usize..120) {
            let whole = fresh().judge(&bytes);
            let part = &bytes[..cut.min(bytes.len())];
            match fresh().judge(part) {
                Verdict::Need(needed) => prop_assert!(needed > part.len() && needed <= startup::MAX_STARTUP_PACKET),
                decided => prop_assert_eq!(decided, whole),
            }
        }
    }
}
