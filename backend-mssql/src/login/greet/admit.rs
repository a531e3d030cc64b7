//! From LOGIN7 to a client that is told "let in": authentication, places, the welcome.

use std::sync::Arc;

use bytes::BytesMut;
use weir_core::{
    backend::Access,
    clock,
    front::{self, Client, Grant, Identity, Registration, Terms},
    net::Peer,
    pool::Pool,
    refusal::Refusal,
    registry::{Route, Source, Target},
    settings::PoolMode,
};

use super::{
    Ended, FrontendSettings,
    authenticate::{Authenticated, authenticate},
    reception::Line,
};
use crate::{
    backend::Mssql,
    dialogue::Conversation,
    login::{
        limits,
        reply::{Told, Welcome},
        request::LoginRequest,
    },
    refusals::{Words, number},
    session::{Baseline, ConversationInit},
    settings::Profile,
    wire::{
        packet::{LOGIN_PACKET_SIZE, PacketKind, Status},
        reframe::Reframer,
    },
};

/// A client that was let in and told so.
pub(super) struct Admitted {
    dialogue: Conversation,
    route: Route<Mssql>,
    profile: Profile,
    terms: Terms,
    registration: Registration,
    identity: Identity,
}

impl Admitted {
    /// Joins it with its line.
    pub(super) fn seat(self, line: Line) -> Client<Mssql> {
        Client {
            io: line.stream,
            read_ahead: line.buffer,
            dialogue: self.dialogue,
            route: self.route,
            profile: self.profile,
            terms: self.terms,
            registration: self.registration,
            identity: self.identity,
        }
    }
}

/// Bytes of the secret of a client's place in the directory. Nobody is told: cancelling is in band. It only has to be
/// nobody else's.
pub(super) const SECRET: usize = 32;

/// Everything between LOGIN7 and the first request.
pub(super) async fn admit(
    settings: &FrontendSettings,
    line: &mut Line,
    login: LoginRequest,
    peer: Peer,
) -> Result<Admitted, Ended> {
    let encrypted = line.stream.is_encrypted();
    let database = database(settings, &login);
    let who = authenticate(settings, line, &login, &database, peer).await?;
    let user: Arc<str> = login.user.as_str().into();
    let read_only = login.profile.read_only_intent || who.grant.read_only;
    let (route, source) = route(settings, &database, &who, &user, read_only)?;
    let registration = settings
        .clients
        .register(SECRET)
        .map_err(|_| Words::new(number::TOO_BUSY, 20, "Too many clients."))
        .map_err(|words| Ended::told(words, "no id is free"))?;
    let profile = Profile {
        login: who.login.clone(),
        read_only_intent: read_only,
        ..login.profile.clone()
    };
    let (profile, baseline, welcome) = settle(&route, profile, &who.grant, line).await?;
    let spid = spid(registration.id());
    line.write(&answer(&login, &welcome, spid)).await?;

    let allowance = settings.user_counts.allowance(&user, &who.grant);
    let terms = Terms::new(&route, who.grant.clone(), allowance);
    let facts = Facts {
        login: &login,
        welcome: &welcome,
        source: &source,
        user: &user,
        profile: &profile,
        baseline,
        database,
        pool_mode: terms.pool_mode,
        read_only,
        spid,
        client_id: registration.id(),
    };
    Ok(Admitted {
        dialogue: Conversation::new(facts.conversation(&pool_of(&route))),
        profile,
        terms,
        registration,
        identity: Identity {
            listener: settings.listener.clone(),
            user,
            source: source.name.clone(),
            peer,
            encrypted,
            application_name: front::application_name(&login.application),
        },
        route,
    })
}

/// The name of the source that the client wants. One that names no database wants the only one, or the default.
fn database(settings: &FrontendSettings, login: &LoginRequest) -> String {
    if !login.database.is_empty() {
        return login.database.clone();
    }
    match &settings.registry.sources()[..] {
        [only] => only.parts().database_names.first().cloned().unwrap_or_default(),
        _ => DEFAULT_SOURCE.to_owned(),
    }
}

/// Hasura's name for the source that is meant when none is named.
const DEFAULT_SOURCE: &str = "default";

/// Finds the source, and takes the places that the client needs. Told only to who has authenticated itself.
fn route(
    settings: &FrontendSettings,
    database: &str,
    who: &Authenticated,
    user: &Arc<str>,
    read_only: bool,
) -> Result<(Route<Mssql>, Arc<Source<Mssql>>), Ended> {
    let (source, target) = settings.registry.find(database)?;
    if !who.grant.covers(&source.name) {
        let words = Words::new(
            number::NO_ACCESS,
            14,
            format!(
                "The server principal \"{user}\" is not able to access the database \"{database}\": the sources that a user \
                 may use are listed under users[].sources in gateway.yaml."
            ),
        );
        return Err(Ended::told(
            words,
            format!("user \"{user}\" may not use source \"{}\"", source.name),
        ));
    }
    let count = source.admit()?;
    let place = settings.user_counts.admit(user, &who.grant)?;
    // Who only reads is served by replicas, where there are any.
    let target = match target {
        Target::Default if read_only && !source.parts().replicas.is_empty() => Target::ReadReplicas,
        target => target,
    };
    Ok((Route::new(source.clone(), target, count).holding(place), source))
}

