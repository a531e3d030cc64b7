//! The answer to a login: taken apart where a server gave it to us, and written for our own clients.
//!
//! Pure. Rules: TDS 3.2, 3.3. Invariants: every token is measured before it is read, notices are bounded in number, and a
//! feature that was not asked for is a fault. Must not know how a message was assembled.

use bytes::BytesMut;

use super::limits;
use crate::{
    session::{Features, Notices},
    wire::{
        TdsVersion,
        done::{Done, DoneStatus},
        env_change::{self, EnvChange, TransactionChange},
        feature_ext::{self, Feature, id},
        login_ack::{self, LoginAck},
        message::{OwnMessage, ServerMessage},
        packet::LOGIN_PACKET_SIZE,
        prelogin::ProductVersion,
        read::{Reader, Stop},
        session_state, token,
    },
};

/// What a server told us when it let us in, as far as clients have to be told too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// `Microsoft SQL Server`, with whatever stands behind it.
    pub program: String,
    /// The server's version.
    pub version: ProductVersion,
    /// The database that the session is in.
    pub database: String,
    /// Its language.
    pub language: String,
    /// Its collation.
    pub collation: [u8; 5],
    /// What the server calls itself.
    pub server_name: String,
    /// Extensions that it acknowledged.
    pub features: Features,
    /// Its words about the database, in its own language.
    pub database_notice: Option<Notice>,
    /// Its words about the language.
    pub language_notice: Option<Notice>,
}

/// An INFO token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// 5701 for the database and 5703 for the language, but not from every server.
    pub number: i32,
    /// As sent.
    pub state: u8,
    /// As sent.
    pub class: u8,
    /// As sent.
    pub text: String,
    /// As sent.
    pub line: u32,
}

/// The number of the notice about the database.
const DATABASE_NOTICE: i32 = 5701;

/// The number of the notice about the language.
const LANGUAGE_NOTICE: i32 = 5703;

/// A server's answer to LOGIN7.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoginReply {
    /// Let in.
    Accepted(Box<Accepted>),
    /// Let in over there: log in again (ENVCHANGE 20).
    Elsewhere {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// Not let in; of several errors the most telling one.
    Refused(ServerError),
}

/// What the server said of the session that it opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// For clients.
    pub welcome: Welcome,
    /// What will be spoken.
    pub tds_version: TdsVersion,
    /// Bytes of a packet from now on.
    pub packet_size: u16,
    /// What SESSIONRECOVERY was acknowledged with.
    pub initial_state: Option<Vec<u8>>,
}

/// An ERROR token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerError {
    /// The number.
    pub number: i32,
    /// The state: for a failed login it says more than the text, to those who may know.
    pub state: u8,
    /// The words.
    pub text: String,
}

/// A batch's answer, as far as the gateway's own batches need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchReply {
    /// Begins and ends of transactions, in order.
    pub transactions: Vec<(TransactionChange, u64)>,
    /// The first error.
    pub error: Option<ServerError>,
}

impl LoginReply {
    /// Reads the payload of the message that answers a LOGIN7 which said `asked`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(payload: &[u8], asked: &Asked) -> Result<LoginReply, &'static str> {
        let mut reading = Reading::default();
        each_token(payload, asked.tds_version, |token| reading.take(token, asked))?;
        reading.conclude(asked)
    }
}

/// What a LOGIN7 of ours said that its answer has to be held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The version.
    pub tds_version: TdsVersion,
    /// The packet size; what counts until the server says another.
    pub packet_size: u16,
    /// The extensions, besides SESSIONRECOVERY.
    pub features: Features,
}

