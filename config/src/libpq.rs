//! Addresses in libpq's notation: URIs and `keyword=value` strings. Pure.
//!
//! Follows PostgreSQL's documentation, "Connection Strings" and "Parameter Key Words". What libpq accepts and the
//! gateway can honour is honoured; what would weaken security if it were ignored is refused; unknown parameters are an
//! error, as in libpq. No message quotes a value other than those of fixed words.

mod conninfo;
mod endpoint;
mod parameters;
mod uri;

pub(crate) use endpoint::check_tls;

use std::{fmt, str::FromStr};

use weir_core::secret::Secret;

use crate::model::PostgresEndpoint;

/// An understood address.
pub(crate) struct Parsed {
    /// The address.
    pub(crate) endpoint: PostgresEndpoint,
    /// What was ignored, one sentence each.
    pub(crate) remarks: Vec<String>,
}

/// Parses a URI or a `keyword=value` string.
pub(crate) fn parse(text: &str) -> Result<Parsed, AddressError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(AddressError::new("the address is empty"));
    }
    if text.contains('\0') {
        return Err(AddressError::new("the address contains a NUL character"));
    }
    let parameters = match uri::strip_scheme(text) {
        Some(rest) => uri::parse(rest)?,
        None if is_url(text) => {
            return Err(AddressError::new(
                "the URL must begin with postgres:// or postgresql://",
            ));
        }
        None => conninfo::parse(text)?,
    };
    endpoint::build(parameters)
}

/// Whether this is a URL, of whatever scheme; a value of a keyword string may hold the same characters.
fn is_url(text: &str) -> bool {
    let of_scheme = |character: char| character.is_ascii_alphanumeric() || matches!(character, '+' | '-' | '.' | '_');
    text.split_once("://")
        .is_some_and(|(scheme, _)| scheme.chars().all(of_scheme))
}

/// The parts of an address that are written one by one.
pub(crate) struct Parts {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) database: String,
    pub(crate) user: String,
    pub(crate) password: Option<Secret<String>>,
}

/// Builds an endpoint from parts; nothing in them is interpreted, except that a host may be a list, or a socket's folder.
pub(crate) fn from_parts(parts: Parts) -> Result<PostgresEndpoint, AddressError> {
    let mut parameters = parameters::Parameters::default();
    parameters.set("host", parts.host)?;
    parameters.set("port", parts.port.to_string())?;
    parameters.set("dbname", parts.database)?;
    parameters.set("user", parts.user)?;
    let mut endpoint = endpoint::build(parameters)?.endpoint;
    endpoint.password = parts.password;
    Ok(endpoint)
}

/// Why an address cannot be used. Quotes no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressError(String);

impl AddressError {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        AddressError(reason.into())
    }
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for AddressError {}

impl FromStr for PostgresEndpoint {
    type Err = AddressError;

    /// From a URI or a `keyword=value` string.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let endpoint = parse(text)?.endpoint;
        check_tls(&endpoint).map_err(AddressError)?;
        Ok(endpoint)
    }
}

#[cfg(test)]
mod tests;
