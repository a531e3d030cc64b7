//! What a client asks for with LOGIN7, once everything that the gateway does not do has been refused by name.
//!
//! Pure. Rules: TDS 3.1, 3.2. Must not know who may log in.

use weir_core::secret::Secret;

use super::handshake::Security;
use crate::{
    refusals::{Words, number},
    session::{Features, Notices},
    settings::{LoginAs, Profile},
    wire::{
        TdsVersion,
        feature_ext::id,
        login7::{Login7, flags1, flags2, flags3, type_flags},
        packet::negotiate_packet_size,
    },
};

/// A login that makes sense.
#[derive(Debug)]
pub struct LoginRequest {
    /// Who.
    pub user: String,
    /// The proof.
    pub password: Secret<String>,
    /// Which database; empty when the client did not say.
    pub database: String,
    /// The language that the session is to have; empty when the client did not say.
    pub language: String,
    /// What the client calls itself, for logs.
    pub application: String,
    /// What will be spoken; what LOGINACK says.
    pub tds_version: TdsVersion,
    /// Bytes of a packet, as they will be.
    pub packet_size: u16,
    /// Which notices it wants.
    pub notices: Notices,
    /// What its server connections have to be like. Its login is the source's own until somebody says otherwise.
    pub profile: Profile,
    /// How its line is secured.
    pub security: Security,
}

impl LoginRequest {
    /// Reads the payload of a LOGIN7 message.
    ///
    /// # Errors
    /// What to tell the client.
    pub fn read(payload: &[u8], security: Security) -> Result<Self, Words> {
        let login = Login7::parse(payload)
            .map_err(|what| Words::new(number::PROTOCOL, 20, format!("The login packet is invalid: {what}.")))?;
        let tds_version = version(&login)?;
        refuse_what_is_not_done(&login)?;
        let has = |flags: u8, flag: u8| flags & flag != 0;
        let profile = Profile {
            login: LoginAs::Source,
            // The layout of 8.0 is that of 7.4.
            tds_version: tds_version.min(TdsVersion::V7_4),
            odbc: has(login.flags2, flags2::ODBC) || has(login.type_flags, type_flags::OLEDB),
            read_only_intent: has(login.type_flags, type_flags::READ_ONLY_INTENT),
            binary_xml: has(login.flags3, flags3::BINARY_XML),
            features: features(&login),
        };
        Ok(LoginRequest {
            tds_version,
            packet_size: negotiate_packet_size(login.packet_size),
            notices: Notices {
                database: has(login.flags1, flags1::USE_DATABASE),
                language: has(login.flags1, flags1::SET_LANGUAGE),
            },
            profile,
            security,
            user: login.user,
            password: login.password,
            database: login.database,
            language: login.language,
            application: login.application,
        })
    }
}

fn version(login: &Login7) -> Result<TdsVersion, Words> {
    login.version().ok_or_else(|| {
        unsupported(format!(
            "TDS version {:#010x} is too old: the gateway speaks 7.1 (SQL Server 2000) and newer. Set the driver's TDS \
             version to 7.4",
            login.tds_version
        ))
    })
}

/// Whatever would make the login mean something else than "this user, this password".
fn refuse_what_is_not_done(login: &Login7) -> Result<(), Words> {
    let flag = |flags: u8, flag: u8| flags & flag != 0;
    if flag(login.flags2, flags2::INTEGRATED_SECURITY) || !login.sspi.expose().is_empty() {
        return Err(Words::new(
            number::INTEGRATED_SECURITY,
            14,
            "Integrated authentication is not possible through the gateway: log in with a user name and a password.",
        ));
    }
    if login.feature(id::FEDERATED_AUTHENTICATION).is_some() {
        return Err(unsupported(
            "Microsoft Entra (Active Directory) authentication is not possible through the gateway: log in with a user name \
             and a password",
        ));
    }
    if flag(login.flags3, flags3::CHANGE_PASSWORD) || !login.new_password.expose().is_empty() {
        return Err(unsupported(
            "Passwords cannot be changed through the gateway: log in at the database to change it",
        ));
    }
    if !login.attach_file.is_empty() {
        return Err(unsupported("AttachDBFilename is not possible through the gateway"));
    }
    if flag(login.flags3, flags3::USER_INSTANCE) {
        return Err(unsupported("User instances are not possible through the gateway"));
    }
    if flag(login.flags2, flags2::USER_TYPE) {
        return Err(unsupported(
            "Logins of replication agents are not possible through the gateway",
        ));
    }
    // Nobody was told that a session could be recovered, so there is none to be recovered.
    if login
        .feature(id::SESSION_RECOVERY)
        .is_some_and(|state| !state.is_empty())
    {
        return Err(unsupported(
            "A session that was lost cannot be recovered through the gateway: connect anew",
        ));
    }
    Ok(())
}

/// The extensions that a server connection has to have for this client; all others are not acknowledged (TDS 3.2).
fn features(login: &Login7) -> Features {
    let version = |feature: u8, newest: u8| match login.feature(feature) {
        Some(&[asked, ..]) => asked.min(newest),
        _ => 0,
    };
    Features {
        utf8: login
            .feature(id::UTF8_SUPPORT)
            .is_some_and(|asked| asked.first() == Some(&1)),
        json: version(id::JSON_SUPPORT, 1),
        vector: version(id::VECTOR_SUPPORT, 2),
    }
}

fn unsupported(what: impl Into<String>) -> Words {
    let what: String = what.into();
    Words::new(number::UNSUPPORTED, 16, format!("{what}."))
}
