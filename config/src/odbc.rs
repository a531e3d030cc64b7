//! SQL Server connection strings: ODBC's and ADO.NET's. Pure; needs no driver.
//!
//! ODBC: `{…}` quotes a value, `}}` is a brace in it, the first of repeated keywords wins. ADO.NET: `"…"` or `'…'`
//! quote, doubled quotes are literal, the last of repeated keywords wins. Keywords in any case, with or without spaces
//! and underscores. No message quotes a value other than those of fixed words.

mod build;
mod keywords;
mod split;

use std::{fmt, str::FromStr};

use crate::model::MssqlEndpoint;

/// An understood connection string.
pub(crate) struct Parsed {
    /// The address.
    pub(crate) endpoint: MssqlEndpoint,
    /// What was ignored, one sentence each.
    pub(crate) remarks: Vec<String>,
}

/// Parses a connection string of either dialect.
pub(crate) fn parse(text: &str) -> Result<Parsed, ConnectionStringError> {
    let text = text.trim();
    if text.is_empty() {
        return Err(ConnectionStringError::new("the connection string is empty"));
    }
    if text.contains("://") && !text.contains('=') {
        return Err(ConnectionStringError::new(
            "the connection string is a URL: write Driver={…};Server=host,1433;Database=…;UID=…;PWD=… instead",
        ));
    }
    let dialect = split::dialect(text);
    build::build(keywords::collect(split::split(text, dialect)?, dialect)?, dialect)
}

/// Which rules a connection string follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Odbc,
    AdoNet,
}

/// Why a connection string cannot be used. Quotes no password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionStringError(String);

impl ConnectionStringError {
    fn new(reason: impl Into<String>) -> Self {
        ConnectionStringError(reason.into())
    }
}

impl fmt::Display for ConnectionStringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConnectionStringError {}

impl FromStr for MssqlEndpoint {
    type Err = ConnectionStringError;

    /// From an ODBC or ADO.NET connection string.
    fn from_str(text: &str) -> Result<Self, ConnectionStringError> {
        Ok(parse(text)?.endpoint)
    }
}

#[cfg(test)]
mod tests;
