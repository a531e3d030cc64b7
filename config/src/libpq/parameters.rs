//! The table of libpq's parameters: which are used, which may be ignored, which must not be.

use std::collections::BTreeMap;

use super::AddressError;
use crate::suggest;

/// Values by parameter name. Later ones replace earlier ones, as in libpq.
#[derive(Default)]
pub(super) struct Parameters {
    values: BTreeMap<&'static str, String>,
    pub(super) remarks: Vec<String>,
}

impl Parameters {
    /// Sets a parameter by the name that a person wrote.
    pub(super) fn set(&mut self, name: &str, value: String) -> Result<(), AddressError> {
        // JDBC's spelling, which libpq accepts in URIs.
        let (name, value) = if name == "ssl" && value == "true" {
            ("sslmode", "require".to_owned())
        } else {
            (name, value)
        };
        let Some((name, fate)) = KNOWN.iter().find(|(known, _)| *known == name) else {
            return Err(unknown(name));
        };
        match fate {
            Fate::Used => {
                self.values.insert(name, value);
            }
            Fate::Ignored(_) | Fate::Refused(_) if value.is_empty() => {}
            Fate::Ignored(why) => self
                .remarks
                .push(format!("the parameter \"{name}\" of the address is ignored: {why}")),
            Fate::Refused(why) => {
                return Err(AddressError::new(format!(
                    "the parameter \"{name}\" is not supported: {why}"
                )));
            }
            Fate::Only(allowed, why) => {
                if !allowed.contains(&value.as_str()) {
                    return Err(AddressError::new(format!(
                        "the parameter \"{name}\" is supported only as \"{}\": {why}",
                        allowed.join("\", \"")
                    )));
                }
            }
        }
        Ok(())
    }

    /// Takes a value out; empty ones count as not set, as in libpq.
    pub(super) fn take(&mut self, name: &'static str) -> Option<String> {
        self.values.remove(name).filter(|value| !value.is_empty())
    }
}

/// Whether libpq has a parameter of this name.
pub(super) fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|(known, _)| *known == name)
}

/// Whether a name is one of the gateway's own settings, which people put into URLs because other poolers read them there.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "pool_mode"
            | "max_connections"
            | "min_connections"
            | "pool_timeout"
            | "idle_timeout"
            | "query_timeout"
            | "pool_size"
            | "connection_limit"
            | "pgbouncer"
    )
}

fn unknown(name: &str) -> AddressError {
    if is_ours(name) {
        return AddressError::new(format!(
            "unknown parameter \"{name}\" in the address: libpq would refuse it; put it under pool_settings or in gateway.yaml"
        ));
    }
    let advice = match suggest::nearest(name, KNOWN.iter().map(|(known, _)| *known)) {
        Some(known) => format!(", did you mean \"{known}\"?"),
        None => String::new(),
    };
    AddressError::new(format!(
        "unknown parameter \"{}\" in the address{advice}",
        crate::quote::shorten(name)
    ))
}

enum Fate {
    Used,
    /// Harmless to leave out.
    Ignored(&'static str),
    /// Leaving it out would change what is connected to, or how safely.
    Refused(&'static str),
    /// These values say what happens anyway.
    Only(&'static [&'static str], &'static str),
}

const OWN_CLIENTS: &str = "each client brings its own";
const SOCKETS: &str = "the gateway sets its sockets up itself";
const KERBEROS: &str = "the gateway does not speak Kerberos";
const FILES: &str = "the gateway reads no libpq files; write the values out";
const REVOCATION: &str = "the gateway does not read revocation lists";

const KNOWN: &[(&str, Fate)] = &[
    ("host", Fate::Used),
    ("hostaddr", Fate::Used),
    ("port", Fate::Used),
    ("dbname", Fate::Used),
    ("user", Fate::Used),
    ("password", Fate::Used),
    ("sslmode", Fate::Used),
    ("sslnegotiation", Fate::Used),
    ("sslrootcert", Fate::Used),
    ("sslcert", Fate::Used),
    ("sslkey", Fate::Used),
    ("sslpassword", Fate::Used),
    ("channel_binding", Fate::Used),
    ("connect_timeout", Fate::Used),
    ("application_name", Fate::Used),
    ("fallback_application_name", Fate::Used),
    ("options", Fate::Used),
    ("target_session_attrs", Fate::Used),
    ("load_balance_hosts", Fate::Used),
    ("client_encoding", Fate::Ignored(OWN_CLIENTS)),
    ("keepalives", Fate::Ignored(SOCKETS)),
    ("keepalives_idle", Fate::Ignored(SOCKETS)),
    ("keepalives_interval", Fate::Ignored(SOCKETS)),
    ("keepalives_count", Fate::Ignored(SOCKETS)),
    ("tcp_user_timeout", Fate::Ignored(SOCKETS)),
    (
        "sslcompression",
        Fate::Ignored("TLS compression does not exist any more"),
    ),
    ("sslkeylogfile", Fate::Ignored("the gateway never writes TLS keys out")),
    ("krbsrvname", Fate::Ignored(KERBEROS)),
    ("gsslib", Fate::Ignored(KERBEROS)),
    ("gssdelegation", Fate::Ignored(KERBEROS)),
    (
        "min_protocol_version",
        Fate::Ignored("the gateway negotiates the protocol version itself"),
    ),
    (
        "max_protocol_version",
        Fate::Ignored("the gateway negotiates the protocol version itself"),
    ),
    ("gssencmode", Fate::Only(&["disable", "prefer"], KERBEROS)),
    ("requiressl", Fate::Only(&["0"], "write sslmode=require instead")),
    (
        "sslsni",
        Fate::Only(&["1"], "the gateway always names the host in the TLS handshake"),
    ),
    (
        "sslcertmode",
        Fate::Only(
            &["allow"],
            "the certificate is sent when one is configured and the server asks",
        ),
    ),
    (
        "ssl_min_protocol_version",
        Fate::Only(&["TLSv1", "TLSv1.1", "TLSv1.2"], "the gateway speaks TLS 1.2 and 1.3"),
    ),
    (
        "ssl_max_protocol_version",
        Fate::Only(&["TLSv1.3"], "the gateway speaks TLS 1.2 and 1.3"),
    ),
    (
        "replication",
        Fate::Only(&["false", "off", "no", "0"], "replication connections cannot be pooled"),
    ),
    ("service", Fate::Refused(FILES)),
    ("servicefile", Fate::Refused(FILES)),
    ("passfile", Fate::Refused(FILES)),
    ("sslcrl", Fate::Refused(REVOCATION)),
    ("sslcrldir", Fate::Refused(REVOCATION)),
    (
        "requirepeer",
        Fate::Refused("the gateway does not check the owner of a socket"),
    ),
    (
        "require_auth",
        Fate::Refused("the gateway always refuses clear-text passwords and takes every other method"),
    ),
    ("scram_client_key", Fate::Refused("give a password")),
    ("scram_server_key", Fate::Refused("give a password")),
    ("oauth_issuer", Fate::Refused("the gateway does not log in with OAuth")),
    (
        "oauth_client_id",
        Fate::Refused("the gateway does not log in with OAuth"),
    ),
    (
        "oauth_client_secret",
        Fate::Refused("the gateway does not log in with OAuth"),
    ),
    ("oauth_scope", Fate::Refused("the gateway does not log in with OAuth")),
];
