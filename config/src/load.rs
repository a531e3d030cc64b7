//! Puts the pieces together. Never panics, never stops at the first problem.

use std::{path::Path, time::Duration};

use crate::{
    admin,
    context::Context,
    document::Changes,
    environment::Environment,
    gateway_file::{GatewayFile, State, asks_the_database},
    layer,
    layout::{self, Layout},
    listeners,
    model::{Admission, Listener, ListenerKind, Loaded, Metadata},
    pool::Instances,
    problem::{Place, Severity, Subject},
    source::{self, Sources},
    telemetry, users,
    yaml::{Node, Value},
};

/// How long transactions may take to finish when the gateway stops, unless `HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT` says
/// otherwise. Hasura's number.
const GRACEFUL_SHUTDOWN: Duration = Duration::from_secs(60);

/// Loads a metadata directory, a project directory, or a single file. With `strict`, keys that nobody knows are errors.
///
/// Whatever can be understood is in the result, and so is everything that is wrong. Reads files and the environment, and
/// nothing else; blocks.
pub fn load(path: &Path, env: &dyn Environment, strict: bool) -> Loaded {
    load_in(Context::new(env, strict), path)
}

/// What [`load`] would return if `changes` were written.
pub fn load_changed(path: &Path, env: &dyn Environment, strict: bool, changes: &Changes) -> Loaded {
    let mut cx = Context::new(env, strict);
    cx.staged = changes.staged();
    load_in(cx, path)
}

/// Judges a metadata document (`{"sources": [...]}`) that stands nowhere. Problems are reported in the file `request`.
pub fn load_document(document: &serde_json::Value, env: &dyn Environment) -> Loaded {
    // In no folder of this machine: there is no `gateway.yaml` beside it, and nothing to include.
    let path = Path::new("/nonexistent/weir/request.json");
    let mut cx = Context::new(env, false);
    cx.staged.insert(path.to_owned(), Some(document.to_string()));
    load_in(cx, path)
}

fn load_in(mut cx: Context<'_>, path: &Path) -> Loaded {
    let Layout {
        mut files,
        sources: found,
        gateway: document,
        shape,
    } = layout::find(&mut cx, path);
    let sources_are_known = match &found {
        Some((list, _)) => matches!(list.value, Value::List(_) | Value::Null),
        // Missing is as good as empty; anything else has been reported.
        None => cx.problems.iter().all(|problem| problem.severity != Severity::Error),
    };
    let gateway = GatewayFile::read(&mut cx, &document);
    let instances = Instances::read(&mut cx);
    let mut has_auth_query = gateway.has_auth_query;
    let sources = match found {
        Some((mut list, file)) => {
            let sources = source::read_all(&mut cx, &mut files, &mut list, &file, &gateway, instances);
            has_auth_query |= has_inline_auth_query(&list);
            sources
        }
        None => Sources::default(),
    };
    gateway.check_overlays(&mut cx, &sources);
    let users = users::read(&mut cx, gateway.users, &sources);
    let admission = match has_auth_query || declares_users(&gateway) {
        true => Admission::Checked,
        false => Admission::LoopbackOnly,
    };
    let listeners = listeners::read(&mut cx, gateway.listeners, gateway.state, admission, &kinds(&sources));
    check_kinds(
        &mut cx,
        &sources,
        &listeners.consistent,
        !listeners.inconsistent.is_empty(),
    );
    let client_limit_place = gateway
        .defaults
        .max_client_connections
        .as_ref()
        .map(|found| &found.place);
    let admin = admin::read(&mut cx, gateway.admin);
    let (declared, _) = cx.about(Subject::Telemetry, |cx| layout::telemetry(cx, &mut files, &shape));
    let telemetry = telemetry::read(&mut cx, declared.as_ref());
    let metadata = Metadata {
        sources: sources.consistent,
        inconsistent: sources.inconsistent,
        sources_are_known,
        listeners: listeners.consistent,
        inconsistent_listeners: listeners.inconsistent,
        users,
        admission,
        admin,
        telemetry,
        max_client_connections: gateway
            .defaults
            .max_client_connections
            .as_ref()
            .map(|found| found.value),
        origins: layer::origins("max_client_connections", client_limit_place),
        graceful_shutdown_timeout: graceful_shutdown(&mut cx),
    };
    finish(cx, metadata)
}

fn finish(mut cx: Context<'_>, metadata: Metadata) -> Loaded {
    cx.problems
        .sort_by(|a, b| (&a.place, a.severity).cmp(&(&b.place, b.severity)));
    cx.problems.dedup();
    cx.files.sort();
    cx.files.dedup();
    Loaded {
        metadata,
        problems: cx.problems,
        files: cx.files,
    }
}

/// Users that are wrong count as well: a typing error must not open the door.
fn declares_users(gateway: &GatewayFile<'_>) -> bool {
    let empty = gateway
        .users
        .is_none_or(|node| matches!(&node.value, Value::List(items) if items.is_empty()));
    gateway.state == State::Unknown || !empty
}

fn has_inline_auth_query(list: &Node) -> bool {
    let Value::List(items) = &list.value else { return false };
    // What could not be included might have had one.
    let is_broken = |node: Option<&Node>| node.is_some_and(|node| node.value == Value::Broken);
    items.iter().any(|item| {
        let configuration = item.get("configuration");
        let gateway = configuration.and_then(|node| node.get("gateway"));
        is_broken(Some(item))
            || is_broken(configuration)
            || is_broken(gateway)
            || gateway.is_some_and(asks_the_database)
    })
}

/// The protocols of the declared sources; PostgreSQL when there are none.
fn kinds(sources: &Sources) -> Vec<ListenerKind> {
    let consistent = sources.consistent.iter().map(|source| source.kind.listener_kind());
    let inconsistent = sources
        .inconsistent
        .iter()
        .map(|source| source.kind.map_or(ListenerKind::Postgres, |kind| kind.listener_kind()));
    let kinds: Vec<_> = consistent.chain(inconsistent).collect();
    match kinds.contains(&ListenerKind::Mssql) {
        true if !kinds.contains(&ListenerKind::Postgres) => vec![ListenerKind::Mssql],
        true => vec![ListenerKind::Postgres, ListenerKind::Mssql],
        false => vec![ListenerKind::Postgres],
    }
}

/// Says which sources no client can reach.
fn check_kinds(cx: &mut Context<'_>, sources: &Sources, listeners: &[Listener], some_inconsistent: bool) {
    if some_inconsistent {
        return;
    }
    for source in &sources.consistent {
        let kind = source.kind.listener_kind();
        if !listeners.iter().any(|listener| listener.kind == kind) {
            let message = format!(
                "no listener is of kind {}, so that no client can reach source \"{}\"",
                kind.as_str(),
                source.name
            );
            cx.warn(&Place::whole("gateway.yaml"), message);
        }
    }
}

fn graceful_shutdown(cx: &mut Context<'_>) -> Duration {
    let Some((text, place)) = cx.setting("HASURA_GRAPHQL_GRACEFUL_SHUTDOWN_TIMEOUT") else {
        return GRACEFUL_SHUTDOWN;
    };
    match text.trim().parse::<u32>() {
        Ok(seconds) => Duration::from_secs(seconds.into()),
        Err(_) => {
            cx.error(&place, "must be a whole number of seconds");
            GRACEFUL_SHUTDOWN
        }
    }
}
