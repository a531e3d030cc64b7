//! What is handed out, and how long it is.
//!
//! Pure.

use crate::wire::{
    column_metadata::{ColumnEncryption, NO_METADATA},
    data_classification::ClassificationVersion,
    done::Done,
    env_change::{self, EnvChange},
    feature_ext,
    login_ack::LoginAck,
    message::ServerMessage,
    read::{Read, Reader, whole},
    return_value::ReturnValue,
    session_state::{self, SessionState},
    token,
    version::TdsVersion,
};

/// What was negotiated that changes the layout of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// The version.
    pub version: TdsVersion,
    /// Always Encrypted.
    pub column_encryption: ColumnEncryption,
    /// Data classification.
    pub data_classification: ClassificationVersion,
}

/// A part of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Nothing that anybody looks at: rows, names of columns, values.
    Pass(&'a [u8]),
    /// A token, whole.
    Token(Token<'a>),
}

impl<'a> Piece<'a> {
    /// As it came.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Piece::Pass(bytes) => bytes,
            Piece::Token(token) => token.bytes,
        }
    }
}

/// A token that may matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// Where it starts in the payload of the response.
    pub at: u64,
    /// All of it, as it came.
    pub bytes: &'a [u8],
    /// What it says.
    pub content: Content<'a>,
}

/// What a token says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// COLMETADATA: only its head is in the token; the columns follow as bytes. `None`: "no metadata".
    ColumnMetadata {
        /// How many columns.
        columns: Option<u16>,
    },
    /// ENVCHANGE
    EnvChange(EnvChange<'a>),
    /// ERROR
    Error(ServerMessage<'a>),
    /// INFO
    Info(ServerMessage<'a>),
    /// LOGINACK
    LoginAck(LoginAck<'a>),
    /// FEATUREEXTACK: see [`feature_ext::parse_ack`].
    FeatureExtAck,
    /// SESSIONSTATE
    SessionState(SessionState<'a>),
    /// RETURNSTATUS
    ReturnStatus(i32),
    /// RETURNVALUE
    ReturnValue(ReturnValue<'a>),
    /// SSPI: the data.
    Sspi(&'a [u8]),
    /// FEDAUTHINFO: the data.
    FederatedAuthenticationInfo(&'a [u8]),
    /// DONE, DONEPROC, DONEINPROC
    Done(Done),
}

/// How tokens are dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Passed on as it comes.
    Streamed,
    /// Handed out whole.
    Whole,
    /// None that we know.
    Unknown,
}

impl Class {
    pub(super) fn of(first: u8) -> Class {
        match first {
            token::ROW
            | token::NBC_ROW
            | token::OFFSET
            | token::ALTERNATE_METADATA
            | token::ALTERNATE_ROW
            | token::DATA_CLASSIFICATION
            | token::TABLE_NAME
            | token::COLUMN_INFO
            | token::ORDER => Class::Streamed,
            token::COLUMN_METADATA
            | token::ENV_CHANGE
            | token::ERROR
            | token::INFO
            | token::LOGIN_ACK
            | token::FEATURE_EXT_ACK
            | token::SESSION_STATE
            | token::RETURN_STATUS
            | token::RETURN_VALUE
            | token::SSPI
            | token::FEDERATED_AUTHENTICATION_INFO
            | token::DONE
            | token::DONE_PROC
            | token::DONE_IN_PROC => Class::Whole,
            _ => Class::Unknown,
        }
    }
}

/// Bytes of a token of [`Class::Whole`] at the front of `bytes`.
pub(super) fn measure(bytes: &[u8], layout: Layout) -> Read<usize> {
    let mut reader = Reader::new(bytes);
    match reader.u8()? {
        token::COLUMN_METADATA => reader.take(2)?,
        token::RETURN_STATUS => reader.take(4)?,
        token::DONE | token::DONE_PROC | token::DONE_IN_PROC => {
            reader.take(if layout.version.is_wide() { 12 } else { 8 })?
        }
        token::ENV_CHANGE => return env_change::measure(bytes),
        token::SESSION_STATE => return session_state::measure(bytes),
        token::FEATURE_EXT_ACK => return feature_ext::measure_ack(bytes),
        token::RETURN_VALUE => {
            return ReturnValue::read(bytes, layout.version, layout.column_encryption).map(|(_, length)| length);
        }
        token::FEDERATED_AUTHENTICATION_INFO => {
            let length = reader.u32()? as usize;
            reader.take(length)?
        }
        // ERROR, INFO, LOGINACK, SSPI
        _ => reader.us_varbyte()?,
    };
    Ok(reader.at())
}

/// What a whole token says.
pub(super) fn content(bytes: &[u8], layout: Layout) -> Result<Content<'_>, &'static str> {
    let rest = |from: usize| bytes.get(from..).unwrap_or_default();
    Ok(match bytes.first().copied().unwrap_or(0) {
        token::COLUMN_METADATA => {
            let count = rest(1).first_chunk().map_or(0, |count| u16::from_le_bytes(*count));
            let columns = (count != NO_METADATA).then_some(count);
            Content::ColumnMetadata { columns }
        }
        token::ENV_CHANGE => Content::EnvChange(EnvChange::parse(bytes)?),
        token::ERROR => Content::Error(ServerMessage::parse(bytes, layout.version)?),
        token::INFO => Content::Info(ServerMessage::parse(bytes, layout.version)?),
        token::LOGIN_ACK => Content::LoginAck(LoginAck::parse(bytes)?),
        token::FEATURE_EXT_ACK => Content::FeatureExtAck,
        token::SESSION_STATE => Content::SessionState(SessionState::parse(bytes)?),
        token::RETURN_STATUS => {
            let status = rest(1).first_chunk().map_or(0, |status| i32::from_le_bytes(*status));
            Content::ReturnStatus(status)
        }
        token::RETURN_VALUE => {
            let read = ReturnValue::read(bytes, layout.version, layout.column_encryption);
            Content::ReturnValue(whole(read, "RETURNVALUE is cut short")?.0)
        }
        token::SSPI => Content::Sspi(rest(3)),
        token::FEDERATED_AUTHENTICATION_INFO => Content::FederatedAuthenticationInfo(rest(5)),
        _ => Content::Done(whole(Done::read(bytes, layout.version), "DONE is cut short")?),
    })
}
