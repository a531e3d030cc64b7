//! Golden transcripts: a script of messages, played to PostgreSQL itself and through the gateway; every byte of the
//! answers must be the same.
//!
//! One message per line, `-` is the empty name, `\n` and `\t` mean themselves, `\N` is null,
//! `\E` an empty parameter:
//!
//! | line | message |
//! |---|---|
//! | `Q <sql>` | Query |
//! | `P <name>[:oid,oid] <sql>` | Parse |
//! | `B <portal> <statement> [parameter ...]` | Bind, text results; `Bb` asks for binary ones |
//! | `D S\|P <name>`, `C S\|P <name>` | Describe, Close |
//! | `E <portal> [rows]` | Execute |
//! | `S`, `H`, `X` | Sync, Flush, Terminate |
//! | `d <text>`, `c`, `f <reason>` | CopyData, CopyDone, CopyFail |
//! | `F <oid> [argument ...]` | FunctionCall |
//! | `raw <hex ...>` | these bytes |
//! | `< Z`, `< Z 3` | read up to the first, the third ReadyForQuery |
//! | `< G` | read up to the first message of this type |
//! | `< n 4` | read four messages |
//! | `< quiet` | read what comes; nothing more may be on its way |
//! | `< closed` | read up to the end of the connection |
//! | `\|` | what follows goes out in a write of its own |
//!
//! Messages between two `<` lines go out in one write. `{x*1000}` is a thousand times `x`.

use std::{io::Result, time::Duration};

use crate::wire::{self, Message, RawClient};

/// A script with its name.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// For error messages.
    pub name: String,
    steps: Vec<Step>,
}

/// What came at one `<` line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// These messages.
    Messages(Vec<Message>),
    /// Something else than messages: the end of the connection, silence, nonsense.
    BrokenOff(String),
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Heard::Messages(messages) => f.write_str(&wire::describe(messages)),
            Heard::BrokenOff(how) => writeln!(f, "  {how}"),
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Send(Vec<u8>),
    Ready(u32),
    Tag(u8),
    Count(u32),
    Quiet,
    Closed,
}

/// Every transcript of a text: `== name` starts one, `#` lines are comments.
pub fn read(text: &str) -> Vec<Transcript> {
    let mut transcripts: Vec<Transcript> = Vec::new();
    for line in text
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        match line.strip_prefix("== ") {
            Some(name) => transcripts.push(Transcript {
                name: name.to_owned(),
                steps: Vec::new(),
            }),
            None => transcripts.last_mut().expect("a transcript starts with ==").push(line),
        }
    }
    transcripts
}

impl Transcript {
    fn push(&mut self, line: &str) {
        if let Some(wait) = line.strip_prefix("< ") {
            self.steps.push(read_wait(wait));
            return;
        }
        if line == "|" {
            self.steps.push(Step::Send(Vec::new()));
            return;
        }
        let bytes = encode(line);
        match self.steps.last_mut() {
            Some(Step::Send(pending)) => pending.extend(bytes),
            _ => self.steps.push(Step::Send(bytes)),
        }
    }

    /// Plays it; one entry for each `<` line. Where the connection breaks off, the last entry says how.
    pub async fn play(&self, client: &mut RawClient) -> Vec<Heard> {
        let mut heard = Vec::new();
        for step in &self.steps {
            match perform(step, client).await {
                Ok(Some(messages)) => heard.push(Heard::Messages(messages)),
                Ok(None) => {}
                Err(error) => {
                    heard.push(Heard::BrokenOff(error.to_string()));
                    break;
                }
            }
        }
        heard
    }
}

