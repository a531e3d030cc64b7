//! A client at rest that goes on in another process: what its dialogue packs, and a dialogue that goes on from that.
//!
//! Whoever has anything that is not in [`Packed`] stays: a request that waits, a transaction at the server, a statement that
//! is on one server connection only. A transaction that no server knows yet (TDS 5.3) goes along. Absent on purpose: what
//! server connections know; the next one that the client gets is made its own as any. Invariant: what is set on a server
//! connection because another process says so is a SET of this one's own making, as ever.

use weir_core::{
    backend::{PinNews, PinReason},
    settings::{PoolMode, SessionStatePolicy},
};

use super::{
    Conversation, ConversationInit, Likeness, Presence,
    adopt::{Adoption, Asked},
    alias::Alias,
    from_client::Incoming,
    packed::{Packed, PackedLikeness, PackedStatement, PackedTransaction},
    pin_notice::PinNotices,
    request::{Beginning, Form},
    transactions::{self, ClientTransaction, State},
};
use crate::{
    session::{
        Tracker,
        classify::{Certainty, Change, classify},
        handles::{ClientHandles, Prepared, StatementKind},
        last_values::{LastRequests, Values},
        settings::{Isolation, Setting, Settings},
    },
    wire::{
        TdsVersion,
        packet::{MAX_PACKET_SIZE, MIN_PACKET_SIZE},
        utf16,
    },
};

impl Conversation {
    /// What another process has to know to go on; `None` while there is more than that.
    pub fn packed(&self) -> Option<Packed> {
        let is_plain = self.presence == Presence::Here
            && self.incoming == Incoming::Between
            && matches!(self.adoption, Adoption::Settled | Adoption::Due)
            && self.asked == Asked::No
            && self.pending.is_none()
            && self.preparing.is_none()
            && self.overrun.is_none()
            && !self.is_old();
        if !is_plain {
            return None;
        }
        Some(Packed {
            follows: self.policy == SessionStatePolicy::Follow,
            tds_version: self.version.code(),
            packet_size: self.packet_size,
            spid: self.spid,
            tells_transactions: self.tracker == Tracker::EnvChange,
            asked_database: (self.alias.as_ref()).map_or_else(String::new, |alias| alias.asked().to_owned()),
            login: self.login.packed(),
            now: self.now.packed(),
            last_handle: self.handles.last().try_into().ok()?,
            statements: self.handles.packed()?,
            transaction: self.transaction.packed()?,
            requests: self.last.numbers(),
            asked_values: self.asker.known().bits(),
            pin_over: match self.pin_notices {
                PinNotices::Unwanted | PinNotices::Told => None,
                PinNotices::Due(PinNews::Over(reason)) => Some(u8::try_from(reason.index()).ok()?),
                PinNotices::Due(PinNews::Begun(_)) => return None,
            },
        })
    }

    /// The conversation of a client that another process has packed. What `init` says of the client's own login does not
    /// count.
    ///
    /// # Errors
    /// Why it cannot go on here, for the log.
    pub fn resume(init: ConversationInit, packed: &Packed) -> Result<Self, &'static str> {
        let follows = init.session_state == SessionStatePolicy::Follow;
        if packed.follows != follows {
            return Err("its source has another session_state here");
        }
        if packed.transaction.is_some() && init.pool_mode != PoolMode::Transaction {
            return Err("it is in a transaction, and its source has another pool_mode here");
        }
        let version = TdsVersion::from_code(packed.tds_version);
        let version = version.filter(|version| version.is_wide() && *version < TdsVersion::V8_0);
        let tds_version = version.ok_or("it speaks a version of the protocol that is not spoken in clear here")?;
        if !(MIN_PACKET_SIZE..=MAX_PACKET_SIZE).contains(&packed.packet_size) {
            return Err("its packets have a size that is not agreed on here");
        }
        let login = Likeness::unpacked(&packed.login)?;
        let (pin_notice, known_tracker) = (init.pin_notice, init.tracker);
        let mut resumed = Conversation::new(ConversationInit {
            tds_version,
            packet_size: packed.packet_size,
            spid: packed.spid,
            asked_database: String::new(),
            asked_language: None,
            ..init
        });
        resumed.alias = Alias::new(packed.asked_database.clone(), login.database.clone());
        resumed.login = login;
        resumed.now = Likeness::unpacked(&packed.now)?;
        resumed.tracker = match packed.tells_transactions {
            true => Tracker::EnvChange,
            false => known_tracker,
        };
        resumed.restore_statements(packed)?;
        resumed.transaction = ClientTransaction::unpacked(packed.transaction)?;
        resumed.last = LastRequests::from_numbers(packed.requests);
        let asked = Values::from_bits(packed.asked_values);
        resumed
            .asker
            .asks_for(asked.ok_or("its user asks for what is not known here")?);
        if let Some(reason) = packed.pin_over {
            let reason = PinReason::ALL.get(usize::from(reason));
            let reason = reason.ok_or("it has kept its server connection for a reason that is not known here")?;
            if pin_notice {
                resumed.pin_notices = PinNotices::Due(PinNews::Over(*reason));
            }
        }
        Ok(resumed)
    }

    fn restore_statements(&mut self, packed: &Packed) -> Result<(), &'static str> {
        const UNKNOWN: &str = "it has a handle for what cannot be prepared here";
        let handle = |number: u32| i32::try_from(number).map_err(|_| UNKNOWN);
        self.handles = ClientHandles::resumed(handle(packed.last_handle)?);
        for statement in &packed.statements {
            let kind = match statement.is_procedure {
                true => StatementKind::Procedure,
                false => StatementKind::Text,
            };
            let restored = self.restore_statement(kind, &statement.parameters).ok_or(UNKNOWN)?;
            let restored = Prepared::Anywhere(restored);
            let is_new = self.handles.restore(handle(statement.handle)?, restored);
            is_new.ok_or("it has more handles than there can be, or one twice")?;
        }
        Ok(())
    }
}

