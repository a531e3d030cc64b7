//! Which server may serve what comes next: only the primary, or a replica as well.
//!
//! A replica is chosen only for what cannot write whatever the data, judged by the whole group: what has not arrived yet
//! counts as a write. Clients that asked for replicas by name never get here with a choice; their route has none.

use std::collections::HashSet;

use weir_core::{
    backend::Access,
    settings::{PoolMode, ReplicaRouting},
};

use super::{Conversation, Permission};
use crate::{
    limits,
    session::classify::{self, Class, Shape},
    wire::{Head, bind::Bind, client, effective_name, named::Named, parse::Parse, query},
};

impl Conversation {
    /// Which server may serve the request that begins with `bytes`; `Err` says how many bytes are needed to tell.
    pub(super) fn access_for(&self, head: Head, bytes: &[u8]) -> Result<Access, usize> {
        match (self.routing, self.permission, self.pool_mode) {
            (ReplicaRouting::None, ..) => Ok(Access::ReadWrite),
            _ if self.is_serializable() => Ok(Access::ReadWrite),
            // A standby cannot be made to listen to what the client listens to.
            _ if self.is_listening() => Ok(Access::ReadWrite),
            (_, Permission::ReadOnly, _) => Ok(Access::ReadOnly),
            (_, Permission::Write, PoolMode::Session) => Ok(Access::ReadWrite),
            (_, Permission::Write, _) if head.kind == client::QUERY => self.access_for_query(head, bytes),
            (_, Permission::Write, _) => Ok(self.access_for_group(bytes)),
        }
    }

    /// Whether the client's transactions are SERIALIZABLE unless they say otherwise, which a standby refuses (0A000).
    fn is_serializable(&self) -> bool {
        let level = self.overlay.get("default_transaction_isolation");
        level.is_some_and(|level| level.eq_ignore_ascii_case("serializable"))
    }

    fn access_for_query(&self, head: Head, bytes: &[u8]) -> Result<Access, usize> {
        if head.total() > limits::MAX_PEEK as u64 {
            return Ok(Access::ReadWrite);
        }
        let Some(message) = head.message(bytes) else {
            return Err(head.total() as usize);
        };
        Ok(self.access_of(&classify::classify(query::text(head.body(message)))))
    }

    /// An extended group, if all of it is there. What is only prepared or described counts too: a replica may not know
    /// yet what a statement that writes is about.
    fn access_for_group(&self, bytes: &[u8]) -> Access {
        let mut rest = bytes;
        let mut fresh: HashSet<&[u8]> = HashSet::new();
        while let Some(head) = Head::read(rest)
            && let Some(message) = head.message(rest)
        {
            let is_read = match head.kind {
                client::SYNC => return Access::ReadOnly,
                client::PARSE => Parse::read(message).is_some_and(|parse| {
                    fresh.insert(effective_name(parse.name));
                    self.is_read(&classify::classify(parse.text()))
                }),
                client::BIND => Bind::read(message).is_some_and(|bind| self.reads(bind.statement, &fresh)),
                client::DESCRIBE => match Named::read(message) {
                    Some(Named::Statement(name)) => self.reads(name, &fresh),
                    Some(Named::Portal) => true,
                    None => false,
                },
                client::EXECUTE | client::CLOSE | client::FLUSH => true,
                _ => false,
            };
            if !is_read {
                return Access::ReadWrite;
            }
            rest = &rest[message.len()..];
        }
        Access::ReadWrite
    }

    /// Whether the statement of this name reads: one of those parsed just before, which all do, or one from earlier.
    fn reads(&self, name: &[u8], fresh: &HashSet<&[u8]>) -> bool {
        let name = effective_name(name);
        let known = match name {
            b"" => self.unnamed.as_ref(),
            name => self.statements.find(name).map(|(_, statement)| statement),
        };
        fresh.contains(name) || known.is_some_and(|statement| self.is_read(statement.class()))
    }

    fn is_read(&self, class: &Class) -> bool {
        self.access_of(class) == Access::ReadOnly
    }

    fn access_of(&self, class: &Class) -> Access {
        match (&class.shape, self.routing) {
            (Shape::BeginReadOnly, ReplicaRouting::ReadOnlyTransactions | ReplicaRouting::ReadOnlyStatements)
            | (Shape::ReadOnly, ReplicaRouting::ReadOnlyStatements) => Access::ReadOnly,
            _ => Access::ReadWrite,
        }
    }
}