impl BatchReply {
    /// Reads the payload of the message that answers a batch without results.
    ///
    /// # Errors
    /// What is wrong with it, or a token that only results have.
    pub fn read(payload: &[u8], version: TdsVersion) -> Result<BatchReply, &'static str> {
        let mut reply = BatchReply::default();
        each_token(payload, version, |token| {
            match token {
                Token::EnvChange(EnvChange::Transaction { change, descriptor, .. })
                    if reply.transactions.len() < limits::NOTICES =>
                {
                    reply.transactions.push((change, descriptor))
                }
                Token::Error(error) if reply.error.is_none() => reply.error = Some(error),
                _ => {}
            }
            Ok(())
        })?;
        Ok(reply)
    }
}

enum Token<'a> {
    EnvChange(EnvChange<'a>),
    Error(ServerError),
    Info(ServerMessage<'a>),
    LoginAck(LoginAck<'a>),
    Features(Vec<Feature>),
    Other,
}

/// Hands out the tokens of a message one after the other, and sees that it ends as one has to.
fn each_token<'a>(
    payload: &'a [u8],
    version: TdsVersion,
    mut take: impl FnMut(Token<'a>) -> Result<(), &'static str>,
) -> Result<(), &'static str> {
    let mut rest = payload;
    let mut ended = false;
    while let Some(&kind) = rest.first() {
        if ended {
            return Err("tokens behind the last one");
        }
        let length = measure(kind, rest, version).map_err(reason)?;
        let (bytes, behind) = rest.split_at_checked(length).ok_or(CUT_SHORT)?;
        rest = behind;
        let token = match kind {
            token::ENV_CHANGE => Token::EnvChange(EnvChange::parse(bytes)?),
            token::ERROR => {
                let error = ServerMessage::parse(bytes, version)?;
                Token::Error(ServerError {
                    number: error.number,
                    state: error.state,
                    text: error.text.to_lossy(),
                })
            }
            token::INFO => Token::Info(ServerMessage::parse(bytes, version)?),
            token::LOGIN_ACK => Token::LoginAck(LoginAck::parse(bytes)?),
            token::FEATURE_EXT_ACK => Token::Features(feature_ext::parse_ack(bytes).map_err(reason)?.0),
            token::DONE | token::DONE_PROC => {
                ended = Done::read(bytes, version).map_err(reason)?.is_final();
                Token::Other
            }
            _ => Token::Other,
        };
        take(token)?;
    }
    match ended {
        true => Ok(()),
        false => Err(CUT_SHORT),
    }
}

const CUT_SHORT: &str = "the answer is cut short";

fn measure(kind: u8, bytes: &[u8], version: TdsVersion) -> Result<usize, Stop> {
    let mut reader = Reader::new(bytes);
    match kind {
        token::ENV_CHANGE => env_change::measure(bytes),
        token::SESSION_STATE => session_state::measure(bytes),
        token::FEATURE_EXT_ACK => feature_ext::parse_ack(bytes).map(|(_, length)| length),
        token::ERROR | token::INFO | token::LOGIN_ACK | token::ORDER => {
            reader.u8()?;
            Ok(3 + usize::from(reader.u16()?))
        }
        token::DONE | token::DONE_PROC | token::DONE_IN_PROC => Ok(if version.is_wide() { 13 } else { 9 }),
        token::RETURN_STATUS => Ok(5),
        _ => Err(Stop::Fault("a token that has no business in this answer")),
    }
}

fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::Need(_) => CUT_SHORT,
        Stop::Fault(what) => what,
    }
}

#[derive(Default)]
struct Reading {
    acknowledged: Option<(TdsVersion, String, ProductVersion)>,
    database: String,
    language: String,
    collation: [u8; 5],
    server_name: String,
    packet_size: Option<u16>,
    features: Features,
    initial_state: Option<Vec<u8>>,
    /// What the token before this one was about.
    before: About,
    database_notice: Option<Notice>,
    language_notice: Option<Notice>,
    errors: Vec<ServerError>,
    elsewhere: Option<(String, u16)>,
}

/// What a notice is about: it stands behind the ENVCHANGE whose meaning it tells (TDS 3.3). Its number says it too, but not
/// from every server.
#[derive(Clone, Copy, Default)]
enum About {
    Database,
    Language,
    #[default]
    SomethingElse,
}

