//! The start of a client's connection, up to the point where it has to prove who it is: PRELOGIN and LOGIN7.
//!
//! Pure: bytes in, verdict out. Rules: TDS 2.1, 2.2, 3.1. Invariants: a login is only handed out from a line that is as
//! secure as the listener asks for; nothing that came in clear in front of TLS is ever taken for something that came
//! through it; messages are bounded before anybody is known. Must not know how TLS is done or who may log in.

use weir_core::refusal::Fault;

use super::{limits, request::LoginRequest};
use crate::{
    limits::MAX_PRELOGIN,
    refusals::{Words, number},
    wire::{
        assemble::{Assembler, Message},
        packet::{LOGIN_PACKET_SIZE, PacketKind, Sender},
        prelogin::{Encryption, PreLogin, ProductVersion},
        reframe,
    },
};

/// First byte of a TLS record that carries a handshake: how TDS 8.0 begins.
pub const TLS_HANDSHAKE: u8 = 0x16;

/// What a listener asks of the line (TDS 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsPolicy {
    /// There is no certificate.
    Disable,
    /// Clients may.
    Optional,
    /// Clients must, all the time.
    Require,
    /// Clients must, from the first byte on (TDS 8.0).
    Strict,
}

/// How a line is secured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// Not at all.
    Clear,
    /// TLS inside PRELOGIN packets, which ends right behind LOGIN7.
    LoginOnly,
    /// TLS inside PRELOGIN packets, to the end.
    Full,
    /// TLS from the first byte on.
    Strict,
}

/// A handshake under way.
#[derive(Debug)]
pub struct Handshake {
    policy: TlsPolicy,
    /// What the gateway says it is.
    version: ProductVersion,
    stage: Stage,
    assembler: Assembler,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Nothing has come: the only time for TLS without a word.
    Fresh,
    /// PRELOGIN is to come, over a line like this.
    PreLogin(Security),
    /// LOGIN7 is to come, over a line like this.
    Login(Security),
    /// The client was told that it cannot have the encryption it asked for. It should have gone away.
    Downgraded,
    /// Nothing more is to come.
    Over,
}

/// What to do next.
#[derive(Debug)]
pub enum Verdict {
    /// Read on.
    Need,
    /// The bytes are the start of a TLS handshake: do it (ALPN `tds/8.0`, if there is any), go on.
    SecureDirectly,
    /// Send these bytes; prove that nothing was sent ahead; secure the line; go on.
    Answer {
        /// The answer to PRELOGIN, in packets.
        bytes: Vec<u8>,
        /// How to go on.
        security: Security,
    },
    /// The client wants to log in. What has been read behind it belongs to nobody: see [`Handshake::judge`].
    Login(Box<LoginRequest>),
    /// Tell the client, then close.
    Refuse(Words),
    /// Close without a word: what came is not this protocol, or an answer would be of no use to it.
    Close(&'static str),
}

impl Handshake {
    /// A handshake that begins.
    pub fn new(policy: TlsPolicy, version: ProductVersion) -> Self {
        Handshake {
            policy,
            version,
            stage: Stage::Fresh,
            assembler: Assembler::new(Sender::Client, MAX_PRELOGIN),
        }
    }

    /// Judges what has arrived, and takes what it understood from the front of `input`. After [`Verdict::Answer`] and
    /// [`Verdict::SecureDirectly`] nothing may be left there, or it was sent in clear ahead of TLS (CVE-2021-23214); after
    /// [`Verdict::Login`] neither, because a client has to wait for its answer.
    pub fn judge(&mut self, input: &mut &[u8]) -> Verdict {
        if self.stage == Stage::Fresh {
            match input.first() {
                None => return Verdict::Need,
                Some(&TLS_HANDSHAKE) => return self.direct(),
                Some(_) if self.policy == TlsPolicy::Strict => {
                    return Verdict::Close("not TLS from the first byte on, which the listener asks for (TDS 8.0)");
                }
                Some(_) => self.stage = Stage::PreLogin(Security::Clear),
            }
        }
        let message = match self.assembler.push(input) {
            Ok(None) => return Verdict::Need,
            Ok(Some(message)) => message,
            Err(Fault::Client(what) | Fault::Server(what)) => return Verdict::Close(what),
        };
        match self.stage {
            Stage::PreLogin(line) => self.prelogin(line, &message),
            Stage::Login(line) => self.login(line, &message),
            Stage::Downgraded => {
                self.stage = Stage::Over;
                Verdict::Refuse(Words::new(
                    number::UNNUMBERED,
                    20,
                    "This listener does not do encryption, and the client asked for it. Connect with Encrypt=no.",
                ))
            }
            Stage::Fresh | Stage::Over => Verdict::Close("a message behind the last one"),
        }
    }

