//! `host=localhost port=5432 password='it\'s'`: libpq's keyword/value strings.

use super::{
    AddressError,
    parameters::{Parameters, is_known},
};

/// Splits a keyword/value string.
pub(super) fn parse(text: &str) -> Result<Parameters, AddressError> {
    let mut parameters = Parameters::default();
    let mut rest = text.trim_start();
    let mut previous = "";
    while !rest.is_empty() {
        let (name, behind) = rest
            .split_once('=')
            .ok_or_else(|| AddressError::new("the address is neither a postgres:// URL nor keyword=value pairs"))?;
        let name = name.trim_end();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err(AddressError::new(
                "the address is neither a postgres:// URL nor keyword=value pairs",
            ));
        }
        let (value, behind) = value(behind.trim_start())?;
        let unknown_behind_password = previous == "password" && !is_known(name);
        parameters.set(name, value).map_err(|error| match unknown_behind_password {
            // It may be the rest of a password with white space: say nothing of it.
            true => AddressError::new(
                "unknown parameter behind \"password\" in the address (a value with white space is quoted by \"'\")",
            ),
            false => error,
        })?;
        previous = name;
        rest = behind.trim_start();
    }
    Ok(parameters)
}

/// One value: quoted by `'` or up to the next white space; a backslash takes the next character literally.
fn value(text: &str) -> Result<(String, &str), AddressError> {
    let (quoted, text) = match text.strip_prefix('\'') {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, literal)| literal)),
            '\'' if quoted => return Ok((value, &text[position + 1..])),
            _ if !quoted && character.is_whitespace() => return Ok((value, &text[position..])),
            _ => value.push(character),
        }
    }
    match quoted {
        true => Err(AddressError::new(
            "a quoted value in the address is not closed by \"'\"",
        )),
        false => Ok((value, "")),
    }
}