/// The connections that serve the client, what it has to find set on them, and what their server says. With a first
/// connection of a kind it may turn out that another kind does as well.
async fn settle(
    route: &Route<Mssql>,
    wanted: Profile,
    grant: &Grant,
    line: &Line,
) -> Result<(Profile, Baseline, Arc<Welcome>), Ended> {
    let mut turns = 0;
    loop {
        let (profile, baseline) = pool_of(route).backend().common(&wanted);
        let welcome = welcome(route, &profile, grant, line).await?;
        turns += 1;
        // Whatever comes of it is right; what changes all the time is a server's fault.
        if turns == limits::SETTLING || pool_of(route).backend().common(&wanted).0 == profile {
            return Ok((profile, baseline, welcome));
        }
    }
}

/// What a server of the source says to such a login: known from earlier connections, or from one that is opened now.
async fn welcome(route: &Route<Mssql>, profile: &Profile, grant: &Grant, line: &Line) -> Result<Arc<Welcome>, Ended> {
    let pool = pool_of(route);
    if let Some(known) = pool.backend().welcome(profile) {
        return Ok(known);
    }
    // The login's own deadline is not stretched by a long pool_timeout.
    let left = line.gate.deadline().duration_since(clock::now());
    let patience = match grant.pool_timeout.unwrap_or(pool.settings().pool_timeout) {
        Some(timeout) => timeout.min(left),
        None => left,
    };
    let lease = pool.acquire(profile.clone(), Some(patience)).await?;
    lease.finish();
    // It was just learnt; should so many kinds of sessions have come that it is forgotten again, another attempt will do.
    pool.backend().welcome(profile).ok_or_else(|| {
        let source = route.source.name.clone();
        Ended::from(Refusal::Open {
            source,
            error: weir_core::refusal::OpenError::Unreachable("too many kinds of sessions at once".to_owned()),
        })
    })
}

/// The answer to LOGIN7, in packets.
pub(super) fn answer(login: &LoginRequest, welcome: &Welcome, spid: u16) -> BytesMut {
    let mut tokens = BytesMut::new();
    let told = Told {
        tds_version: login.tds_version,
        packet_size: login.packet_size,
        database: &login.database,
        language: &login.language,
        notices: login.notices,
        features: login.profile.features,
    };
    welcome.write(&told, &mut tokens);
    let mut packets = BytesMut::with_capacity(tokens.len() + 16);
    // The new packet size counts from the next message on (TDS 1.2).
    let mut reframer = Reframer::new(LOGIN_PACKET_SIZE);
    reframer.set_spid(spid);
    reframer.begin(PacketKind::Response, Status::default());
    reframer.push(&tokens, &mut packets);
    reframer.end(&mut packets);
    packets
}

/// A number for the session before any server has given one (TDS 1.3).
pub(super) fn spid(client_id: u32) -> u16 {
    ((client_id & 0x7fff) as u16).max(1)
}

/// What a conversation is made of.
struct Facts<'a> {
    login: &'a LoginRequest,
    welcome: &'a Welcome,
    source: &'a Source<Mssql>,
    user: &'a str,
    profile: &'a Profile,
    baseline: Baseline,
    database: String,
    pool_mode: PoolMode,
    read_only: bool,
    spid: u16,
    client_id: u32,
}

impl Facts<'_> {
    fn conversation(self, pool: &Pool<Mssql>) -> ConversationInit {
        let backend = pool.backend();
        let Facts {
            login,
            welcome,
            source,
            profile,
            ..
        } = self;
        let asked_language = Some(&login.language).filter(|asked| !asked.is_empty());
        ConversationInit {
            pool_mode: self.pool_mode,
            session_state: backend.session_state(),
            replica_routing: source.parts().replica_routing,
            read_only: self.read_only,
            tds_version: login.tds_version,
            packet_size: login.packet_size,
            spid: self.spid,
            asked_database: match login.database.is_empty() {
                true => String::new(),
                false => self.database,
            },
            database: welcome.database.clone(),
            language: asked_language.unwrap_or(&welcome.language).clone(),
            baseline: self.baseline,
            asked_language: asked_language.cloned(),
            collation: welcome.collation,
            features: welcome.features_for(login.profile.features),
            notices: login.notices,
            profile: profile.clone(),
            tracker: backend.tracker().unwrap_or_default(),
            isolation_level: backend.opener().connection().isolation_level,
            server_name: welcome.server_name.clone(),
            shared: backend.shared().clone(),
            asker: backend.shared().asker(self.user, backend.session_functions()),
            pin_notice: backend.pin_notice(),
            client_id: self.client_id,
        }
    }
}

pub(super) fn pool_of(route: &Route<Mssql>) -> Arc<Pool<Mssql>> {
    route.pool(Access::ReadWrite)
}
