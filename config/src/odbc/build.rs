//! From keywords to an endpoint.

use std::{path::PathBuf, time::Duration};

use weir_core::secret::Secret;

use super::{
    ConnectionStringError, Dialect, Parsed,
    keywords::{Keyword, Keywords},
};
use crate::{
    model::{ApplicationIntent, Encrypt, IpAddressPreference, MssqlAuthentication, MssqlEndpoint},
    words::{self, Words},
};

/// Builds the endpoint from what was written.
pub(super) fn build(mut keywords: Keywords, dialect: Dialect) -> Result<Parsed, ConnectionStringError> {
    let server = keywords
        .take(Keyword::Server)
        .ok_or_else(|| ConnectionStringError::new("the connection string names no Server"))?;
    let (host, instance, mut port) = server_parts(&server)?;
    if let Some(separate) = keywords.take(Keyword::Port) {
        port = port.or(Some(self::port(&separate)?));
    }
    let encrypt = encrypt(&mut keywords, dialect)?;
    let certificate = keywords.take(Keyword::ClientCertificate).map(PathBuf::from);
    let key = keywords.take(Keyword::ClientKey).map(PathBuf::from);
    if certificate.is_none() && key.is_some() {
        return Err(ConnectionStringError::new(
            "ClientKey is given without ClientCertificate",
        ));
    }
    let mut endpoint = MssqlEndpoint {
        host,
        port,
        instance,
        database: keywords.take(Keyword::Database),
        authentication: authentication(&mut keywords)?,
        encrypt,
        trust_server_certificate: yes(&mut keywords, Keyword::TrustServerCertificate, "TrustServerCertificate")?,
        host_name_in_certificate: keywords.take(Keyword::HostNameInCertificate),
        server_certificate: keywords.take(Keyword::ServerCertificate).map(PathBuf::from),
        client_certificate: certificate.map(|certificate| (certificate, key)),
        application_name: keywords.take(Keyword::ApplicationName),
        workstation_id: keywords.take(Keyword::Workstation),
        application_intent: ApplicationIntent::default(),
        multi_subnet_failover: yes(&mut keywords, Keyword::MultiSubnetFailover, "MultiSubnetFailover")?,
        mars: yes(&mut keywords, Keyword::Mars, "MARS_Connection")?,
        connect_retry_count: None,
        connect_retry_interval: None,
        keep_alive: None,
        keep_alive_interval: None,
        ip_address_preference: IpAddressPreference::default(),
        language: keywords.take(Keyword::Language),
        connect_timeout: None,
        packet_size: None,
    };
    tune(&mut endpoint, &mut keywords)?;
    Ok(Parsed {
        endpoint,
        remarks: keywords.remarks,
    })
}

/// The keywords with a bounded number or a fixed word. Bounds: learn.microsoft.com, "DSN and Connection String Keywords".
fn tune(endpoint: &mut MssqlEndpoint, keywords: &mut Keywords) -> Result<(), ConnectionStringError> {
    use Keyword::{ConnectRetryCount, ConnectRetryInterval, ConnectTimeout, KeepAlive, KeepAliveInterval, PacketSize};

    endpoint.application_intent =
        word(keywords, Keyword::ApplicationIntent, "ApplicationIntent", INTENTS)?.unwrap_or_default();
    endpoint.ip_address_preference = word(
        keywords,
        Keyword::IpAddressPreference,
        "IpAddressPreference",
        PREFERENCES,
    )?
    .unwrap_or_default();
    let retries = number(keywords, ConnectRetryCount, "ConnectRetryCount", 0, 255)?;
    endpoint.connect_retry_count = retries.and_then(|count| u8::try_from(count).ok());
    endpoint.connect_retry_interval = seconds(keywords, ConnectRetryInterval, "ConnectRetryInterval", 1, 60)?;
    endpoint.keep_alive = seconds(keywords, KeepAlive, "KeepAlive", 1, DAY)?;
    endpoint.keep_alive_interval = seconds(keywords, KeepAliveInterval, "KeepAliveInterval", 1, DAY)?;
    let timeout = seconds(keywords, ConnectTimeout, "Connection Timeout", 0, DAY)?;
    endpoint.connect_timeout = timeout.filter(|timeout| !timeout.is_zero());
    let size = number(keywords, PacketSize, "Packet Size", 512, 32_767)?;
    endpoint.packet_size = size.and_then(|size| u16::try_from(size).ok());
    Ok(())
}

/// Seconds of a day.
const DAY: u32 = 86_400;

/// `tcp:host\instance,port`
fn server_parts(text: &str) -> Result<(String, Option<String>, Option<u16>), ConnectionStringError> {
    let protocol = text
        .split_once(':')
        .map(|(protocol, _)| protocol.trim().to_ascii_lowercase());
    let text = match protocol.as_deref() {
        Some("tcp") => &text[text.find(':').map_or(0, |colon| colon + 1)..],
        Some(other @ ("np" | "lpc" | "admin" | "via")) => {
            return Err(ConnectionStringError::new(format!(
                "Server uses {other}:, but the gateway connects by TCP only"
            )));
        }
        _ => text,
    };
    if text.contains("://") {
        return Err(ConnectionStringError::new("Server is a URL: write host,port"));
    }
    let (host, port) = match text.split_once(',') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    let (host, instance) = match host.split_once('\\') {
        Some((host, instance)) => (
            host.trim(),
            Some(instance.trim().to_owned()).filter(|instance| !instance.is_empty()),
        ),
        None => (host.trim(), None),
    };
    if host.matches(':').count() == 1 {
        return Err(ConnectionStringError::new(
            "Server has a \":\" before the port: SQL Server wants a comma, host,port",
        ));
    }
    let host = match host {
        "." | "(local)" => "localhost",
        "" => return Err(ConnectionStringError::new("Server names no host")),
        host if host.starts_with('(') => {
            return Err(ConnectionStringError::new(
                "LocalDB exists on its own machine only; name a server",
            ));
        }
        host => host.trim_start_matches('[').trim_end_matches(']'),
    };
    Ok((host.to_owned(), instance, port))
}

