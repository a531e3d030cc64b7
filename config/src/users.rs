//! Who may log in to the gateway: `users` of `gateway.yaml`.

use std::{collections::BTreeSet, sync::Arc};

use weir_core::settings::Origins;

use crate::{
    context::Context,
    fields::{self, Fields},
    keys::{self, Key},
    layer,
    model::{Password, PasswordSource, SecretSource, User, UserSources},
    password,
    problem::Subject,
    quote::shorten,
    scalars,
    source::Sources,
    suggest, words,
    yaml::{Node, Value},
};

/// The users that can log in. One that is wrong is left out and reported.
pub(crate) fn read(cx: &mut Context<'_>, node: Option<&Node>, sources: &Sources) -> Vec<User> {
    let Some(items) = node.and_then(|node| fields::list(cx, node, "users")) else {
        return Vec::new();
    };
    let mut users: Vec<User> = Vec::new();
    let mut names: BTreeSet<String> = BTreeSet::new();
    for (position, item) in items.iter().enumerate() {
        let written = item.get("name").and_then(|node| scalars::peek(cx, node));
        let label = written.unwrap_or_else(|| format!("user {}", position + 1));
        let (user, errors) = cx.about(Subject::User(label.clone()), |cx| {
            if !names.insert(label.clone()) {
                cx.error(
                    &item.place,
                    format!("there are two users with the name \"{}\"", shorten(&label)),
                );
            }
            one(cx, item, sources)
        });
        users.extend(user.filter(|_| errors.is_empty()));
    }
    users
}

fn one(cx: &mut Context<'_>, node: &Node, sources: &Sources) -> Option<User> {
    let fields = Fields::of(cx, node, "a user", &keys::user::KEYS)?;
    let name = fields
        .required(cx, "name", "the user")
        .and_then(|node| scalars::name(cx, "name", node));
    let password = fields.get("password").map(|node| self::password(cx, node));
    let certificate = fields
        .get("certificate")
        .map(|node| certificate(cx, node, name.as_deref().unwrap_or_default()));
    // A password or certificate that is wrong has been reported as such.
    if password.is_none() && matches!(certificate, None | Some(Some(None))) {
        cx.error(fields.place(), "the user has neither a password nor a certificate");
    }
    let allowed = allowed_sources(cx, fields, sources);
    let role = match fields.get("role") {
        Some(node) => scalars::name(cx, "role", node),
        None => Some("user".to_owned()),
    };
    let overrides = overrides(cx, fields);
    let user = User {
        name: name?,
        password: match password {
            Some(password) => Some(password?),
            None => None,
        },
        certificate: certificate.flatten().flatten(),
        sources: allowed?,
        role: role?,
        ..overrides
    };
    Some(user)
}

/// A user of whom only the limits and overrides are known. What is wrong is reported, which keeps the user out.
fn overrides(cx: &mut Context<'_>, fields: Fields<'_>) -> User {
    let pool_timeout = fields.any("pool_timeout").and_then(|node| match node.is_null() {
        true => Some(None),
        false => scalars::seconds(cx, &keys::user::POOL_TIMEOUT, node).map(Some),
    });
    let mut limit = |key: &Key| fields.get(key.name).and_then(|node| scalars::integer(cx, key, node));
    let max_client_connections = limit(&keys::user::MAX_CLIENT_CONNECTIONS);
    let max_connections = limit(&keys::user::MAX_CONNECTIONS);
    let read_only = fields
        .get("read_only")
        .and_then(|node| scalars::boolean(cx, "read_only", node));
    let pool_mode = fields
        .get("pool_mode")
        .and_then(|node| scalars::word(cx, "pool_mode", node, words::POOL_MODES));
    User {
        name: String::new(),
        password: None,
        certificate: None,
        sources: UserSources::Named(Vec::new()),
        role: String::new(),
        read_only: read_only.unwrap_or(false),
        pool_mode,
        query_timeout: layer::limit(cx, fields, &keys::layer::QUERY_TIMEOUT).map(|found| found.value),
        pool_timeout,
        caching: fields.get("caching").and_then(|node| layer::caching(cx, node)),
        max_client_connections,
        max_connections,
        origins: origins(fields),
    }
}

/// Where the limits were set.
fn origins(fields: Fields<'_>) -> Origins {
    let limits = [
        "query_timeout",
        "pool_timeout",
        "max_client_connections",
        "max_connections",
    ];
    let set = limits
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), fields.any(key)?.place.to_string())));
    Origins(Arc::new(set.collect()))
}

/// A password or verifier; one that is known now is checked now.
fn password(cx: &mut Context<'_>, node: &Node) -> Option<PasswordSource> {
    let source = scalars::secret(cx, "password", node)?;
    let SecretSource::Literal(text) = &source else {
        return Some(PasswordSource(source));
    };
    if password::looks_like_md5(text.expose()) {
        cx.warn(&node.place, "the password looks like an md5 hash and is taken for the clear text: give the clear text or a SCRAM-SHA-256 verifier");
    }
    match password::parse(text.clone()) {
        Ok(Password::Clear(_)) => {}
        Ok(Password::Scram(verifier)) => {
            for (key, length) in [
                ("stored", verifier.stored_key.expose().len()),
                ("server", verifier.server_key.expose().len()),
            ] {
                if length != password::KEY_BYTES {
                    let message = format!(
                        "the SCRAM verifier's {key} key has {length} bytes instead of {}: nobody can log in with it",
                        password::KEY_BYTES
                    );
                    cx.warn(&node.place, message);
                }
            }
        }
        Err(reason) => {
            cx.error(&node.place, reason);
            return None;
        }
    }
    Some(PasswordSource(source))
}

/// `true`, `false` or a common name. The outer `None` is an error.
fn certificate(cx: &mut Context<'_>, node: &Node, user: &str) -> Option<Option<String>> {
    match node.value {
        Value::Bool(true) => Some(Some(user.to_owned())),
        Value::Bool(false) => Some(None),
        _ => scalars::name(cx, "certificate", node).map(Some),
    }
}

fn allowed_sources(cx: &mut Context<'_>, fields: Fields<'_>, sources: &Sources) -> Option<UserSources> {
    let Some(node) = fields.get("sources") else {
        let advice = "list them, or write sources: \"*\"";
        cx.warn(
            fields.place(),
            format!("the user has no sources, so that it can connect to none: {advice}"),
        );
        return Some(UserSources::Named(Vec::new()));
    };
    if !matches!(node.value, Value::List(_)) {
        if scalars::text(cx, "sources", node)? == "*" {
            return Some(UserSources::All);
        }
        cx.error(&node.place, "sources must be a list of names or \"*\"");
        return None;
    }
    let names = scalars::names(cx, "sources", node)?;
    let mut known = Vec::new();
    for name in names {
        if sources.is_skipped(&name.value) {
            cx.warn(
                &name.place,
                format!(
                    "source \"{}\" is of a kind that the gateway does not serve",
                    shorten(&name.value)
                ),
            );
        } else if sources.is_declared(&name.value) {
            known.push(name.value);
        } else {
            let advice = suggest::nearest(&name.value, sources.names())
                .map(|nearest| format!(", did you mean \"{nearest}\"?"))
                .unwrap_or_default();
            // The rest of the list is as good as before.
            cx.error_aside(
                &name.place,
                format!(
                    "there is no source \"{}\" in the metadata{advice}",
                    shorten(&name.value)
                ),
            );
        }
    }
    Some(UserSources::Named(known))
}
