//! What a session starts with when no flag of LOGIN7 asks for ODBC's defaults: asked of a server, because its configuration
//! decides (`user options`). With it such a client can be served by any connection, see [`Baseline`].
//!
//! Invariants: what is not understood, or refused, comes to "not known"; the session tells nothing of having been asked.

use weir_core::refusal::OpenError;

use super::{super::stream::TdsStream, exchange::Batch};
use crate::{
    session::{Baseline, integer_of_row},
    wire::{
        TdsVersion,
        walker::{Content, Layout, Piece, Walker},
    },
};

/// Databases that have defaults of their own for options which a session has not set: setting them hides those.
const DATABASES: &str = "\
    SELECT COUNT(*) FROM sys.databases WHERE is_ansi_null_default_on = 1 OR is_ansi_nulls_on = 1 OR is_ansi_padding_on = 1 \
    OR is_ansi_warnings_on = 1 OR is_arithabort_on = 1 OR is_concat_null_yields_null_on = 1 OR \
    is_numeric_roundabort_on = 1 OR is_quoted_identifier_on = 1 OR is_cursor_close_on_commit_on = 1";

/// Asks on a connection that has just been opened without ODBC's defaults. `None`: they cannot be set elsewhere.
///
/// # Errors
/// [`OpenError`]: the connection is of no use any more.
pub(super) async fn ask(
    stream: &mut TdsStream,
    version: TdsVersion,
    packet_size: u16,
) -> Result<Option<Baseline>, OpenError> {
    let mut batch = Batch { stream, packet_size };
    let options = integer(&batch.run("SELECT @@OPTIONS").await?, version);
    let text_size = integer(&batch.run("SELECT @@TEXTSIZE").await?, version);
    let databases = integer(&batch.run(DATABASES).await?, version);
    // Also behind a refusal: @@ERROR and @@ROWCOUNT are 0 behind a login.
    batch.run("PRINT ''").await?;
    Ok(match (options, text_size, databases) {
        (Some(options), Some(text_size), Some(0)) => Baseline::of(options, text_size),
        _ => None,
    })
}

/// The one INT that an answer holds.
fn integer(payload: &[u8], version: TdsVersion) -> Option<i32> {
    let mut walker = Walker::new(Layout {
        version,
        ..Layout::default()
    });
    let (mut input, mut row) = (payload, Vec::new());
    loop {
        match walker.next(&mut input).ok()? {
            Some(Piece::Pass(bytes)) if row.len() + bytes.len() <= ROW => row.extend_from_slice(bytes),
            Some(Piece::Pass(_)) => return None,
            Some(Piece::Token(token)) => {
                if let Content::Error(_) = token.content {
                    return None;
                }
            }
            None => return integer_of_row(&row),
        }
    }
}

/// Bytes of a row that holds one INT, and of its description as far as it is handed out.
const ROW: usize = 64;
