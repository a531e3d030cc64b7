//! The table of keywords, and which of repeated ones counts.

use std::collections::BTreeMap;

use super::{ConnectionStringError, Dialect, split::normal};
use crate::{quote::shorten, suggest};

/// Values by meaning.
#[derive(Default)]
pub(super) struct Keywords {
    values: BTreeMap<Keyword, String>,
    pub(super) remarks: Vec<String>,
}

impl Keywords {
    /// Takes a value out; empty ones count as not set.
    pub(super) fn take(&mut self, keyword: Keyword) -> Option<String> {
        self.values.remove(&keyword).filter(|value| !value.is_empty())
    }
}

/// Sorts pairs into the table. ODBC: the first of repeated keywords wins, ADO.NET: the last.
pub(super) fn collect(pairs: Vec<(&str, String)>, dialect: Dialect) -> Result<Keywords, ConnectionStringError> {
    let mut keywords = Keywords::default();
    let mut previous = "";
    for (written, value) in pairs {
        let name = normal(written);
        let Some((_, fate)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            keywords.remarks.push(unknown(written, &name, previous));
            continue;
        };
        previous = written;
        match (fate, dialect) {
            (Fate::Used(keyword), Dialect::Odbc) => {
                keywords.values.entry(*keyword).or_insert(value);
            }
            (Fate::Used(keyword), Dialect::AdoNet) => {
                keywords.values.insert(*keyword, value);
            }
            (Fate::Ignored(why), _) => keywords.remarks.push(format!(
                "{} in the connection string is ignored: {why}",
                shorten(written)
            )),
            (Fate::Refused(why), _) => {
                return Err(ConnectionStringError::new(format!(
                    "{} in the connection string is not supported: {why}",
                    shorten(written)
                )));
            }
        }
    }
    Ok(keywords)
}

/// A keyword that is like no known one is not quoted: it may be a part of a password with a `;` in it.
fn unknown(written: &str, normal: &str, previous: &str) -> String {
    match suggest::nearest(normal, KNOWN.iter().map(|(known, _)| *known)) {
        Some(known) => format!(
            "unknown keyword \"{}\" in the connection string is ignored, did you mean {}?",
            shorten(written),
            spelling(known)
        ),
        None if previous.is_empty() => {
            "an unknown keyword at the beginning of the connection string is ignored".to_owned()
        }
        None => format!(
            "an unknown keyword behind {previous} in the connection string is ignored (a value with \";\" has to be written in braces: {{…}})"
        ),
    }
}

/// A keyword for a message: one that is not known may be a part of a password.
pub(super) fn shown(written: &str) -> &str {
    let name = normal(written);
    if KNOWN.iter().any(|(known, _)| *known == name) {
        written
    } else {
        "a keyword"
    }
}

/// The usual spelling of a normalised keyword.
fn spelling(known: &str) -> &str {
    SPELLINGS
        .iter()
        .find(|spelling| normal(spelling) == known)
        .copied()
        .unwrap_or(known)
}

const SPELLINGS: [&str; 16] = [
    "Server",
    "Database",
    "UID",
    "PWD",
    "Encrypt",
    "TrustServerCertificate",
    "HostnameInCertificate",
    "ApplicationIntent",
    "MultiSubnetFailover",
    "MARS_Connection",
    "Trusted_Connection",
    "Authentication",
    "Connection Timeout",
    "Initial Catalog",
    "Data Source",
    "User ID",
];

/// What a keyword means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Keyword {
    ApplicationIntent,
    ApplicationName,
    Authentication,
    ClientCertificate,
    ClientKey,
    ConnectRetryCount,
    ConnectRetryInterval,
    ConnectTimeout,
    Database,
    Driver,
    Encrypt,
    HostNameInCertificate,
    IpAddressPreference,
    KeepAlive,
    KeepAliveInterval,
    Language,
    Mars,
    MultiSubnetFailover,
    PacketSize,
    Password,
    Port,
    Server,
    ServerCertificate,
    Trusted,
    TrustServerCertificate,
    User,
    Workstation,
}

