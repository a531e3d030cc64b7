//! From libpq's parameters to an endpoint: hosts with ports, fixed words, and the combinations that libpq refuses.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use weir_core::secret::Secret;

use super::{AddressError, Parsed, parameters::Parameters};
use crate::{
    limits,
    model::{
        ChannelBinding, Host, HostName, LoadBalanceHosts, PostgresEndpoint, RootCertificate, SecretFile, SecretSource,
        SslMode, SslNegotiation, TargetSessionAttrs,
    },
    words,
};

const DEFAULT_PORT: u16 = 5432;

/// Where Debian's and most other packages put the socket; libpq connects there when no host is given.
const DEFAULT_SOCKET_FOLDER: &str = "/var/run/postgresql";

/// Builds the endpoint. TLS settings are checked later ([`check_tls`]), when `ssl_configuration` has been applied.
pub(super) fn build(mut parameters: Parameters) -> Result<Parsed, AddressError> {
    let hosts = hosts(&mut parameters)?;
    let user = parameters
        .take("user")
        .ok_or_else(|| AddressError::new("the address names no user"))?;
    let root_certificate = parameters.take("sslrootcert").map(|root| match root.as_str() {
        "system" => RootCertificate::System,
        _ => RootCertificate::Pem(file(root)),
    });
    let ssl_mode = match word(&mut parameters, "sslmode", words::SSL_MODES)? {
        Some(mode) => mode,
        None if root_certificate == Some(RootCertificate::System) => SslMode::VerifyFull,
        None => SslMode::default(),
    };
    let fallback_name = parameters.take("fallback_application_name");
    let endpoint = PostgresEndpoint {
        hosts,
        database: parameters.take("dbname").unwrap_or_else(|| user.clone()),
        user,
        password: parameters.take("password").map(Secret::new),
        ssl_mode,
        root_certificate,
        client_certificate: parameters.take("sslcert").map(file),
        client_key: parameters.take("sslkey").map(file),
        client_key_password: parameters
            .take("sslpassword")
            .map(|password| SecretSource::Literal(Secret::new(password))),
        channel_binding: word(&mut parameters, "channel_binding", CHANNEL_BINDINGS)?.unwrap_or_default(),
        ssl_negotiation: word(&mut parameters, "sslnegotiation", SSL_NEGOTIATIONS)?.unwrap_or_default(),
        application_name: parameters.take("application_name").or(fallback_name),
        options: parameters.take("options"),
        connect_timeout: connect_timeout(&mut parameters)?,
        target_session_attrs: word(&mut parameters, "target_session_attrs", TARGETS)?.unwrap_or_default(),
        load_balance_hosts: word(&mut parameters, "load_balance_hosts", BALANCES)?.unwrap_or_default(),
    };
    Ok(Parsed {
        endpoint,
        remarks: parameters.remarks,
    })
}

/// The combinations that libpq refuses, and half client certificates.
pub(crate) fn check_tls(endpoint: &PostgresEndpoint) -> Result<(), String> {
    let mode = words::name_of(words::SSL_MODES, endpoint.ssl_mode);
    if endpoint.root_certificate == Some(RootCertificate::System) && endpoint.ssl_mode != SslMode::VerifyFull {
        return Err(format!(
            "sslmode {mode} is too weak for sslrootcert=system: use verify-full"
        ));
    }
    if endpoint.ssl_mode == SslMode::VerifyCa && endpoint.root_certificate.is_none() {
        return Err("sslmode verify-ca needs sslrootcert".to_owned());
    }
    let weak = matches!(endpoint.ssl_mode, SslMode::Disable | SslMode::Allow | SslMode::Prefer);
    if endpoint.ssl_negotiation == SslNegotiation::Direct && weak {
        return Err(format!(
            "sslmode {mode} is too weak for sslnegotiation=direct: use require, verify-ca or verify-full"
        ));
    }
    if endpoint.channel_binding == ChannelBinding::Require && endpoint.ssl_mode == SslMode::Disable {
        return Err("channel_binding=require needs TLS, but sslmode is disable".to_owned());
    }
    match (&endpoint.client_certificate, &endpoint.client_key) {
        (Some(_), None) => Err("sslcert is given without sslkey".to_owned()),
        (None, Some(_)) => Err("sslkey is given without sslcert".to_owned()),
        _ => Ok(()),
    }
}