impl Reading {
    fn take(&mut self, token: Token<'_>, asked: &Asked) -> Result<(), &'static str> {
        let before = std::mem::take(&mut self.before);
        match token {
            Token::EnvChange(change) => self.change(change)?,
            Token::Error(error) if self.errors.len() < limits::NOTICES => self.errors.push(error),
            Token::Info(info) => {
                if self.server_name.is_empty() {
                    self.server_name = info.server.to_lossy();
                }
                let place = match before {
                    About::Database => &mut self.database_notice,
                    About::Language => &mut self.language_notice,
                    About::SomethingElse => return Ok(()),
                };
                *place = Some(Notice {
                    number: info.number,
                    state: info.state,
                    class: info.class,
                    text: info.text.to_lossy(),
                    line: info.line,
                });
            }
            Token::LoginAck(ack) => {
                let version = TdsVersion::from_code(ack.tds_version).ok_or("a TDS version that does not exist")?;
                self.acknowledged = Some((version, ack.program.to_lossy(), ack.version));
            }
            Token::Features(features) => self.features(&features, asked)?,
            Token::Error(_) | Token::Other => {}
        }
        Ok(())
    }

    fn change(&mut self, change: EnvChange<'_>) -> Result<(), &'static str> {
        match change {
            EnvChange::Database { new, .. } => {
                self.database = new.to_lossy();
                self.before = About::Database;
            }
            EnvChange::Language { new, .. } => {
                self.language = new.to_lossy();
                self.before = About::Language;
            }
            EnvChange::Collation { new, .. } => {
                // Absent for a server without one.
                self.collation = new.try_into().unwrap_or_default();
            }
            EnvChange::PacketSize { new, .. } => {
                let size = new.to_lossy().parse().ok().filter(|size| (512..=32_767).contains(size));
                self.packet_size = Some(size.ok_or("a packet size that cannot be")?);
            }
            EnvChange::Routing { host, port } => self.elsewhere = Some((host.to_lossy(), port)),
            _ => {}
        }
        Ok(())
    }

    fn features(&mut self, features: &[Feature], asked: &Asked) -> Result<(), &'static str> {
        const UNASKED: &str = "a feature was acknowledged that was not asked for";
        let version = |feature: &Feature, asked: u8| match feature.data().first() {
            Some(&version) if version <= asked => Ok(version),
            _ => Err(UNASKED),
        };
        for feature in features {
            match feature.id {
                id::SESSION_RECOVERY => self.initial_state = Some(feature.data().to_vec()),
                id::UTF8_SUPPORT if asked.features.utf8 => {
                    self.features.utf8 = feature.data().first().is_some_and(|byte| byte & 1 != 0);
                }
                id::JSON_SUPPORT => self.features.json = version(feature, asked.features.json)?,
                id::VECTOR_SUPPORT => self.features.vector = version(feature, asked.features.vector)?,
                _ => return Err(UNASKED),
            }
        }
        Ok(())
    }

    fn conclude(self, asked: &Asked) -> Result<LoginReply, &'static str> {
        if let Some((host, port)) = self.elsewhere {
            return Ok(LoginReply::Elsewhere { host, port });
        }
        let Some((tds_version, program, version)) = self.acknowledged else {
            // "Cannot open database" comes in front of "login failed", and says more.
            return match self.errors.into_iter().next() {
                Some(error) => Ok(LoginReply::Refused(error)),
                None => Err("neither let in nor refused"),
            };
        };
        if tds_version.min(TdsVersion::V7_4) != asked.tds_version {
            return Err("the server speaks another TDS version than it was asked for");
        }
        Ok(LoginReply::Accepted(Box::new(Accepted {
            welcome: Welcome {
                program,
                version,
                database: self.database,
                language: self.language,
                collation: self.collation,
                server_name: self.server_name,
                features: self.features,
                database_notice: self.database_notice,
                language_notice: self.language_notice,
            },
            tds_version,
            packet_size: self.packet_size.unwrap_or(asked.packet_size),
            initial_state: self.initial_state,
        })))
    }
}