    fn direct(&mut self) -> Verdict {
        if self.policy == TlsPolicy::Disable {
            return Verdict::Close("a TLS handshake, and the listener has no certificate");
        }
        self.stage = Stage::PreLogin(Security::Strict);
        Verdict::SecureDirectly
    }

    fn prelogin(&mut self, line: Security, message: &Message) -> Verdict {
        if message.kind != PacketKind::PreLogin {
            return Verdict::Close("the first message is not PRELOGIN");
        }
        let asked = match PreLogin::parse(&message.payload) {
            Ok(asked) => asked,
            Err(what) => return Verdict::Close(what),
        };
        let (answer, outcome) = match line {
            // The byte means nothing inside of TLS (TDS 2.4).
            Security::Strict => (Encryption::NotSupported, Outcome::Secure(Security::Strict)),
            _ => negotiate(asked.encryption.unwrap_or(Encryption::NotSupported), self.policy),
        };
        let security = match outcome {
            Outcome::Secure(security) => {
                self.stage = Stage::Login(security);
                security
            }
            Outcome::Downgrade => {
                self.stage = Stage::Downgraded;
                Security::Clear
            }
            Outcome::Refuse(why) => return Verdict::Close(why),
        };
        self.assembler.set_limit(limits::CLIENT_LOGIN7);
        Verdict::Answer {
            bytes: reframe::framed(
                PacketKind::Response,
                &self.answer(&asked, answer).to_server_payload(),
                LOGIN_PACKET_SIZE,
            )
            .to_vec(),
            security,
        }
    }

    fn answer(&self, asked: &PreLogin, encryption: Encryption) -> PreLogin {
        PreLogin {
            version: self.version,
            encryption: Some(encryption),
            // "It matches", whatever instance was asked for: names of instances are not the gateway's business.
            instance: Some(vec![0]),
            thread_id: Some(Vec::new()),
            // Always there: FreeTDS takes its absence for a server of the year 2000.
            mars: Some(0),
            trace_id: None,
            federated_authentication: asked.federated_authentication.map(|_| 0),
            nonce: None,
        }
    }

    fn login(&mut self, line: Security, message: &Message) -> Verdict {
        self.stage = Stage::Over;
        if message.kind != PacketKind::Login7 {
            return Verdict::Close("not LOGIN7 behind PRELOGIN");
        }
        match LoginRequest::read(&message.payload, line) {
            Ok(login) => Verdict::Login(Box::new(login)),
            Err(words) => Verdict::Refuse(words),
        }
    }
}

enum Outcome {
    Secure(Security),
    /// The client asks for what the listener cannot do, and will know it from the answer.
    Downgrade,
    Refuse(&'static str),
}

/// The matrix of TDS 2.2: what to answer, and what it leads to.
fn negotiate(asked: Encryption, policy: TlsPolicy) -> (Encryption, Outcome) {
    use Encryption::{NotSupported, Off, On, Other, Required};
    use Outcome::{Downgrade, Refuse, Secure};

    match (asked, policy) {
        (Other(_), _) => (
            NotSupported,
            Refuse("the client wants to show a certificate inside of PRELOGIN"),
        ),
        (Off | NotSupported, TlsPolicy::Disable) => (NotSupported, Secure(Security::Clear)),
        (On | Required, TlsPolicy::Disable) => (NotSupported, Downgrade),
        (Off, TlsPolicy::Optional) => (Off, Secure(Security::LoginOnly)),
        (NotSupported, TlsPolicy::Optional) => (NotSupported, Secure(Security::Clear)),
        (On | Required, TlsPolicy::Optional | TlsPolicy::Require) => (On, Secure(Security::Full)),
        // Most that say "not supported" go away then; some can after all.
        (Off | NotSupported, TlsPolicy::Require) => (Required, Secure(Security::Full)),
        // Judged before PRELOGIN is.
        (_, TlsPolicy::Strict) => (Required, Refuse("the listener wants TLS from the first byte on")),
    }
}
