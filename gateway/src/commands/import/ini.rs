//! PgBouncer's files as they are written: sections, `key = value` with their lines, `%include`, and `userlist.txt`.
//!
//! By hand, because what is wanted of each value is where it stands: comments only at the start of a line, no quotes
//! around values, a directive that is no pair. Pure but for [`read`], which opens what is included.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use weir_core::secret::Secret;

/// Files included by one another in a chain, as in PgBouncer.
const MAX_DEPTH: usize = 10;

/// Bytes of one file. A configuration for thousands of databases stays below a hundredth of it.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// A file and a line in it, from 1; 0 is the file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: PathBuf,
    pub(super) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.file.file_name().unwrap_or(self.file.as_os_str());
        match self.line {
            0 => write!(f, "{}", name.display()),
            line => write!(f, "{}:{line}", name.display()),
        }
    }
}

/// One `key = value`.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) section: String,
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// All files together, in the order in which PgBouncer reads them.
#[derive(Debug, Default)]
pub(super) struct Ini {
    pub(super) entries: Vec<Entry>,
    /// Lines that are nothing.
    pub(super) odd: Vec<(Place, String)>,
}

impl Ini {
    /// The entries of a section.
    pub(super) fn section<'i>(&'i self, name: &'i str) -> impl Iterator<Item = &'i Entry> {
        self.entries.iter().filter(move |entry| entry.section == name)
    }
}

/// Reads a file and what it includes. An error names the file and the system's reason.
pub(super) fn read(path: &Path) -> Result<Ini, String> {
    let mut ini = Ini::default();
    let mut section = String::new();
    include(path, &mut ini, &mut section, 0)?;
    Ok(ini)
}

fn include(path: &Path, ini: &mut Ini, section: &mut String, depth: usize) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(format!("{}: included more than {MAX_DEPTH} files deep", path.display()));
    }
    let text = text(path)?;
    for (number, line) in text.lines().enumerate() {
        let place = Place {
            file: path.to_owned(),
            line: number + 1,
        };
        match parse(line) {
            Line::Nothing => {}
            Line::Section(name) => *section = name.to_owned(),
            // Relative to the folder that PgBouncer was started in; ours is the best guess there is.
            Line::Include(file) => include(&beside(path, file), ini, section, depth + 1)?,
            Line::Pair(key, value) => ini.entries.push(Entry {
                section: section.clone(),
                key,
                value: value.to_owned(),
                place,
            }),
            Line::Odd => ini.odd.push((place, line.trim().to_owned())),
        }
    }
    Ok(())
}

/// A file's text.
pub(super) fn text(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let length = fs::metadata(path).map_err(failed)?.len();
    if length > MAX_BYTES {
        return Err(format!(
            "{} has {length} bytes; at most {MAX_BYTES} are read",
            path.display()
        ));
    }
    let bytes = fs::read(path).map_err(failed)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path that another file names: as it is, or else in that file's folder.
pub(super) fn beside(of: &Path, path: &str) -> PathBuf {
    let given = PathBuf::from(path);
    if given.is_absolute() || given.exists() {
        return given;
    }
    of.parent().unwrap_or(Path::new(".")).join(given)
}

#[derive(Debug, PartialEq)]
enum Line<'l> {
    Nothing,
    Section(&'l str),
    Include(&'l str),
    Pair(String, &'l str),
    Odd,
}

fn parse(line: &str) -> Line<'_> {
    let line = line.trim();
    if line.is_empty() || line.starts_with([';', '#']) {
        return Line::Nothing;
    }
    if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return Line::Section(name.0.trim());
    }
    if let Some(file) = line.strip_prefix("%include") {
        return Line::Include(file.trim());
    }
    // A database's name may be quoted, with doubled quotes inside, and then hold an equals sign.
    let (key, rest) = match line.strip_prefix('"') {
        Some(rest) => quoted(rest, '"'),
        None => match line.split_once('=') {
            Some((key, rest)) => return Line::Pair(key.trim().to_owned(), rest.trim()),
            None => return Line::Odd,
        },
    };
    match rest.trim_start().strip_prefix('=') {
        Some(value) => Line::Pair(key, value.trim()),
        None => Line::Odd,
    }
}

/// What stands up to the closing quote (doubled ones are one), and the rest.
fn quoted(text: &str, quote: char) -> (String, &str) {
    let mut value = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once(quote) {
        value.push_str(before);
        match behind.strip_prefix(quote) {
            Some(further) => {
                value.push(quote);
                rest = further;
            }
            None => return (value, behind),
        }
    }
    value.push_str(rest);
    (value, "")
}

/// The words of a connect string: `host=localhost password='it''s'`.
pub(super) fn connect_string(text: &str) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    let mut rest = text.trim();
    while let Some((key, behind)) = rest.split_once('=') {
        let behind = behind.trim_start();
        let (value, further) = match behind.strip_prefix('\'') {
            Some(inner) => quoted(inner, '\''),
            None => {
                let end = behind.find(char::is_whitespace).unwrap_or(behind.len());
                (behind[..end].to_owned(), &behind[end..])
            }
        };
        pairs.push((key.trim().to_owned(), value));
        rest = further.trim_start();
    }
    pairs
}

/// A line of `userlist.txt`.
#[derive(Debug)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: Secret<String>,
    pub(super) place: Place,
}

/// `"name" "password"`, one user for each line; the rest of a line means nothing.
pub(super) fn userlist(path: &Path, text: &str) -> Vec<Credentials> {
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(number, line)| {
            let (user, rest) = quoted(line.trim().strip_prefix('"')?, '"');
            let (password, _) = quoted(rest.trim_start().strip_prefix('"')?, '"');
            Some(Credentials {
                user,
                password: Secret::new(password),
                place: Place {
                    file: path.to_owned(),
                    line: number + 1,
                },
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_pgbouncer_takes_them_for() {
        assert_eq!(parse("  ; pool_mode = session"), Line::Nothing);
        assert_eq!(parse("# x"), Line::Nothing);
        assert_eq!(parse("[ databases ]"), Line::Section("databases"));
        assert_eq!(parse("%include other.ini"), Line::Include("other.ini"));
        let value = "host=a ; not a comment";
        assert_eq!(
            parse("orders = host=a ; not a comment"),
            Line::Pair("orders".to_owned(), value)
        );
        assert_eq!(parse("\"a \"\"=\" = host=b"), Line::Pair("a \"=".to_owned(), "host=b"));
        assert_eq!(parse("nothing"), Line::Odd);
    }

    #[test]
    fn quoted_values_of_a_connect_string_hold_spaces_and_quotes() {
        let pairs = connect_string("host=localhost password='it''s = so' port = 5433 dbname=''");
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [
                ("host", "localhost"),
                ("password", "it's = so"),
                ("port", "5433"),
                ("dbname", "")
            ]
        );
    }

    #[test]
    fn a_userlist_is_read_by_lines() {
        let text = "; people\n\"app\" \"s3\"\"cret\" \"more\"\n\nbroken\n\"etl\" \"SCRAM-SHA-256$4096:a$b:c\"\n";
        let users = userlist(Path::new("userlist.txt"), text);
        let shown: Vec<_> = users
            .iter()
            .map(|user| (user.user.as_str(), user.password.expose().as_str(), user.place.line))
            .collect();
        assert_eq!(shown, [("app", "s3\"cret", 2), ("etl", "SCRAM-SHA-256$4096:a$b:c", 5)]);
    }
}
