//! `postgresql://user:password@host:port,host:port/database?parameter=value`, split as libpq splits it.
//!
//! Passwords that should have been escaped are the most common mistake here; [`unescaped_in_password`] recognises them,
//! because what libpq makes of them is a puzzling message about a host or a port, possibly with half the password in it.

use super::{AddressError, parameters::Parameters};

/// The text behind the scheme, if it is one of libpq's.
pub(super) fn strip_scheme(text: &str) -> Option<&str> {
    ["postgresql://", "postgres://"]
        .into_iter()
        .find_map(|scheme| text.strip_prefix(scheme))
}

/// Splits the text behind the scheme.
pub(super) fn parse(rest: &str) -> Result<Parameters, AddressError> {
    if let Some(character) = unescaped_in_password(rest) {
        return Err(password_needs_escape(character));
    }
    let mut parameters = Parameters::default();
    let rest = credentials(rest, &mut parameters)?;
    let rest = hosts(rest, &mut parameters)?;
    let (database, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (rest, None),
    };
    if let Some(database) = database.strip_prefix('/').filter(|name| !name.is_empty()) {
        parameters.set("dbname", decode(database, "the database name")?)?;
    }
    for pair in query
        .into_iter()
        .filter(|query| !query.is_empty())
        .flat_map(|query| query.split('&'))
    {
        parameter(pair, &mut parameters).map_err(|error| match rest.contains('@') {
            // What looks like a parameter may then be a part of a password: say nothing of it.
            true => AddressError::new(
                "the part of the address behind \"?\" is not understood; if the password has special characters, use connection_parameters, where nothing needs escapes",
            ),
            false => error,
        })?;
    }
    Ok(parameters)
}

/// `name=value`
fn parameter(pair: &str, parameters: &mut Parameters) -> Result<(), AddressError> {
    let (name, value) = pair
        .split_once('=')
        .ok_or_else(|| AddressError::new("a parameter of the address has no \"=\""))?;
    if value.contains('=') {
        return Err(AddressError::new(
            "a parameter of the address has more than one \"=\": write %3D for the further ones",
        ));
    }
    let name = decode(name, "a parameter's name")?;
    let value = decode(value, &format!("the parameter \"{}\"", crate::quote::shorten(&name)))?;
    parameters.set(&name, value)
}

/// Takes `user:password@` off the front. The credentials end at the first `@` if no `/` comes before it.
fn credentials<'a>(rest: &'a str, parameters: &mut Parameters) -> Result<&'a str, AddressError> {
    let Some(end) = rest.find(['@', '/']).filter(|&end| rest.as_bytes()[end] == b'@') else {
        return Ok(rest);
    };
    let (user, password) = match rest[..end].split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (&rest[..end], None),
    };
    parameters.set("user", decode(user, "the user name")?)?;
    if let Some(password) = password {
        let decoded = percent_decode(password).ok_or_else(|| password_needs_escape('%'))?;
        parameters.set("password", decoded)?;
    }
    Ok(&rest[end + 1..])
}

/// Takes `host:port,host:port` off the front.
fn hosts<'a>(mut rest: &'a str, parameters: &mut Parameters) -> Result<&'a str, AddressError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    loop {
        let host;
        if let Some(bracketed) = rest.strip_prefix('[') {
            let (address, behind) = bracketed
                .split_once(']')
                .filter(|(address, _)| !address.is_empty())
                .ok_or_else(|| AddressError::new("an IPv6 address in the URL is not closed by \"]\""))?;
            if !behind.is_empty() && !behind.starts_with([':', '/', '?', ',']) {
                return Err(AddressError::new("unexpected text behind \"]\" in the address"));
            }
            (host, rest) = (address, behind);
        } else {
            let end = rest.find([':', '/', '?', ',']).unwrap_or(rest.len());
            (host, rest) = rest.split_at(end);
        }
        hosts.push(decode(host, "the host")?);
        let mut port = "";
        if let Some(behind) = rest.strip_prefix(':') {
            let end = behind.find(['/', '?', ',']).unwrap_or(behind.len());
            (port, rest) = behind.split_at(end);
        }
        ports.push(decode(port, "the port")?);
        match rest.strip_prefix(',') {
            Some(further) => rest = further,
            None => break,
        }
    }
    parameters.set("host", hosts.join(","))?;
    if ports.iter().any(|port| !port.is_empty()) {
        parameters.set("port", ports.join(","))?;
    }
    Ok(rest)
}

/// The character of a password that should have been percent-encoded, if the text looks as if there were one.
fn unescaped_in_password(rest: &str) -> Option<char> {
    let end = rest.find(['@', '/'])?;
    let behind = &rest[end + 1..];
    let before_query = behind.split('?').next().unwrap_or(behind);
    if rest.as_bytes()[end] == b'@' {
        let host_end = before_query.find('/').unwrap_or(before_query.len());
        let (hosts, path) = before_query.split_at(host_end);
        // A database name may hold an `@` (another gateway's `name@primary`), but hardly a second `/` or a port as well.
        let suspicious = hosts.contains('@')
            || path
                .split_once('@')
                .is_some_and(|(_, further)| further.contains(['/', ':', '@']));
        return (suspicious && rest[..end].contains(':')).then_some('@');
    }
    let (_, port) = rest[..end].split_once(':').filter(|_| !rest.starts_with('['))?;
    let port_is_a_port = port.is_empty()
        || port
            .split([',', ':'])
            .next()
            .is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let at = behind.find('@')?;
    (!port_is_a_port || behind[at..].contains('/')).then_some('/')
}

fn password_needs_escape(character: char) -> AddressError {
    let byte = u32::from(character);
    AddressError::new(format!(
        "the password in the URL contains \"{character}\", which has to be written as \"%{byte:02X}\" there: use connection_parameters, where nothing needs escapes"
    ))
}

fn decode(text: &str, what: &str) -> Result<String, AddressError> {
    percent_decode(text).ok_or_else(|| {
        AddressError::new(format!(
            "{what} in the address has a \"%\" that is not followed by two hexadecimal digits (or by 00)"
        ))
    })
}

/// `None` for a `%` without two hexadecimal digits, `%00`, and bytes that are not UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut pieces = text.split('%');
    pieces.next();
    for piece in pieces {
        let digits = piece.as_bytes().get(..2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) || digits == b"00" {
            return None;
        }
    }
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .ok()
        .map(std::borrow::Cow::into_owned)
}
