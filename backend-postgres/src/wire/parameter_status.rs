//! ParameterStatus: a setting's new value, reported by the server.

use super::split_string;

/// Name and value; `None` if the body is not two terminated strings of UTF-8. Such a report is passed on unread: it
/// breaks nothing but itself.
pub fn read(body: &[u8]) -> Option<(&str, &str)> {
    let (name, rest) = split_string(body)?;
    let (value, rest) = split_string(rest)?;
    if !rest.is_empty() {
        return None;
    }
    Some((std::str::from_utf8(name).ok()?, std::str::from_utf8(value).ok()?))
}

#[cfg(test)]
mod tests {
    #[test]
    fn two_strings() {
        assert_eq!(super::read(b"TimeZone\0UTC\0"), Some(("TimeZone", "UTC")));
        assert_eq!(super::read(b"TimeZone\0UTC"), None);
        assert_eq!(super::read(b"TimeZone\0UTC\0x"), None);
    }
}