/// Pairs hosts, addresses and ports as libpq does: lists of equal length, or one port for all.
fn hosts(parameters: &mut Parameters) -> Result<Vec<Host>, AddressError> {
    let names = list(parameters.take("host"));
    let addresses = list(parameters.take("hostaddr"));
    let ports = list(parameters.take("port"));
    let count = names.len().max(addresses.len()).max(1);
    if count > limits::MAX_HOSTS {
        return Err(AddressError::new(format!(
            "the address names {count} hosts; at most {} are supported",
            limits::MAX_HOSTS
        )));
    }
    if !names.is_empty() && !addresses.is_empty() && names.len() != addresses.len() {
        return Err(AddressError::new(format!(
            "could not match {} hosts to {} hostaddr values",
            names.len(),
            addresses.len()
        )));
    }
    if ports.len() > 1 && ports.len() != count {
        return Err(AddressError::new(format!(
            "could not match {} ports to {count} hosts",
            ports.len()
        )));
    }
    let nth = |list: &[String], position: usize| list.get(position).cloned().unwrap_or_default();
    (0..count)
        .map(|position| {
            let port = nth(&ports, if ports.len() == 1 { 0 } else { position });
            host(nth(&names, position), &nth(&addresses, position), &port)
        })
        .collect()
}

fn host(name: String, address: &str, port: &str) -> Result<Host, AddressError> {
    let port = match port.trim() {
        "" => DEFAULT_PORT,
        digits => digits
            .parse()
            .ok()
            .filter(|&port| port != 0)
            .ok_or_else(|| AddressError::new("a port in the address is not a number between 1 and 65535"))?,
    };
    let address = match address {
        "" => None,
        text => Some(
            text.parse::<IpAddr>()
                .map_err(|_| AddressError::new("hostaddr is not an IP address"))?,
        ),
    };
    let name = match (name.as_str(), address) {
        ("", Some(address)) => HostName::Tcp(address.to_string()),
        ("", None) => HostName::Unix(PathBuf::from(DEFAULT_SOCKET_FOLDER)),
        (path, _) if path.starts_with('/') => HostName::Unix(PathBuf::from(path)),
        (path, _) if path.starts_with('@') => {
            return Err(AddressError::new(
                "sockets in the abstract name space are not supported",
            ));
        }
        (text, _) if text.contains(|character: char| character.is_whitespace() || character.is_control()) => {
            return Err(AddressError::new("a host in the address contains white space"));
        }
        _ => HostName::Tcp(name),
    };
    Ok(Host { name, port, address })
}

fn list(value: Option<String>) -> Vec<String> {
    value
        .map(|value| value.split(',').map(|item| item.trim().to_owned()).collect())
        .unwrap_or_default()
}

fn file(path: String) -> SecretSource {
    SecretSource::File(SecretFile {
        path: PathBuf::from(path),
        allowed_prefix: None,
    })
}

/// libpq: 0, negative or missing waits for ever, which the gateway replaces by its own default; 1 is rounded up to 2.
fn connect_timeout(parameters: &mut Parameters) -> Result<Option<Duration>, AddressError> {
    let Some(text) = parameters.take("connect_timeout") else {
        return Ok(None);
    };
    let seconds: i32 = text
        .trim()
        .parse()
        .map_err(|_| AddressError::new("connect_timeout in the address is not a number of seconds"))?;
    Ok(u64::try_from(seconds)
        .ok()
        .filter(|&seconds| seconds > 0)
        .map(|seconds| Duration::from_secs(seconds.max(2))))
}

fn word<T: Copy>(
    parameters: &mut Parameters,
    name: &'static str,
    words: words::Words<T>,
) -> Result<Option<T>, AddressError> {
    match parameters.take(name) {
        None => Ok(None),
        Some(text) => words::find(words, &text)
            .map(Some)
            .map_err(|unknown| AddressError::new(format!("{name}{unknown}"))),
    }
}

const CHANNEL_BINDINGS: words::Words<ChannelBinding> = &[
    ("disable", ChannelBinding::Disable),
    ("prefer", ChannelBinding::Prefer),
    ("require", ChannelBinding::Require),
];

const SSL_NEGOTIATIONS: words::Words<SslNegotiation> = &[
    ("postgres", SslNegotiation::Postgres),
    ("direct", SslNegotiation::Direct),
];

const TARGETS: words::Words<TargetSessionAttrs> = &[
    ("any", TargetSessionAttrs::Any),
    ("read-write", TargetSessionAttrs::ReadWrite),
    ("read-only", TargetSessionAttrs::ReadOnly),
    ("primary", TargetSessionAttrs::Primary),
    ("standby", TargetSessionAttrs::Standby),
    ("prefer-standby", TargetSessionAttrs::PreferStandby),
];

const BALANCES: words::Words<LoadBalanceHosts> = &[
    ("disable", LoadBalanceHosts::Disable),
    ("random", LoadBalanceHosts::Random),
];
