//! What a client is told when it begins or ceases to keep its server connection, if its source wants it told.

use bytes::BytesMut;
use weir_core::backend::{PinNews, PinReason};

use crate::wire::write;

/// "successful_completion": there is nothing wrong.
const SUCCESSFUL: &str = "00000";

/// Writes the notice.
pub(super) fn write(news: PinNews, out: &mut BytesMut) {
    match news {
        // Not by anything that the client did.
        PinNews::Begun(PinReason::SessionMode | PinReason::Replication)
        | PinNews::Over(PinReason::SessionMode | PinReason::Replication) => {}
        PinNews::Begun(reason) => {
            let text = format!("this session keeps its server connection: {}", reason.as_str());
            write::notice_response(out, SUCCESSFUL, &text, Some(way_out(reason)));
        }
        PinNews::Over(reason) => {
            let text = format!(
                "this session needs its server connection no more: {} is over",
                reason.as_str()
            );
            write::notice_response(out, SUCCESSFUL, &text, None);
        }
    }
}

/// What gives the connection back to the pool.
fn way_out(reason: PinReason) -> &'static str {
    match reason {
        PinReason::TemporaryTable => {
            "It goes back to the pool when the temporary objects are dropped; ON COMMIT DROP does that by itself."
        }
        PinReason::Listen => "It goes back to the pool after UNLISTEN *.",
        PinReason::HoldCursor => "It goes back to the pool when the cursor is closed.",
        PinReason::AdvisoryLock => {
            "It goes back to the pool after the unlock; pg_advisory_xact_lock needs none and keeps no connection."
        }
        PinReason::SqlPrepared => {
            "It goes back to the pool after DEALLOCATE; statements prepared by the protocol keep no connection."
        }
        PinReason::LargeStatement => "It goes back to the pool when the prepared statement is closed.",
        PinReason::Sequence => {
            "It goes back to the pool after DISCARD SEQUENCES; INSERT ... RETURNING needs neither, and a source may say \
             sequence_functions: forget."
        }
        PinReason::PrivilegedSetting => "It goes back to the pool when the setting is reset.",
        _ => "It goes back to the pool when the session ends.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_and_way_out_are_told_and_what_is_configured_is_not() {
        let mut out = BytesMut::new();
        write(PinNews::Begun(PinReason::AdvisoryLock), &mut out);
        let told = String::from_utf8_lossy(&out).into_owned();
        assert!(
            told.starts_with('N') && told.contains("session advisory lock"),
            "{told:?}"
        );
        assert!(told.contains("Hpg_") || told.contains("HIt goes back"), "{told:?}");
        out.clear();
        write(PinNews::Begun(PinReason::SessionMode), &mut out);
        assert!(out.is_empty());
    }
}
