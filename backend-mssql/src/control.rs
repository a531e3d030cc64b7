//! The control plane: statements of the gateway's own on a connection of its own, such as those of `health_check`.
//!
//! Invariants: one connection, which is kept from one statement to the next while nothing goes wrong on it; whoever gives
//! up in the middle of a statement takes the connection along. Never used for clients.

use parking_lot::Mutex;
use weir_config::MssqlConnection;
use weir_core::refusal::{OpenError, Rejection};

use crate::{
    login::server::{Batch, LoggedIn, Opener},
    refusals,
    settings::Profile,
    wire::{
        TdsVersion,
        walker::{Content, Layout, Piece, Walker},
    },
};

/// A connection for statements of the gateway's own, opened when it is needed.
#[derive(Debug)]
pub struct Control {
    opener: Opener,
    kept: Mutex<Option<LoggedIn>>,
}

/// Why a statement has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// There is no connection.
    Open(OpenError),
    /// The server did not like the statement, or went away over it.
    Statement(OpenError),
}

impl Control {
    /// `application_name`: shown in the database.
    pub fn new(connection: MssqlConnection, application_name: &str) -> Self {
        Control {
            opener: Opener::new(connection, Some(application_name.to_owned())),
            kept: Mutex::default(),
        }
    }

    /// Runs a batch, and forgets its rows. The caller bounds the time.
    ///
    /// # Errors
    /// [`Failed`]
    pub async fn run(&self, sql: &str) -> Result<(), Failed> {
        let kept = self.kept.lock().take();
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.opener.open(&Profile::default()).await.map_err(Failed::Open)?,
        };
        let mut batch = Batch {
            packet_size: connection.accepted.packet_size,
            stream: &mut connection.stream,
        };
        let answer = batch.run(sql).await.map_err(Failed::Statement)?;
        judge(&answer).map_err(Failed::Statement)?;
        *self.kept.lock() = Some(connection);
        Ok(())
    }
}

/// The first error in an answer.
fn judge(mut answer: &[u8]) -> Result<(), OpenError> {
    let nonsense = |what| OpenError::Untrusted(format!("the server does not follow the TDS protocol: {what}"));
    let mut walker = Walker::new(Layout {
        version: TdsVersion::V7_4,
        ..Layout::default()
    });
    while let Some(piece) = walker.next(&mut answer).map_err(nonsense)? {
        if let Piece::Token(token) = piece
            && let Content::Error(error) = token.content
        {
            return Err(OpenError::Rejected(Rejection {
                code: error.number.to_string(),
                message: error.text.to_lossy(),
                detail: None,
                hint: None,
                retry: refusals::retry(error.number),
            }));
        }
    }
    match walker.is_complete() {
        true => Ok(()),
        false => Err(nonsense("an answer without an end")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;
    use crate::{
        refusals::login_failed,
        wire::done::{Done, DoneStatus},
    };

    #[test]
    fn an_answer_is_good_when_it_is_whole_and_has_no_error() {
        let done = |status| {
            let mut out = BytesMut::new();
            Done::statement(status, 0xc1).write(TdsVersion::V7_4, &mut out);
            out
        };
        assert_eq!(judge(&done(DoneStatus::COUNT)), Ok(()));
        assert!(matches!(judge(&done(DoneStatus::MORE)), Err(OpenError::Untrusted(_))));
        assert!(matches!(judge(b"\xff"), Err(OpenError::Untrusted(_))));
        let mut failed = BytesMut::new();
        login_failed("ann").write(TdsVersion::V7_4, &mut failed);
        failed.extend_from_slice(&done(DoneStatus::ERROR));
        let error = judge(&failed).expect_err("an ERROR token");
        assert!(
            matches!(&error, OpenError::Rejected(why) if why.code == "18456"),
            "{error:?}"
        );
    }
}
