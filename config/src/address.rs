//! `database_url` in its forms: a string with `{{ENV}}` pieces, `{from_env}`, `{connection_parameters}`,
//! `{dynamic_from_file}`.
//!
//! Invariant: neither a URL nor a part of one enters a message; they hold passwords.

use std::{path::PathBuf, time::Duration};

use crate::{
    context::Context,
    fields::Fields,
    keys, libpq,
    model::{AddressSource, SecretSource},
    problem::Place,
    scalars,
    yaml::{Node, Value},
};

/// An address and what is known about it at load time.
pub(crate) struct Address {
    pub(crate) source: AddressSource,
    /// Fit for logs.
    pub(crate) label: String,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) place: Place,
}

/// A URL in this form, in an environment variable, is a file to be read for each new connection.
const DYNAMIC_SCHEME: &str = "dynamic-from-file://";

/// Reads an address of the Postgres family; `key` names it in messages.
pub(crate) fn read(cx: &mut Context<'_>, key: &str, node: &Node) -> Option<Address> {
    match &node.value {
        Value::String(text) => {
            let url = substitute(cx, text, &node.place)?;
            from_url(cx, key, &url, &node.place, None)
        }
        Value::Map(_) => match form(cx, key, node)? {
            "from_env" => from_env(cx, key, node),
            "connection_parameters" => from_parameters(cx, node.get("connection_parameters")?),
            _ => {
                let file = scalars::dynamic_file(cx, key, node)?;
                let label = file.path.display().to_string();
                Some(Address {
                    source: AddressSource::File(file),
                    label,
                    connect_timeout: None,
                    place: node.place.clone(),
                })
            }
        },
        Value::Broken => None,
        _ => {
            cx.error(&node.place, "one of string or object must be provided for url/webhook");
            None
        }
    }
}

/// Which of the forms a mapping has, when it is exactly one.
fn form(cx: &mut Context<'_>, key: &str, node: &Node) -> Option<&'static str> {
    Fields::of(cx, node, key, &keys::source::ADDRESS)?;
    let present: Vec<_> = keys::names(&keys::source::ADDRESS)
        .into_iter()
        .filter(|form| node.get(form).is_some_and(|node| !node.is_null()))
        .collect();
    match present.as_slice() {
        [form] => return Some(form),
        [] => cx.error(
            &node.place,
            "Either \"from_env\" or \"connection_parameters\" should be provided",
        ),
        ["from_env", "connection_parameters", ..] => {
            cx.error(
                &node.place,
                "Only one of \"from_env\" or \"connection_parameters\" should be provided",
            );
        }
        [first, second, ..] => cx.error(
            &node.place,
            format!("Only one of \"{first}\" or \"{second}\" should be provided"),
        ),
    }
    None
}

fn from_env(cx: &mut Context<'_>, key: &str, node: &Node) -> Option<Address> {
    let name = scalars::from_env(cx, key, node)?;
    let url = cx.variable(&name, &node.place)?;
    if let Some(path) = url.trim().strip_prefix(DYNAMIC_SCHEME) {
        let file = scalars::secret_file(cx, PathBuf::from(path), &node.place)?;
        return Some(Address {
            source: AddressSource::File(file),
            label: name,
            connect_timeout: None,
            place: node.place.clone(),
        });
    }
    from_url(cx, key, &url, &node.place, Some(name))
}

/// A URL whose value is known now. `variable` is where it came from.
fn from_url(cx: &mut Context<'_>, key: &str, url: &str, place: &Place, variable: Option<String>) -> Option<Address> {
    match libpq::parse(url) {
        Ok(parsed) => {
            parsed
                .remarks
                .into_iter()
                .for_each(|remark| cx.warn(place, format!("{key}: {remark}")));
            Some(Address {
                label: variable.unwrap_or_else(|| parsed.endpoint.to_string()),
                connect_timeout: parsed.endpoint.connect_timeout,
                source: AddressSource::Fixed(Box::new(parsed.endpoint)),
                place: place.clone(),
            })
        }
        Err(error) => {
            let from = variable
                .map(|name| format!(" (environment variable '{name}')"))
                .unwrap_or_default();
            cx.error(place, format!("{key}{from}: {error}"));
            None
        }
    }
}

/// `{host, port, database, username, password?}`. Nothing in it needs escapes.
fn from_parameters(cx: &mut Context<'_>, node: &Node) -> Option<Address> {
    let fields = Fields::of(cx, node, "connection_parameters", &keys::source::CONNECTION_PARAMETERS)?;
    let mut text = |key| {
        let node = fields.required(cx, key, "connection_parameters")?;
        scalars::name(cx, key, node)
    };
    let (host, database, user) = (text("host"), text("database"), text("username"));
    let port = fields
        .required(cx, "port", "connection_parameters")
        .and_then(|node| scalars::integer(cx, &keys::source::PORT, node));
    let (password, file) = match fields.get("password").map(|node| scalars::secret(cx, "password", node)) {
        None => (None, None),
        Some(source) => match source? {
            SecretSource::Literal(password) => (Some(password), None),
            SecretSource::File(file) => (None, Some(file)),
        },
    };
    let parts = libpq::Parts {
        host: host?,
        port: u16::try_from(port?).ok()?,
        database: database?,
        user: user?,
        password,
    };
    match libpq::from_parts(parts) {
        Ok(endpoint) => {
            let label = endpoint.to_string();
            let endpoint = Box::new(endpoint);
            let source = match file {
                None => AddressSource::Fixed(endpoint),
                Some(file) => AddressSource::PasswordFile(endpoint, file),
            };
            Some(Address {
                source,
                label,
                connect_timeout: None,
                place: node.place.clone(),
            })
        }
        Err(error) => {
            cx.error(&node.place, format!("connection_parameters: {error}"));
            None
        }
    }
}

/// Replaces `{{NAME}}` by the value of the environment variable, as it is.
fn substitute(cx: &mut Context<'_>, text: &str, place: &Place) -> Option<String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("{{") {
        let Some((name, after)) = behind.split_once("}}") else {
            break;
        };
        let name = name.trim();
        if !scalars::is_variable_name(name) {
            cx.error(
                place,
                "the text between {{ and }} must be the name of an environment variable",
            );
            return None;
        }
        result.push_str(before);
        result.push_str(&cx.variable(name, place)?);
        rest = after;
    }
    result.push_str(rest);
    Some(result)
}
