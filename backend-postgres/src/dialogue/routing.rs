//! Which server may serve what comes next: only the primary, or a replica as well.
//!
//! A replica is chosen only for what cannot write whatever the data, judged by the whole group: what has not arrived yet
//! counts as a write. Clients that asked for replicas by name never get here with a choice; their route has none.

use weir_core::{
    backend::Access,
    settings::{PoolMode, ReplicaRouting},
};

use super::{Conversation, Permission};
use crate::{
    limits,
    session::classify::{self, Class, Shape},
    wire::{Head, bind::Bind, client, effective_name, parse::Parse, query},
};

impl Conversation {
    /// Which server may serve the request that begins with `bytes`; `Err` says how many bytes are needed to tell.
    pub(super) fn access_for(&self, head: Head, bytes: &[u8]) -> Result<Access, usize> {
        match (self.routing, self.permission, self.pool_mode) {
            (ReplicaRouting::None, ..) => Ok(Access::ReadWrite),
            (_, Permission::ReadOnly, _) => Ok(Access::ReadOnly),
            (_, Permission::Write, PoolMode::Session) => Ok(Access::ReadWrite),
            (_, Permission::Write, _) if head.kind == client::QUERY => self.access_for_query(head, bytes),
            (_, Permission::Write, _) => Ok(self.access_for_group(bytes)),
        }
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

    /// An extended group, if all of it is there.
    fn access_for_group(&self, bytes: &[u8]) -> Access {
        let mut rest = bytes;
        let mut unnamed = self.unnamed.as_ref().map(|statement| statement.class().clone());
        let mut parsed: Vec<(&[u8], Class)> = Vec::new();
        while let Some(head) = Head::read(rest)
            && let Some(message) = head.message(rest)
        {
            match head.kind {
                client::SYNC => return Access::ReadOnly,
                client::PARSE => {
                    let Some(parse) = Parse::read(message) else {
                        return Access::ReadWrite;
                    };
                    let class = classify::classify(parse.text());
                    match effective_name(parse.name) {
                        b"" => unnamed = Some(class),
                        name => parsed.push((name, class)),
                    }
                }
                client::BIND => {
                    let Some(bind) = Bind::read(message) else {
                        return Access::ReadWrite;
                    };
                    let name = effective_name(bind.statement);
                    let fresh = parsed
                        .iter()
                        .rev()
                        .find(|(parsed, _)| *parsed == name)
                        .map(|(_, class)| class);
                    let known = || self.statements.find(name).map(|(_, statement)| statement.class());
                    let class = if name.is_empty() {
                        unnamed.as_ref()
                    } else {
                        fresh.or_else(known)
                    };
                    if class.is_none_or(|class| self.access_of(class) == Access::ReadWrite) {
                        return Access::ReadWrite;
                    }
                }
                client::DESCRIBE | client::EXECUTE | client::CLOSE | client::FLUSH => {}
                _ => return Access::ReadWrite,
            }
            rest = &rest[message.len()..];
        }
        Access::ReadWrite
    }

    fn access_of(&self, class: &Class) -> Access {
        match (&class.shape, self.routing) {
            (Shape::BeginReadOnly, ReplicaRouting::ReadOnlyTransactions | ReplicaRouting::ReadOnlyStatements)
            | (Shape::ReadOnly, ReplicaRouting::ReadOnlyStatements) => Access::ReadOnly,
            _ => Access::ReadWrite,
        }
    }
}
