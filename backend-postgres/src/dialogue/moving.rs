//! A client at rest that goes on in another process: what its dialogue packs, and a dialogue that goes on from that.
//!
//! Whoever has anything that is not in [`Packed`] stays: notifications, replication, a request that waits. Absent on purpose:
//! what server connections know; the next one that the client gets is made its own as any.

use std::sync::Arc;

use weir_core::settings::SessionStatePolicy;

use super::{
    Adoption, Body, Conversation, ConversationInit, Permission, Presence, Protocol, Request,
    failed_block::Abandoned,
    heal::Descriptions,
    packed::{Packed, PackedSqlStatement, PackedStatement, Pairs},
    prepare,
    statements::ClientStatements,
};
use crate::{
    limits,
    session::{
        Overlay, classify,
        sql_statements::{SqlStatement, SqlStatements},
        statement::Statement,
    },
    wire,
};

impl Conversation {
    /// What another process has to know to go on; `None` while there is more than that.
    pub fn packed(&self) -> Option<Packed> {
        let is_plain = self.protocol == Protocol::Ordinary
            && self.presence == Presence::Here
            && self.request == Request::None
            && matches!(self.adoption, Adoption::Settled)
            && self.body == Body::None
            && matches!(self.abandoned, Abandoned::No)
            && self.listening.is_none()
            && !self.custom_settings.has_others();
        if !is_plain {
            return None;
        }
        let unnamed = match &self.unnamed {
            Some(statement) => Some(statement.body()?.to_vec()),
            None => None,
        };
        Some(Packed {
            follows: self.session_state == SessionStatePolicy::Follow,
            read_only: self.permission == Permission::ReadOnly,
            has_described: self.descriptions == Descriptions::Asked,
            told: (self.told.iter())
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            brought: pairs(&self.brought),
            overlay: pairs(&self.overlay),
            custom_settings: self.custom_settings.iter().map(str::to_owned).collect(),
            unnamed,
            statements: self.statements.pack()?,
            sql_statements: (self.sql_statements.iter())
                .map(|known| (known.name.to_string(), known.text.to_string(), pairs(&known.context)))
                .collect(),
            asks_for_draws: self.asker.has_asked(),
        })
    }

    /// The conversation of a client that another process has packed. What `init` says of settings and of what the client
    /// was told does not count.
    ///
    /// # Errors
    /// Why it cannot go on here, for the log.
    pub fn resume(init: ConversationInit, packed: Packed) -> Result<Self, &'static str> {
        if packed.read_only != init.read_only {
            return Err("its user may do something else here (read_only)");
        }
        if packed.follows != (init.session_state == SessionStatePolicy::Follow) {
            return Err("its source has another session_state here");
        }
        let is_too_many = |pairs: &Pairs| pairs.len() > limits::MAX_OVERLAY_SETTINGS;
        if is_too_many(&packed.brought) || is_too_many(&packed.overlay) || packed.told.len() > limits::MAX_PARAMETERS {
            return Err("it has more settings than there can be");
        }
        let overlay = |pairs: &Pairs| Overlay::from_pairs(pairs.iter().map(|(name, value)| (name, value)));
        let told = super::Parameters::from_pairs(packed.told);
        let mut resumed = Conversation::new(ConversationInit {
            told: init.shared.share_parameters(told),
            overlay: overlay(&packed.brought),
            ..init
        });
        resumed.overlay = overlay(&packed.overlay);
        resumed.fingerprint = prepare::fingerprint(&resumed.overlay);
        if packed.has_described {
            resumed.descriptions = Descriptions::Asked;
        }
        for name in &packed.custom_settings {
            resumed.custom_settings.note(name.as_bytes());
        }
        resumed.unnamed = packed.unnamed.map(|body| {
            let text = wire::split_string(&body).map_or(&body[..], |(text, _)| text);
            Arc::new(Statement::kept(&body, classify::classify(text)))
        });
        for (name, body, is_accepted) in packed.statements {
            let room = resumed.statements.check_room(name.len() + body.len());
            room.map_err(|_| "it has more prepared statements than there can be")?;
            let statement = resumed.shared.intern(resumed.fingerprint, &body);
            if is_accepted {
                statement.accept();
            }
            resumed.statements.insert(name.into(), statement);
        }
        resumed.sql_statements = sql_statements(packed.sql_statements)?;
        if packed.asks_for_draws {
            resumed.asker.asks();
        }
        Ok(resumed)
    }
}

/// Those that a text prepares and nothing else, with the meaning that it had.
fn sql_statements(packed: Vec<PackedSqlStatement>) -> Result<SqlStatements, &'static str> {
    let mut statements = Vec::new();
    for (name, text, context) in &packed {
        if context.len() > limits::MAX_OVERLAY_SETTINGS {
            return Err("it has more settings than there can be");
        }
        let context = Overlay::from_pairs(context.iter().map(|(name, value)| (name, value)));
        let statement = SqlStatement::read(name, text, &context);
        statements.push(Arc::new(
            statement.ok_or("it has prepared with SQL what cannot be prepared again")?,
        ));
    }
    let bytes: usize = statements.iter().map(|statement| statement.weight()).sum();
    if bytes > limits::MAX_SQL_STATEMENT_BYTES || statements.len() > limits::MAX_SQL_STATEMENTS {
        return Err("it has prepared more with SQL than there can be");
    }
    Ok(statements.into_iter().collect())
}

impl ClientStatements {
    /// Names and bodies of all of them, if all have one.
    fn pack(&self) -> Option<Vec<PackedStatement>> {
        let packed = self
            .iter()
            .map(|(name, statement)| Some((name.to_vec(), statement.body()?.to_vec(), statement.is_accepted())));
        packed.collect()
    }
}

fn pairs(overlay: &Overlay) -> Pairs {
    let all = overlay.iter();
    all.map(|setting| (setting.name.to_string(), setting.value.to_string()))
        .collect()
}