impl ClientHandles {
    /// All of them in the order of their numbers, if none is on one server connection only.
    fn packed(&self) -> Option<Vec<PackedStatement>> {
        let packed = self.iter().map(|(handle, prepared)| match prepared {
            Prepared::Anywhere(statement) => Some(PackedStatement {
                handle: handle.try_into().ok()?,
                is_procedure: statement.kind == StatementKind::Procedure,
                parameters: statement.parameters.to_vec(),
            }),
            Prepared::Here(_) => None,
        });
        let mut packed: Vec<_> = packed.collect::<Option<_>>()?;
        packed.sort_unstable_by_key(|statement| statement.handle);
        Some(packed)
    }
}

impl ClientTransaction {
    /// The inner `None`: there is no transaction.
    fn packed(&self) -> Option<Option<PackedTransaction>> {
        match &self.state {
            State::None => Some(None),
            State::Virtual(how) => Some(Some(PackedTransaction {
                isolation: how.isolation,
                in_batch: how.form == Form::Batch,
                descriptor: self.descriptor,
            })),
            State::Real | State::Abandoned(_) => None,
        }
    }

    fn unpacked(packed: Option<PackedTransaction>) -> Result<Self, &'static str> {
        let Some(packed) = packed else {
            return Ok(ClientTransaction::default());
        };
        if packed.descriptor != 0 && !transactions::is_ours(packed.descriptor) {
            return Err("its transaction has a number that no gateway gives");
        }
        if packed.isolation != 0 && Isolation::from_request(packed.isolation).is_none() {
            return Err("its transaction has an isolation level that is not known here");
        }
        transactions::give_no_more_up_to(packed.descriptor);
        Ok(ClientTransaction {
            state: State::Virtual(Beginning {
                isolation: packed.isolation,
                form: match packed.in_batch {
                    true => Form::Batch,
                    false => Form::Request,
                },
            }),
            descriptor: packed.descriptor,
        })
    }
}

impl Likeness {
    fn packed(&self) -> PackedLikeness {
        let settings = self.settings.iter();
        PackedLikeness {
            settings: settings
                .map(|setting| (setting.key.name().to_owned(), setting.value.to_string()))
                .collect(),
            database: self.database.to_string(),
            isolation: self.isolation.in_request(),
        }
    }

    fn unpacked(packed: &PackedLikeness) -> Result<Self, &'static str> {
        let mut settings = Settings::default();
        for (name, value) in &packed.settings {
            settings.set(setting(name, value).ok_or("it has a setting that cannot be set here")?);
        }
        let isolation = Isolation::from_request(packed.isolation);
        Ok(Likeness {
            settings,
            database: packed.database.as_str().into(),
            isolation: isolation.ok_or("it has an isolation level that is not known here")?,
        })
    }
}

/// A setting, if `SET name value` is one and nothing else, and says it in the words that this process would use.
fn setting(name: &str, value: &str) -> Option<Setting> {
    let found = classify(&utf16::encode(&format!("SET {name} {value}")));
    match &found.changes[..] {
        [(Change::Set(setting), Certainty::Certain)] if setting.key.name() == name && *setting.value == *value => {
            Some(setting.clone())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::own;

    #[test]
    fn settings_are_those_that_a_text_can_set_and_nothing_else() {
        let text = "SET NOCOUNT ON; SET DATEFIRST 3; SET DATEFORMAT ymd; SET LANGUAGE N'Fran''çais'; SET LOCK_TIMEOUT -1; \
                    SET CONTEXT_INFO 0xABCD; SET DEADLOCK_PRIORITY low; SET QUOTED_IDENTIFIER OFF; SET TEXTSIZE 4096";
        let found = classify(&utf16::encode(text));
        assert_eq!(found.changes.len(), 9, "{found:?}");
        let all = found.changes.iter().map(|(change, _)| match change {
            Change::Set(setting) => setting.clone(),
            other => panic!("{other:?}"),
        });
        for known in all.chain([own::language("Deutsch"), own::language("o'x; DROP TABLE t")]) {
            assert_eq!(
                setting(known.key.name(), &known.value),
                Some(known.clone()),
                "{known:?}"
            );
        }
        for (name, value) in [
            ("NOCOUNT", "ON; DROP TABLE t"),
            ("NOCOUNT", "on"),
            ("NOCOUNT", ""),
            ("NOCOUNT, XACT_ABORT", "ON"),
            ("TEXTSIZE", "1 --"),
            ("LANGUAGE", "N'x' SELECT 1"),
            ("SHOWPLAN_ALL", "ON"),
            ("TRANSACTION ISOLATION LEVEL", "SNAPSHOT"),
            ("@x", "= 1"),
        ] {
            assert_eq!(setting(name, value), None, "{name} {value}");
        }
    }
}
