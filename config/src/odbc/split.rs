//! Splits a connection string into keywords and values.

use super::{ConnectionStringError, Dialect, keywords::shown};

/// Keywords that only ADO.NET has. A string with one of them and no `Driver` is ADO.NET's.
const ADO_NET_ONLY: [&str; 7] = [
    "datasource",
    "initialcatalog",
    "userid",
    "password",
    "integratedsecurity",
    "applicationname",
    "networkaddress",
];

/// Guesses the dialect from the keywords. A quoted value that looks like further keywords can mislead it only when the
/// string names no driver.
pub(super) fn dialect(text: &str) -> Dialect {
    let keywords = || {
        text.split(';')
            .filter_map(|pair| pair.split_once('='))
            .map(|(keyword, _)| normal(keyword))
    };
    if keywords().any(|keyword| keyword == "driver" || keyword == "dsn") {
        return Dialect::Odbc;
    }
    match keywords().any(|keyword| ADO_NET_ONLY.contains(&keyword.as_str())) {
        true => Dialect::AdoNet,
        false => Dialect::Odbc,
    }
}

/// Lower case, without spaces and underscores: `Trust Server Certificate` and `TrustServerCertificate` are one keyword.
pub(super) fn normal(keyword: &str) -> String {
    keyword
        .chars()
        .filter(|character| !character.is_whitespace() && *character != '_')
        .flat_map(char::to_lowercase)
        .collect()
}

/// The pairs in the order written; keywords as written, trimmed.
pub(super) fn split(text: &str, dialect: Dialect) -> Result<Vec<(&str, String)>, ConnectionStringError> {
    let mut pairs = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|character: char| character == ';' || character.is_whitespace());
        if rest.is_empty() {
            return Ok(pairs);
        }
        let (keyword, behind) = rest
            .split_once('=')
            .filter(|(keyword, _)| !keyword.contains(';'))
            .ok_or_else(|| ConnectionStringError::new("a part of the connection string between two \";\" has no \"=\" (a value with \";\" has to be written in braces: {…})"))?;
        let (value, behind) = value(keyword.trim(), behind.trim_start(), dialect)?;
        pairs.push((keyword.trim(), value));
        rest = behind;
    }
}

fn value<'a>(keyword: &str, text: &'a str, dialect: Dialect) -> Result<(String, &'a str), ConnectionStringError> {
    let close = match (dialect, text.chars().next()) {
        (Dialect::Odbc, Some('{')) => '}',
        (Dialect::AdoNet, Some(quote @ ('"' | '\''))) => quote,
        _ => {
            let end = text.find(';').unwrap_or(text.len());
            return Ok((text[..end].trim_end().to_owned(), &text[end..]));
        }
    };
    let (value, behind) = quoted(&text[1..], close).ok_or_else(|| {
        ConnectionStringError::new(format!("the value of {} is not closed by \"{close}\"", shown(keyword)))
    })?;
    let behind = behind.trim_start();
    if !behind.is_empty() && !behind.starts_with(';') {
        return Err(ConnectionStringError::new(format!(
            "unexpected text behind the closing \"{close}\" of {} (a \"{close}\" inside is written twice)",
            shown(keyword)
        )));
    }
    Ok((value, behind))
}

/// Up to the closing character; twice means once, literally.
fn quoted(text: &str, close: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let end = rest.find(close)?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix(close) {
            Some(further) => {
                value.push(close);
                rest = further;
            }
            None => return Some((value, rest)),
        }
    }
}
