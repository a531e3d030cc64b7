//! Commands of the console as words: bare ones, and quoted ones, in which anything may stand. Pure.

/// One word of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Bare(String),
    /// Never empty.
    Quoted(String),
}

/// Words of one command that are read; none has more.
const MOST_WORDS: usize = 4;

impl Word {
    /// As part of the language; a quoted word is no part of it.
    pub(super) fn keyword(&self) -> String {
        match self {
            Word::Bare(word) => word.to_ascii_lowercase(),
            Word::Quoted(_) => String::new(),
        }
    }

    /// As a name.
    pub(super) fn name(&self) -> Box<str> {
        match self {
            Word::Bare(word) | Word::Quoted(word) => word.as_str().into(),
        }
    }
}

/// The commands of a text, between semicolons: their words, and as they were said. No words for a command whose quote is
/// never closed, and for one that has too many of them.
pub(super) fn commands(text: &str) -> Vec<(Option<Vec<Word>>, &str)> {
    let mut commands = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (words, length) = words(rest);
        let said = rest[..length].trim();
        if !said.is_empty() {
            commands.push((words, said));
        }
        rest = rest.get(length + 1..).unwrap_or("");
    }
    commands
}

/// The words up to a semicolon or the end, and where that is.
fn words(text: &str) -> (Option<Vec<Word>>, usize) {
    let mut words = Vec::new();
    let mut is_sound = true;
    let mut at = 0;
    while let Some(next) = text[at..].chars().next() {
        let word = match next {
            ';' => break,
            next if next.is_whitespace() => {
                at += next.len_utf8();
                continue;
            }
            quote @ ('"' | '\'') => match quoted_word(&text[at + 1..], quote) {
                Some((word, length)) => {
                    at += 1 + length;
                    is_sound &= !word.is_empty();
                    Word::Quoted(word)
                }
                None => return (None, text.len()),
            },
            _ => {
                let length = text[at..].find(|next: char| next.is_whitespace() || matches!(next, ';' | '"' | '\''));
                let length = length.unwrap_or(text.len() - at);
                let word = text[at..at + length].to_owned();
                at += length;
                Word::Bare(word)
            }
        };
        is_sound &= words.len() < MOST_WORDS;
        if is_sound {
            words.push(word);
        }
    }
    (is_sound.then_some(words), at)
}

/// What stands before the closing quote, and how long it is with that quote. A doubled quote stands for itself.
fn quoted_word(text: &str, quote: char) -> Option<(String, usize)> {
    let mut word = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != quote {
            word.push(letter);
        } else if letters.next_if(|(_, next)| *next == quote).is_some() {
            word.push(quote);
        } else {
            return Some((word, at + 1));
        }
    }
    None
}

/// A name as it has to be written.
pub(super) fn quoted(name: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-.@/".contains(letter);
    match !name.is_empty() && name.chars().all(is_plain) {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}