async fn perform(step: &Step, client: &mut RawClient) -> Result<Option<Vec<Message>>> {
    let messages = match step {
        Step::Send(bytes) => {
            client.send(bytes).await?;
            // Small enough not to matter, long enough for the bytes to arrive by themselves.
            tokio::time::sleep(Duration::from_micros(100)).await;
            return Ok(None);
        }
        Step::Ready(times) => {
            let mut messages = Vec::new();
            for _ in 0..*times {
                let before = messages.len();
                messages.extend(client.until(b'Z').await.map_err(|error| {
                    let so_far = wire::describe(&messages[..before]);
                    std::io::Error::new(error.kind(), format!("{error}  before that:\n{so_far}"))
                })?);
            }
            messages
        }
        Step::Tag(tag) => client.until(*tag).await?,
        Step::Count(count) => {
            let mut messages = Vec::new();
            while messages.len() < *count as usize {
                messages.push(client.receive().await?.ok_or(std::io::ErrorKind::UnexpectedEof)?);
            }
            messages
        }
        Step::Quiet => client.drain(Duration::from_millis(150)).await?,
        Step::Closed => client.until_closed(Duration::from_secs(5)).await?,
    };
    Ok(Some(messages))
}

fn read_wait(wait: &str) -> Step {
    let mut words = wait.split(' ');
    let (word, number) = (
        words.next().unwrap_or_default(),
        words.next().map(|word| word.parse().expect("a number")),
    );
    match (word, number) {
        ("Z", number) => Step::Ready(number.unwrap_or(1)),
        ("n", Some(number)) => Step::Count(number),
        ("quiet", None) => Step::Quiet,
        ("closed", None) => Step::Closed,
        (tag, None) if tag.len() == 1 => Step::Tag(tag.as_bytes()[0]),
        _ => panic!("what to wait for: {wait}"),
    }
}

fn encode(line: &str) -> Vec<u8> {
    let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut words = rest.split(' ');
    let mut name = || match words.next().unwrap_or("-") {
        "-" => String::new(),
        name => name.to_owned(),
    };
    match kind {
        "Q" => wire::query(&unescape(rest)),
        "P" => {
            let head = name();
            let sql = rest.split_once(' ').map_or("", |(_, sql)| sql);
            let (statement, types) = head.split_once(':').unwrap_or((&head, ""));
            let types: Vec<u32> = types
                .split(',')
                .filter(|oid| !oid.is_empty())
                .map(|oid| oid.parse().expect("an oid"))
                .collect();
            let statement = if statement == "-" { "" } else { statement };
            wire::parse(statement, &unescape(sql), &types)
        }
        "B" | "Bb" => {
            let (portal, statement) = (name(), name());
            let parameters: Vec<Option<String>> = words.map(|word| (word != "\\N").then(|| unescape(word))).collect();
            let parameters: Vec<Option<&[u8]>> = parameters
                .iter()
                .map(|value| value.as_ref().map(String::as_bytes))
                .collect();
            wire::bind_with(&portal, &statement, &parameters, kind == "Bb")
        }
        "D" => wire::describe_message(name().as_bytes()[0], &name()),
        "C" => wire::close(name().as_bytes()[0], &name()),
        "E" => wire::execute(
            &name(),
            words.next().map_or(0, |rows| rows.parse().expect("a number of rows")),
        ),
        "S" => wire::sync(),
        "H" => wire::flush(),
        "X" => wire::terminate(),
        "d" => wire::copy_data(unescape(rest).as_bytes()),
        "c" => wire::copy_done(),
        "f" => wire::copy_fail(rest),
        "F" => {
            let function = name().parse().expect("an oid");
            let arguments: Vec<String> = words.map(unescape).collect();
            wire::function_call(function, &arguments.iter().map(String::as_bytes).collect::<Vec<_>>())
        }
        "raw" => words.map(|byte| u8::from_str_radix(byte, 16).expect("hex")).collect(),
        _ => panic!("what message: {line}"),
    }
}

fn unescape(text: &str) -> String {
    if text == "\\E" {
        return String::new();
    }
    let text = text.replace("\\n", "\n").replace("\\t", "\t");
    let repetition = |range: &str| {
        let (what, times) = range.split_once('*')?;
        Some(what.repeat(times.parse().ok()?))
    };
    let expanded = text.split_once('{').and_then(|(before, rest)| {
        let (range, after) = rest.split_once('}')?;
        Some(format!("{before}{}{after}", repetition(range)?))
    });
    expanded.unwrap_or(text)
}
