//! Messages as clients write them, and server streams as people read them.

use bytes::{BufMut, BytesMut};
use weir_postgres::wire::{Head, write};

pub fn parse(name: &str, text: &str) -> Vec<u8> {
    built(|out| write::parse_text(out, name.as_bytes(), text.as_bytes()))
}

pub fn bind(portal: &str, statement: &str, values: &[&str]) -> Vec<u8> {
    built(|out| {
        write::message(out, b'B', |out| {
            write::string(out, portal.as_bytes());
            write::string(out, statement.as_bytes());
            out.put_u16(0);
            out.put_u16(values.len() as u16);
            for value in values {
                out.put_u32(value.len() as u32);
                out.put_slice(value.as_bytes());
            }
            out.put_u16(0);
        });
    })
}

pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    built(|out| {
        write::message(out, b'E', |out| {
            write::string(out, portal.as_bytes());
            out.put_u32(rows);
        });
    })
}

fn named(kind: u8, what: u8, name: &str) -> Vec<u8> {
    built(|out| {
        write::message(out, kind, |out| {
            out.put_u8(what);
            write::string(out, name.as_bytes());
        });
    })
}

pub fn describe_statement(name: &str) -> Vec<u8> {
    named(b'D', b'S', name)
}

pub fn describe_portal(name: &str) -> Vec<u8> {
    named(b'D', b'P', name)
}

pub fn close_statement(name: &str) -> Vec<u8> {
    named(b'C', b'S', name)
}

pub fn close_portal(name: &str) -> Vec<u8> {
    named(b'C', b'P', name)
}

pub fn query(text: &str) -> Vec<u8> {
    built(|out| write::query(out, text.as_bytes()))
}

pub fn sync() -> Vec<u8> {
    built(write::sync)
}

pub fn flush() -> Vec<u8> {
    built(write::flush)
}

pub fn copy_data(data: &str) -> Vec<u8> {
    built(|out| write::message(out, b'd', |out| out.put_slice(data.as_bytes())))
}

pub fn copy_done() -> Vec<u8> {
    built(|out| write::message(out, b'c', |_| {}))
}

pub fn copy_fail(reason: &str) -> Vec<u8> {
    built(|out| write::copy_fail(out, reason))
}

pub fn terminate() -> Vec<u8> {
    built(|out| write::message(out, b'X', |_| {}))
}

/// FunctionCall of a function without arguments.
pub fn call(function: u32) -> Vec<u8> {
    built(|out| {
        write::message(out, b'F', |out| {
            out.put_u32(function);
            out.put_slice(&[0; 6]);
        });
    })
}

/// `Parse Bind Execute Sync` of the unnamed statement.
pub fn one_shot(text: &str) -> Vec<u8> {
    [parse("", text), bind("", "", &[]), execute("", 0), sync()].concat()
}

fn built(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
    let mut out = BytesMut::new();
    write(&mut out);
    out.to_vec()
}

/// A server's stream in letters: the types, with transaction states (`ZI`), SQLSTATEs (`E42601`), tags (`C[SELECT 1]`)
/// and the first column of rows (`D[x]`).
pub fn told(mut stream: &[u8]) -> String {
    let mut words = Vec::new();
    while let Some(head) = Head::read(stream) {
        let Some(message) = head.message(stream) else {
            words.push("...".to_owned());
            break;
        };
        let body = head.body(message);
        words.push(match head.kind {
            b'Z' => format!("Z{}", body[0] as char),
            b'E' => format!("E{}", field(body, b'C')),
            b'C' => format!("C[{}]", text(&body[..body.len() - 1])),
            b'D' => format!("D[{}]", text(body.get(6..).unwrap_or_default())),
            b'S' => format!("S[{}]", text(body).replace('\0', "=").trim_end_matches('=')),
            kind => (kind as char).to_string(),
        });
        stream = &stream[message.len()..];
    }
    words.join(" ")
}

/// The message texts of all errors in a stream.
pub fn error_texts(mut stream: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(head) = Head::read(stream)
        && let Some(message) = head.message(stream)
    {
        if head.kind == b'E' {
            texts.push(field(head.body(message), b'M'));
        }
        stream = &stream[message.len()..];
    }
    texts
}

fn field(body: &[u8], code: u8) -> String {
    let field = body.split(|byte| *byte == 0).find(|field| field.first() == Some(&code));
    field.map_or_else(String::new, |field| text(&field[1..]))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A client's stream in letters and names.
pub fn said(mut stream: &[u8]) -> String {
    let mut words = Vec::new();
    while let Some(head) = Head::read(stream)
        && let Some(message) = head.message(stream)
    {
        let body: String = text(head.body(message)).replace('\0', "|");
        words.push(format!("{}({})", head.kind as char, body.trim_end_matches('|')));
        stream = &stream[message.len()..];
    }
    words.join(" ")
}