fn port(digits: &str) -> Result<u16, ConnectionStringError> {
    let port = digits.trim().parse().ok().filter(|&port| port != 0);
    port.ok_or_else(|| ConnectionStringError::new("the port of Server is not a number between 1 and 65535"))
}

fn authentication(keywords: &mut Keywords) -> Result<MssqlAuthentication, ConnectionStringError> {
    let user = keywords.take(Keyword::User);
    let password = keywords.take(Keyword::Password).map(Secret::new);
    if word(keywords, Keyword::Trusted, "Trusted_Connection", YES_OR_SSPI)?.unwrap_or(false) {
        return Ok(MssqlAuthentication::Integrated);
    }
    match keywords.take(Keyword::Authentication) {
        Some(method) if !normal(&method).eq("sqlpassword") => {
            if !normal(&method).starts_with("activedirectory") {
                return Err(ConnectionStringError::new(
                    "Authentication must be SqlPassword or one of the ActiveDirectory methods",
                ));
            }
            Ok(MssqlAuthentication::ActiveDirectory { method, user, password })
        }
        _ => match (user, password) {
            (Some(user), Some(password)) => Ok(MssqlAuthentication::Password { user, password }),
            (None, _) => Err(ConnectionStringError::new(
                "the connection string names no UID (or Trusted_Connection, or Authentication)",
            )),
            (Some(_), None) => Err(ConnectionStringError::new("the connection string has a UID but no PWD")),
        },
    }
}

/// The default differs: yes since ODBC driver 18 and Microsoft.Data.SqlClient 4, no before. An unknown driver is taken
/// for a new one.
fn encrypt(keywords: &mut Keywords, dialect: Dialect) -> Result<Encrypt, ConnectionStringError> {
    let driver = keywords.take(Keyword::Driver).unwrap_or_default().to_ascii_lowercase();
    let old = [
        "driver 11 ",
        "driver 13 ",
        "driver 13.1 ",
        "driver 17 ",
        "native client",
        "freetds",
    ];
    let default =
        match dialect == Dialect::Odbc && (old.iter().any(|name| driver.contains(name)) || driver == "sql server") {
            true => Encrypt::Optional,
            false => Encrypt::Mandatory,
        };
    Ok(word(keywords, Keyword::Encrypt, "Encrypt", ENCRYPTS)?.unwrap_or(default))
}

fn yes(keywords: &mut Keywords, keyword: Keyword, name: &str) -> Result<bool, ConnectionStringError> {
    Ok(word(keywords, keyword, name, YES_NO)?.unwrap_or(false))
}

fn word<T: Copy>(
    keywords: &mut Keywords,
    keyword: Keyword,
    name: &str,
    words: Words<T>,
) -> Result<Option<T>, ConnectionStringError> {
    match keywords.take(keyword) {
        None => Ok(None),
        Some(text) => words::find(words, &normal(&text))
            .map(Some)
            .map_err(|unknown| ConnectionStringError::new(format!("{name}{unknown}"))),
    }
}

fn seconds(
    keywords: &mut Keywords,
    keyword: Keyword,
    name: &str,
    least: u32,
    most: u32,
) -> Result<Option<Duration>, ConnectionStringError> {
    Ok(number(keywords, keyword, name, least, most)?.map(|seconds| Duration::from_secs(seconds.into())))
}

fn number(
    keywords: &mut Keywords,
    keyword: Keyword,
    name: &str,
    least: u32,
    most: u32,
) -> Result<Option<u32>, ConnectionStringError> {
    let Some(text) = keywords.take(keyword) else {
        return Ok(None);
    };
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number
        .map(Some)
        .ok_or_else(|| ConnectionStringError::new(format!("{name} must be a number between {least} and {most}")))
}

fn normal(text: &str) -> String {
    super::split::normal(text)
}

const YES_NO: Words<bool> = &[
    ("yes", true),
    ("no", false),
    ("true", true),
    ("false", false),
    ("1", true),
    ("0", false),
];

const YES_OR_SSPI: Words<bool> = &[
    ("yes", true),
    ("no", false),
    ("true", true),
    ("false", false),
    ("sspi", true),
    ("1", true),
    ("0", false),
];

const ENCRYPTS: Words<Encrypt> = &[
    ("no", Encrypt::Optional),
    ("optional", Encrypt::Optional),
    ("false", Encrypt::Optional),
    ("yes", Encrypt::Mandatory),
    ("mandatory", Encrypt::Mandatory),
    ("true", Encrypt::Mandatory),
    ("strict", Encrypt::Strict),
];

const INTENTS: Words<ApplicationIntent> = &[
    ("readwrite", ApplicationIntent::ReadWrite),
    ("readonly", ApplicationIntent::ReadOnly),
];

const PREFERENCES: Words<IpAddressPreference> = &[
    ("ipv4first", IpAddressPreference::Ipv4First),
    ("ipv6first", IpAddressPreference::Ipv6First),
    ("useplatformdefault", IpAddressPreference::PlatformDefault),
];
