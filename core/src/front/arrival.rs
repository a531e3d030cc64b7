//! A client that another process has let in and hands over: what it may do is looked up anew, as at a login.
//!
//! Invariant: what is declared here decides, so that a client whose user, source or way is not declared any more stays
//! where it was. Its password is not asked for again: as after a reload, who is there stays. Must not know how it came
//! here: that only another process of the same user can bring it is the control socket's business.

use std::sync::Arc;

use super::{Credentials, Grant, HandedClient, Lookup, Terms, Trust, UserCounts};
use crate::{
    backend::Backend,
    registry::{Registry, Route},
};

/// What a listener knows of those who may be there.
pub struct Hosts<'a, B: Backend> {
    /// The sources.
    pub registry: &'a Registry<B>,
    /// Where users are looked up.
    pub credentials: &'a dyn Credentials,
    /// Whether clients on this machine need no password.
    pub trust: Trust,
    /// Clients of each user.
    pub user_counts: &'a UserCounts,
}

/// A client's place here.
pub struct Arrival<B: Backend> {
    /// Its way, with its places among the clients of the source and of the user.
    pub route: Route<B>,
    /// What applies to it.
    pub terms: Terms,
}

impl<B: Backend> Hosts<'_, B> {
    /// Finds a place for the client.
    ///
    /// # Errors
    /// Why there is none, for the log.
    pub async fn receive(&self, client: &HandedClient) -> Result<Arrival<B>, String> {
        let source = self.registry.source(&client.source);
        let source = source.ok_or_else(|| format!("source \"{}\" does not serve here", client.source))?;
        if !source.has(&client.target) {
            return Err("its database is not declared here".to_owned());
        }
        let database = source.parts().database_names.first().cloned();
        let grant = self
            .grant(client, database.as_deref().unwrap_or(&client.source))
            .await?;
        if !grant.covers(&source.name) {
            return Err(format!("user \"{}\" may not use the source here", client.user));
        }
        let count = source.admit_present().map_err(|why| why.to_string())?;
        let place = self.user_counts.admit(&client.user, &grant);
        let place = place.map_err(|why| why.to_string())?;
        let allowance = self.user_counts.allowance(&client.user, &grant);
        let route = Route::new(source, client.target.clone(), count).holding(place);
        let terms = Terms::new(&route, grant, allowance);
        Ok(Arrival { route, terms })
    }

    /// What the user may do here. It has proved who it is already, to the process that let it in.
    async fn grant(&self, client: &HandedClient, database: &str) -> Result<Arc<Grant>, String> {
        if client.peer.is_loopback() && self.trust == Trust::LoopbackAsAnybody {
            return Ok(Arc::new(Grant::everything()));
        }
        let user = &client.user;
        match self.credentials.lookup(user, database).await {
            Lookup::Found(account) => Ok(account.grant),
            Lookup::Unknown => Err(format!("there is no user \"{user}\" here")),
            Lookup::Unusable(reason) => Err(format!("user \"{user}\": {reason}")),
            Lookup::Unavailable(error) => Err(format!("user \"{user}\" cannot be looked up at the moment: {error}")),
        }
    }
}
