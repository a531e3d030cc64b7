//! A client at rest goes on in another process.
//!
//! Invariants: nothing of it is in this process but what the dialogue packs; from the moment that it is offered until the
//! offer is refused, its socket is not read here.

use std::sync::Arc;

use super::{Ending, Held, Life, Prospect, lane::Body};
use crate::{
    backend::{Backend, Dialogue},
    front::{HandedClient, Offer, Rung, Successor},
    secret::Secret,
};

impl<B: Backend> Life<B> {
    /// Another process takes clients. One that cannot go anyway is not asked again and again whether it is at rest.
    pub(super) fn may_move_to(&mut self, successor: Arc<dyn Successor>) {
        self.successor = B::clear_socket(&self.io).map(|_| successor);
    }

    /// Whether the client wants nothing, holds nothing and is owed nothing.
    pub(super) fn is_at_rest(&self) -> bool {
        self.attached.is_none()
            && self.held == Held::Nothing
            && self.prospect == Prospect::Open
            && self.rung == Rung::No
            && !self.cancel.is_wanted()
            && self.cancel.is_over()
            && self.to_client.is_flushed()
            && self.to_client.unjudged() == 0
            && self.to_client.body() == Body::None
            && self.to_server.owed() == 0
            && self.to_server.unjudged() == 0
            && self.to_server.body() == Body::None
    }

    /// Offers the client, which is at rest, to the other process. One that is refused stays, and is offered again when
    /// somebody says so.
    pub(super) async fn hand_over(&mut self) -> Option<Ending> {
        let successor = self.successor.take()?;
        let client = self.pack()?;
        match successor.offer(client).await {
            Offer::Taken => Some(Ending::HandedOver),
            Offer::Refused => None,
        }
    }

    fn pack(&self) -> Option<HandedClient> {
        let profile = B::pack_profile(&self.profile)?;
        let dialogue = Secret::new(self.dialogue.pack()?);
        // Without a free file descriptor it stays.
        let socket = B::clear_socket(&self.io)?.duplicate().ok()?;
        let identity = &self.identity;
        Some(HandedClient {
            listener: identity.listener.clone(),
            user: identity.user.clone(),
            source: identity.source.clone(),
            target: self.route.target.clone(),
            application_name: identity.application_name.clone(),
            peer: identity.peer,
            socket,
            id: self.registration.id(),
            secret: Secret::new(self.registration.secret().to_vec()),
            dialogue,
            profile,
        })
    }
}
