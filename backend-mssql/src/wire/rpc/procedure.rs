//! Which procedure is called: the ones with a number are also called by name, in several spellings.
//!
//! Pure. Must not know what calling one does to a session.

use crate::wire::utf16::Utf16;

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Procedure<'a> {
    /// One that the protocol itself knows, by number or by name.
    WellKnown(WellKnown),
    /// Any other, by the name as it came.
    Named(Utf16<'a>),
    /// A number that stands for none.
    Unknown(u16),
}

/// The procedures that the protocol knows (TDS 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named after the procedures")]
#[repr(u16)]
pub enum WellKnown {
    Cursor = 1,
    CursorOpen = 2,
    CursorPrepare = 3,
    CursorExecute = 4,
    CursorPrepExec = 5,
    CursorUnprepare = 6,
    CursorFetch = 7,
    CursorOption = 8,
    CursorClose = 9,
    ExecuteSql = 10,
    Prepare = 11,
    Execute = 12,
    PrepExec = 13,
    PrepExecRpc = 14,
    Unprepare = 15,
    /// Has no number: `sp_reset_connection` (TDS 6.1).
    ResetConnection = 0xfff0,
}

const NAMES: [(&str, WellKnown); 16] = [
    ("sp_cursor", WellKnown::Cursor),
    ("sp_cursoropen", WellKnown::CursorOpen),
    ("sp_cursorprepare", WellKnown::CursorPrepare),
    ("sp_cursorexecute", WellKnown::CursorExecute),
    ("sp_cursorprepexec", WellKnown::CursorPrepExec),
    ("sp_cursorunprepare", WellKnown::CursorUnprepare),
    ("sp_cursorfetch", WellKnown::CursorFetch),
    ("sp_cursoroption", WellKnown::CursorOption),
    ("sp_cursorclose", WellKnown::CursorClose),
    ("sp_executesql", WellKnown::ExecuteSql),
    ("sp_prepare", WellKnown::Prepare),
    ("sp_execute", WellKnown::Execute),
    ("sp_prepexec", WellKnown::PrepExec),
    ("sp_prepexecrpc", WellKnown::PrepExecRpc),
    ("sp_unprepare", WellKnown::Unprepare),
    ("sp_reset_connection", WellKnown::ResetConnection),
];

impl WellKnown {
    /// The number by which it is called; `None` for the one that has none.
    pub fn number(self) -> Option<u16> {
        (self != WellKnown::ResetConnection).then_some(self as u16)
    }
}

impl<'a> Procedure<'a> {
    /// By number.
    pub fn from_number(number: u16) -> Procedure<'a> {
        NAMES
            .iter()
            .find(|(_, known)| known.number() == Some(number))
            .map_or(Procedure::Unknown(number), |(_, known)| Procedure::WellKnown(*known))
    }

    /// By name: `sp_x`, `sys.sp_x`, `[sys].[sp_x]`, `master.dbo.sp_x` in any case are the one that the protocol knows. One
    /// of another database or server is not: it would prepare something there.
    pub fn from_name(name: Utf16<'a>) -> Procedure<'a> {
        let named = Procedure::Named(name);
        let Some(parts) = Parts::of(name) else { return named };
        let [server, database, schema, own] = parts.0;
        let at_home = server.is_empty()
            && (database.is_empty() || database.eq_ignore_ascii_case("master"))
            && (schema.is_empty() || schema.eq_ignore_ascii_case("sys") || schema.eq_ignore_ascii_case("dbo"));
        NAMES
            .iter()
            .find(|(known, _)| at_home && own.eq_ignore_ascii_case(known))
            .map_or(named, |(_, known)| Procedure::WellKnown(*known))
    }

    /// Whether its first parameters hold texts that matter: statements, or names of locks and settings, as system
    /// procedures take them.
    pub(super) fn has_texts(self) -> bool {
        match self {
            Procedure::WellKnown(known) => !matches!(
                known,
                WellKnown::Execute | WellKnown::Unprepare | WellKnown::CursorFetch | WellKnown::CursorClose
            ),
            Procedure::Named(name) => {
                let own = Parts::of(name).map_or(name, |parts| parts.0[3]);
                let start = own.0.get(..6).map(Utf16);
                start.is_some_and(|start| start.eq_ignore_ascii_case("sp_"))
            }
            Procedure::Unknown(_) => false,
        }
    }
}

/// Server, database, schema and own name, without brackets.
struct Parts<'a>([Utf16<'a>; 4]);

impl<'a> Parts<'a> {
    /// `None` if there are more than four, or a bracket is not closed.
    fn of(name: Utf16<'a>) -> Option<Parts<'a>> {
        let mut parts = [Utf16::default(); 4];
        let mut rest = name.0;
        loop {
            let (part, behind) = part(rest)?;
            // The last one found is the procedure's own name: the others move to the left.
            parts.rotate_left(1);
            if !parts[3].is_empty() {
                return None;
            }
            parts[3] = Utf16(part);
            match behind {
                None => return Some(Parts(parts)),
                Some(behind) => rest = behind,
            }
        }
    }
}

/// The first part of a name, and what stands behind its dot.
fn part(bytes: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let close = match bytes.first_chunk::<2>() {
        Some(b"[\0") => Some(b"]\0"),
        Some(b"\"\0") => Some(b"\"\0"),
        _ => None,
    };
    let find = |bytes: &[u8], wanted: &[u8; 2]| bytes.chunks_exact(2).position(|unit| unit == wanted).map(|at| at * 2);
    let Some(close) = close else {
        return Some(match find(bytes, b".\0") {
            None => (bytes, None),
            Some(at) => (&bytes[..at], Some(&bytes[at + 2..])),
        });
    };
    let inner = &bytes[2..];
    let end = find(inner, close)?;
    match &inner[end + 2..] {
        [] => Some((&inner[..end], None)),
        [b'.', 0, behind @ ..] => Some((&inner[..end], Some(behind))),
        // A doubled bracket: in no name that is known.
        _ => None,
    }
}
