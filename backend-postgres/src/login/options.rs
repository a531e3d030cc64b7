//! The start-up parameter `options`: a command line of settings, `-c name=value`, `--name=value`.
//!
//! Pure. Splits as PostgreSQL does (`pg_split_opts`): at white space, a backslash takes the next character as it is.

/// An option that is no setting; the words are PostgreSQL's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOption(pub String);

/// The settings of an `options` value, in order.
///
/// # Errors
/// [`InvalidOption`] names the first argument that is not understood.
pub fn parse(options: &str) -> Result<Vec<(String, String)>, InvalidOption> {
    let mut settings = Vec::new();
    let mut arguments = split(options).into_iter();
    while let Some(argument) = arguments.next() {
        let assignment = if argument == "-c" {
            arguments.next().ok_or_else(|| InvalidOption(argument.clone()))?
        } else if let Some(rest) = argument.strip_prefix("--").or_else(|| argument.strip_prefix("-c")) {
            rest.to_owned()
        } else {
            return Err(InvalidOption(argument));
        };
        match assignment.split_once('=') {
            // As `ParseLongOption`: names may be written with dashes.
            Some((name, value)) if !name.is_empty() => settings.push((name.replace('-', "_"), value.to_owned())),
            _ => return Err(InvalidOption(argument)),
        }
    }
    Ok(settings)
}

fn split(options: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    let mut current: Option<String> = None;
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => {
                let current = current.get_or_insert_default();
                current.extend(characters.next());
            }
            // The C library's `isspace` in the C locale.
            ' ' | '\t' | '\n' | '\r' | '\u{b}' | '\u{c}' => arguments.extend(current.take()),
            other => current.get_or_insert_default().push(other),
        }
    }
    arguments.extend(current);
    arguments
}

/// The other way round: an `options` value that sets `settings`.
pub fn write<'a>(settings: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut options = String::new();
    for (name, value) in settings {
        if !options.is_empty() {
            options.push(' ');
        }
        options.push_str("-c ");
        for character in name.chars().chain(['=']).chain(value.chars()) {
            if character == '\\' || character.is_ascii_whitespace() || character == '\u{b}' {
                options.push('\\');
            }
            options.push(character);
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(options: &str) -> Vec<(String, String)> {
        parse(options).unwrap_or_else(|error| panic!("{options}: {error:?}"))
    }

    #[test]
    fn every_spelling() {
        let expected = [
            ("search_path".to_owned(), "a, b".to_owned()),
            ("geqo".to_owned(), "off".to_owned()),
        ];
        for options in [
            r"-c search_path=a,\ b -c geqo=off",
            r"-csearch_path=a,\ b --geqo=off",
            "  --search-path=a,\\ b\t\n-c  geqo=off ",
        ] {
            assert_eq!(parsed(options), expected, "{options}");
        }
        assert_eq!(parsed(""), []);
        assert_eq!(parsed(r"-c a.b=\\\ x="), [("a.b".to_owned(), r"\ x=".to_owned())]);
    }

    #[test]
    fn what_is_no_setting_is_named() {
        for (options, culprit) in [
            ("-c", "-c"),
            ("-c geqo", "-c"),
            ("-e", "-e"),
            ("--=x", "--=x"),
            ("geqo=off", "geqo=off"),
        ] {
            assert_eq!(parse(options), Err(InvalidOption(culprit.to_owned())), "{options}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(settings in proptest::collection::vec(("[a-z_.]{1,8}", "[^\0]{0,12}"), 0..5)) {
            let options = write(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
            prop_assert_eq!(parse(&options), Ok(settings));
        }

        #[test]
        fn any_text(options in ".{0,80}") {
            let _ = parse(&options);
        }
    }
}
