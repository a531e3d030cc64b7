//! What a client is told about its session before it has one.
//!
//! Pure: the reports of a fresh session, with the client's own settings put over them in the form in which PostgreSQL
//! would report them. Where that form is not known (an abbreviation, a nonsense value), the guess is put right with the
//! first real server connection, which reports what it has.

use bytes::BytesMut;

use crate::{
    session::{Overlay, Parameters},
    wire::write,
};

/// The reports for a client that brings along `overlay`, and the messages that they are told with.
pub fn welcome(fresh: &Parameters, overlay: &Overlay) -> (Parameters, Box<[u8]>) {
    let told = told(fresh, overlay);
    let mut messages = BytesMut::new();
    for (name, value) in told.iter() {
        write::parameter_status(&mut messages, name, value);
    }
    (told, messages[..].into())
}

/// The reports for a client that brings along `overlay`.
pub fn told(fresh: &Parameters, overlay: &Overlay) -> Parameters {
    let mut told = fresh.clone();
    for (name, value) in fresh.iter() {
        if let Some(wanted) = overlay.get(name) {
            told.set(name, &reported(name, wanted, value));
        }
    }
    told
}

/// How PostgreSQL reports `wanted`, given what it reports otherwise.
fn reported(name: &str, wanted: &str, otherwise: &str) -> String {
    match name {
        // Fixed for the server, or decided by its role.
        "server_version"
        | "server_encoding"
        | "integer_datetimes"
        | "in_hot_standby"
        | "is_superuser"
        | "session_authorization" => otherwise.to_owned(),
        "client_encoding" => encoding(wanted),
        "DateStyle" => date_style(wanted, otherwise),
        "IntervalStyle" => wanted.to_ascii_lowercase(),
        "application_name" => application_name(wanted),
        "standard_conforming_strings" | "default_transaction_read_only" => {
            boolean(wanted).unwrap_or(otherwise).to_owned()
        }
        _ => wanted.to_owned(),
    }
}

/// Encodings are compared without case and punctuation; `UTF-8`, `utf8` and `unicode` are one.
fn encoding(wanted: &str) -> String {
    let plain: String = wanted
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_uppercase();
    match plain.as_str() {
        "UTF8" | "UNICODE" => "UTF8".to_owned(),
        "SQLASCII" => "SQL_ASCII".to_owned(),
        "LATIN1" | "ISO88591" => "LATIN1".to_owned(),
        "LATIN9" | "ISO885915" => "LATIN9".to_owned(),
        other if other.starts_with("WIN") || other.starts_with("LATIN") => other.to_owned(),
        other if other.starts_with("WINDOWS") => other.replacen("WINDOWS", "WIN", 1),
        _ => wanted.to_ascii_uppercase(),
    }
}

/// Style and order of day and month are set together or one at a time.
fn date_style(wanted: &str, otherwise: &str) -> String {
    let (mut style, mut order) = otherwise.split_once(", ").unwrap_or((otherwise, "MDY"));
    for part in wanted.split(',').map(str::trim) {
        match part.to_ascii_lowercase().as_str() {
            "iso" => style = "ISO",
            "sql" => style = "SQL",
            "postgres" => style = "Postgres",
            "german" => (style, order) = ("German", "DMY"),
            "ymd" => order = "YMD",
            "dmy" | "euro" | "european" => order = "DMY",
            "mdy" | "us" | "noneuro" | "noneuropean" => order = "MDY",
            _ => {}
        }
    }
    format!("{style}, {order}")
}

/// What is not printable ASCII becomes a question mark.
fn application_name(wanted: &str) -> String {
    wanted
        .bytes()
        .take(63)
        .map(|byte| {
            if (32..=126).contains(&byte) {
                char::from(byte)
            } else {
                '?'
            }
        })
        .collect()
}

fn boolean(wanted: &str) -> Option<&'static str> {
    match wanted.to_ascii_lowercase().as_str() {
        "on" | "true" | "t" | "yes" | "y" | "1" => Some("on"),
        "off" | "false" | "f" | "no" | "n" | "0" => Some("off"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_settings_in_the_servers_words() {
        let fresh = Parameters::from_pairs([
            ("server_version", "15.4"),
            ("client_encoding", "SQL_ASCII"),
            ("DateStyle", "ISO, MDY"),
            ("TimeZone", "UTC"),
            ("application_name", ""),
            ("session_authorization", "app"),
            ("standard_conforming_strings", "on"),
        ]);
        let overlay = Overlay::from_pairs([
            ("CLIENT_ENCODING", "utf-8"),
            ("datestyle", "german"),
            ("timezone", "Europe/Berlin"),
            ("application_name", "bücher"),
            ("standard_conforming_strings", "FALSE"),
            ("server_version", "99"),
            ("geqo", "off"),
        ]);
        let told = told(&fresh, &overlay);
        let told: Vec<_> = told.iter().collect();
        assert_eq!(
            told,
            [
                ("server_version", "15.4"),
                ("client_encoding", "UTF8"),
                ("DateStyle", "German, DMY"),
                ("TimeZone", "Europe/Berlin"),
                ("application_name", "b??cher"),
                ("session_authorization", "app"),
                ("standard_conforming_strings", "off"),
            ]
        );
    }

    #[test]
    fn halves_of_a_date_style() {
        assert_eq!(date_style("ISO", "SQL, DMY"), "ISO, DMY");
        assert_eq!(date_style("dmy", "ISO, MDY"), "ISO, DMY");
        assert_eq!(date_style("ISO, YMD", "SQL, DMY"), "ISO, YMD");
        assert_eq!(date_style("nonsense", "ISO, MDY"), "ISO, MDY");
    }
}