enum Fate {
    Used(Keyword),
    Ignored(&'static str),
    Refused(&'static str),
}

const POOL: Fate = Fate::Ignored("the pool is set up by pool_settings");
const DRIVER_ONLY: Fate = Fate::Ignored("it concerns the driver's own side");
const FILES: Fate = Fate::Refused("the gateway reads no odbc.ini; write the values out");

const KNOWN: &[(&str, Fate)] = &[
    ("driver", Fate::Used(Keyword::Driver)),
    ("server", Fate::Used(Keyword::Server)),
    ("addr", Fate::Used(Keyword::Server)),
    ("address", Fate::Used(Keyword::Server)),
    ("networkaddress", Fate::Used(Keyword::Server)),
    ("datasource", Fate::Used(Keyword::Server)),
    ("port", Fate::Used(Keyword::Port)),
    ("database", Fate::Used(Keyword::Database)),
    ("initialcatalog", Fate::Used(Keyword::Database)),
    ("uid", Fate::Used(Keyword::User)),
    ("userid", Fate::Used(Keyword::User)),
    ("user", Fate::Used(Keyword::User)),
    ("pwd", Fate::Used(Keyword::Password)),
    ("password", Fate::Used(Keyword::Password)),
    ("trustedconnection", Fate::Used(Keyword::Trusted)),
    ("integratedsecurity", Fate::Used(Keyword::Trusted)),
    ("authentication", Fate::Used(Keyword::Authentication)),
    ("encrypt", Fate::Used(Keyword::Encrypt)),
    ("trustservercertificate", Fate::Used(Keyword::TrustServerCertificate)),
    ("hostnameincertificate", Fate::Used(Keyword::HostNameInCertificate)),
    ("servercertificate", Fate::Used(Keyword::ServerCertificate)),
    ("clientcertificate", Fate::Used(Keyword::ClientCertificate)),
    ("clientkey", Fate::Used(Keyword::ClientKey)),
    ("app", Fate::Used(Keyword::ApplicationName)),
    ("applicationname", Fate::Used(Keyword::ApplicationName)),
    ("wsid", Fate::Used(Keyword::Workstation)),
    ("workstationid", Fate::Used(Keyword::Workstation)),
    ("applicationintent", Fate::Used(Keyword::ApplicationIntent)),
    ("multisubnetfailover", Fate::Used(Keyword::MultiSubnetFailover)),
    ("marsconnection", Fate::Used(Keyword::Mars)),
    ("multipleactiveresultsets", Fate::Used(Keyword::Mars)),
    ("connectretrycount", Fate::Used(Keyword::ConnectRetryCount)),
    ("connectretryinterval", Fate::Used(Keyword::ConnectRetryInterval)),
    ("keepalive", Fate::Used(Keyword::KeepAlive)),
    ("keepaliveinterval", Fate::Used(Keyword::KeepAliveInterval)),
    ("ipaddresspreference", Fate::Used(Keyword::IpAddressPreference)),
    ("language", Fate::Used(Keyword::Language)),
    ("currentlanguage", Fate::Used(Keyword::Language)),
    ("connecttimeout", Fate::Used(Keyword::ConnectTimeout)),
    ("connectiontimeout", Fate::Used(Keyword::ConnectTimeout)),
    ("timeout", Fate::Used(Keyword::ConnectTimeout)),
    ("logintimeout", Fate::Used(Keyword::ConnectTimeout)),
    ("packetsize", Fate::Used(Keyword::PacketSize)),
    ("pooling", POOL),
    ("minpoolsize", POOL),
    ("maxpoolsize", POOL),
    ("connectionlifetime", POOL),
    ("loadbalancetimeout", POOL),
    ("connectionreset", POOL),
    ("poolblockingperiod", POOL),
    ("persistsecurityinfo", DRIVER_ONLY),
    ("enlist", DRIVER_ONLY),
    ("commandtimeout", DRIVER_ONLY),
    ("quotedid", DRIVER_ONLY),
    ("ansinpw", DRIVER_ONLY),
    ("autotranslate", DRIVER_ONLY),
    ("description", DRIVER_ONLY),
    ("typesystemversion", DRIVER_ONLY),
    ("columnencryption", DRIVER_ONLY),
    ("columnencryptionsetting", DRIVER_ONLY),
    ("tdsversion", DRIVER_ONLY),
    ("regional", DRIVER_ONLY),
    ("dsn", FILES),
    ("filedsn", FILES),
    (
        "failoverpartner",
        Fate::Refused("database mirroring is not followed; name the availability group listener as Server"),
    ),
    (
        "attachdbfilename",
        Fate::Refused("a file cannot be attached through a gateway"),
    ),
    (
        "userinstance",
        Fate::Refused("user instances exist on the server's own machine only"),
    ),
];