/// What a client is to be told that differs from what the server told us.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// What LOGINACK says.
    pub tds_version: TdsVersion,
    /// What ENVCHANGE 4 says.
    pub packet_size: u16,
    /// The database by the name that the client used, which is the gateway's; empty: the server's own. Drivers compare: one
    /// that finds itself elsewhere says USE.
    pub database: &'a str,
    /// The language that the client asked for; empty: the server's.
    pub language: &'a str,
    /// Which notices it wants.
    pub notices: Notices,
    /// Which extensions it asked for.
    pub features: Features,
}

impl Welcome {
    /// Writes the answer to a client's login, in SQL Server's order (TDS 3.3).
    pub fn write(&self, told: &Told<'_>, out: &mut BytesMut) {
        let version = told.tds_version;
        if told.database.is_empty() || told.database.eq_ignore_ascii_case(&self.database) {
            env_change::write_database(&self.database, "master", out);
            self.write_notice(self.database_notice.as_ref(), told.notices.database, version, out);
        } else {
            env_change::write_database(told.database, "master", out);
            if told.notices.database {
                let text = format!("Changed database context to '{}'.", told.database);
                self.own_words(DATABASE_NOTICE, &text).write_info(version, out);
            }
        }
        env_change::write_collation(self.collation, out);
        if told.language.is_empty() || told.language.eq_ignore_ascii_case(&self.language) {
            env_change::write_language(&self.language, "", out);
            self.write_notice(self.language_notice.as_ref(), told.notices.language, version, out);
        } else {
            env_change::write_language(told.language, &self.language, out);
            if told.notices.language {
                let text = format!("Changed language setting to {}.", told.language);
                self.own_words(LANGUAGE_NOTICE, &text).write_info(version, out);
            }
        }
        let program = self.program.trim_end_matches('\0');
        // Real servers put two zero units behind it, and some drivers cut them off blindly.
        login_ack::write(version, &format!("{program}\0\0"), self.version, out);
        env_change::write_packet_size(told.packet_size, LOGIN_PACKET_SIZE, out);
        feature_ext::write_ack(&self.acknowledged(told.features), out);
        Done::statement(DoneStatus::default(), 0).write(version, out);
    }

    fn write_notice(&self, notice: Option<&Notice>, wanted: bool, version: TdsVersion, out: &mut BytesMut) {
        if let Some(notice) = notice.filter(|_| wanted) {
            OwnMessage {
                number: notice.number,
                state: notice.state,
                class: notice.class,
                text: &notice.text,
                server: &self.server_name,
                procedure: "",
                line: notice.line,
            }
            .write_info(version, out);
        }
    }

    fn own_words<'a>(&'a self, number: i32, text: &'a str) -> OwnMessage<'a> {
        OwnMessage {
            number,
            state: 1,
            class: 0,
            text,
            server: &self.server_name,
            procedure: "",
            line: 1,
        }
    }

    /// What the server acknowledged and the client asked for.
    pub fn features_for(&self, asked: Features) -> Features {
        Features {
            utf8: self.features.utf8 && asked.utf8,
            json: self.features.json.min(asked.json),
            vector: self.features.vector.min(asked.vector),
        }
    }

    fn acknowledged(&self, asked: Features) -> Vec<Feature> {
        let Features { utf8, json, vector } = self.features_for(asked);
        let mut all = Vec::new();
        if utf8 {
            all.push(Feature::new(id::UTF8_SUPPORT, &[1]));
        }
        if json > 0 {
            all.push(Feature::new(id::JSON_SUPPORT, &[json]));
        }
        if vector > 0 {
            all.push(Feature::new(id::VECTOR_SUPPORT, &[vector]));
        }
        all
    }
}
