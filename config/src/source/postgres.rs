//! `configuration` of the Postgres family.

use weir_core::settings::PoolSettings;

use super::effective::Layers;
use crate::{
    address,
    context::Context,
    fields::{self, Fields},
    keys,
    model::{AddressSource, PostgresConnection, PostgresSource, TlsSettings},
    pool::{self, Announce, Instances, PoolLayer},
    quote::shorten,
    scalars::{self, Located},
    tls, words,
    yaml::Node,
};

/// Routes that every source has, so that no member of a connection set can be called so.
const RESERVED_ROUTES: [&str; 3] = ["primary", "read_replicas", "default"];

/// Reads the configuration; `None` when something in it is wrong.
pub(super) fn read(
    cx: &mut Context<'_>,
    fields: Fields<'_>,
    layers: &Layers<'_>,
    instances: Instances,
) -> Option<PostgresSource> {
    let node = fields.required(cx, "connection_info", "configuration");
    let own = node.and_then(|node| Own::read(cx, node, "connection_info"));
    let primary_pool = own.as_ref().map(|own| own.pool.clone()).unwrap_or_default();
    let mut reader = Reader {
        cx,
        layers,
        instances,
        primary_pool,
    };
    if let Some(found) = layers.own(|layer| &layer.pass_through_login) {
        reader.cx.warn(
            &found.place,
            "pass_through_login is ignored: clients of PostgreSQL never send a password that could be passed on; see auth_query",
        );
    }
    let primary = own.and_then(|own| reader.primary(own));
    let read_replicas = reader.replicas(fields);
    let connection_set = reader.connection_set(fields);
    template(cx, fields);
    let extensions_schema = match fields.get("extensions_schema") {
        Some(node) => scalars::name(cx, "extensions_schema", node)?,
        None => "public".to_owned(),
    };
    Some(PostgresSource {
        primary: primary?,
        read_replicas: read_replicas?,
        connection_set: connection_set?,
        auth_query: layers
            .first(|layer| &layer.auth_query)
            .and_then(|found| found.value.clone()),
        extensions_schema,
    })
}

/// A connection as it is written, before settings of other places are merged in.
struct Own {
    address: address::Address,
    pool: PoolLayer,
    tls: Option<Located<TlsSettings>>,
    isolation_level: Option<crate::model::IsolationLevel>,
    use_prepared_statements: bool,
}

impl Own {
    /// Reads everything before giving up, so that all problems are reported.
    fn read(cx: &mut Context<'_>, node: &Node, what: &str) -> Option<Self> {
        let fields = Fields::of(cx, node, what, &keys::source::POSTGRES_CONNECTION)?;
        let address = fields
            .required(cx, "database_url", what)
            .and_then(|node| address::read(cx, "database_url", node));
        let pool = match fields.get("pool_settings") {
            Some(node) => {
                Fields::of(cx, node, "pool_settings", &keys::pool::KEYS).map(|fields| PoolLayer::read(cx, fields))
            }
            None => Some(PoolLayer::default()),
        };
        let tls = match fields.get("ssl_configuration") {
            Some(node) => tls::read(cx, node).map(|tls| Some(Located::new(tls, &node.place))),
            None => Some(None),
        };
        let isolation_level = match fields.get("isolation_level") {
            Some(node) => isolation_level(cx, node).map(Some),
            None => Some(None),
        };
        let use_prepared_statements = match fields.get("use_prepared_statements") {
            Some(node) => scalars::boolean(cx, "use_prepared_statements", node),
            None => Some(false),
        };
        Some(Own {
            address: address?,
            pool: pool?,
            tls: tls?,
            isolation_level: isolation_level?,
            use_prepared_statements: use_prepared_statements?,
        })
    }
}

struct Reader<'r, 'a> {
    cx: &'r mut Context<'a>,
    layers: &'r Layers<'r>,
    instances: Instances,
    primary_pool: PoolLayer,
}

impl Reader<'_, '_> {
    fn primary(&mut self, own: Own) -> Option<PostgresConnection> {
        let address = PoolLayer::of_address(own.address.connect_timeout, &own.address.place);
        let overlay = self.layers.overlay.map(|layer| layer.pool.clone()).unwrap_or_default();
        let layers = [
            &overlay,
            &self.layers.inline.pool,
            &own.pool,
            &address,
            &self.layers.defaults.pool,
        ];
        let pool = pool::resolve(self.cx, &layers, self.instances, Announce::First(3));
        self.finish(own, pool, Announce::First(3))
    }

    /// A replica or a member of the connection set: a pool of its own.
    fn other(&mut self, node: &Node, what: &str) -> Option<PostgresConnection> {
        let own = Own::read(self.cx, node, what)?;
        let address = PoolLayer::of_address(own.address.connect_timeout, &own.address.place);
        let overlay = self
            .layers
            .overlay
            .map(|layer| layer.pool.without_sizes())
            .unwrap_or_default();
        let inline = self.layers.inline.pool.without_sizes();
        let manner = self.primary_pool.manner();
        let layers = [
            &overlay,
            &own.pool,
            &inline,
            &manner,
            &address,
            &self.layers.defaults.pool,
        ];
        let pool = pool::resolve(self.cx, &layers, self.instances, Announce::Nothing);
        self.finish(own, pool, Announce::Nothing)
    }

    fn finish(&mut self, own: Own, pool: PoolSettings, announce: Announce) -> Option<PostgresConnection> {
        let tls = match announce {
            Announce::First(_) => self
                .layers
                .with_hasuras(self.cx, "ssl_configuration", |layer| &layer.tls, own.tls),
            Announce::Nothing => self.layers.own(|layer| &layer.tls).cloned().or(own.tls).or(self
                .layers
                .defaults
                .tls
                .clone()),
        };
        let place = tls.as_ref().map_or(own.address.place, |tls| tls.place.clone());
        let connection = PostgresConnection {
            label: own.address.label,
            address: own.address.source,
            pool,
            isolation_level: own.isolation_level,
            tls: tls.map(|tls| tls.value),
            use_prepared_statements: own.use_prepared_statements,
        };
        match (connection.resolve(), &connection.address) {
            (Ok(_), _) => Some(connection),
            (Err(error), AddressSource::Fixed(_)) => {
                self.cx.error(&place, error.to_string());
                None
            }
            // A file may be better by the time it is needed; that it cannot be read has been said already.
            (Err(error @ crate::model::ResolveError::Invalid { .. }), _) => {
                self.cx.warn(
                    &place,
                    format!("{error}; the file is read again for each new connection"),
                );
                Some(connection)
            }
            (Err(_), _) => Some(connection),
        }
    }

    fn replicas(&mut self, fields: Fields<'_>) -> Option<Vec<PostgresConnection>> {
        let Some(node) = fields.get("read_replicas") else {
            return Some(Vec::new());
        };
        let items = fields::list(self.cx, node, "read_replicas")?;
        if items.is_empty() {
            self.cx.error(&node.place, "read_replicas cannot be empty");
        }
        let replicas: Vec<_> = items.iter().map(|item| self.other(item, "a read replica")).collect();
        replicas.into_iter().collect()
    }

    fn connection_set(&mut self, fields: Fields<'_>) -> Option<Vec<(String, PostgresConnection)>> {
        let Some(node) = fields.get("connection_set") else {
            return Some(Vec::new());
        };
        let items = fields::list(self.cx, node, "connection_set")?;
        if items.is_empty() {
            self.cx.error(&node.place, "connection set cannot be empty");
        }
        let mut members: Vec<Option<(String, PostgresConnection)>> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for item in items {
            let member = self.member(item, &names);
            names.extend(item.get("name").and_then(|node| scalars::peek(self.cx, node)));
            members.push(member);
        }
        members.into_iter().collect()
    }

    fn member(&mut self, item: &Node, earlier: &[String]) -> Option<(String, PostgresConnection)> {
        const WHAT: &str = "a connection set member";
        let fields = Fields::of(self.cx, item, WHAT, &keys::source::MEMBER)?;
        let name = fields
            .required(self.cx, "name", WHAT)
            .and_then(|node| self.member_name(node, earlier));
        let node = fields.required(self.cx, "connection_info", WHAT);
        let connection = node.and_then(|node| self.other(node, "connection_info"));
        Some((name?, connection?))
    }

    fn member_name(&mut self, node: &Node, earlier: &[String]) -> Option<String> {
        let name = scalars::name(self.cx, "name", node)?;
        if earlier.contains(&name) {
            let message = format!(
                "connection set members with duplicate names are not allowed: {}",
                shorten(&name)
            );
            self.cx.error(&node.place, message);
            return None;
        }
        if RESERVED_ROUTES.contains(&name.as_str()) || name.contains('@') {
            let message = format!(
                "a connection set member cannot be called \"{}\": clients could not reach it",
                shorten(&name)
            );
            self.cx.error(&node.place, message);
            return None;
        }
        Some(name)
    }
}

fn isolation_level(cx: &mut Context<'_>, node: &Node) -> Option<crate::model::IsolationLevel> {
    scalars::word_or(cx, "isolation_level", node, words::ISOLATION_LEVELS, |unknown| {
        format!("isolation_level: {}", unknown.only_expecting())
    })
}

/// `connection_template` is checked and not followed.
fn template(cx: &mut Context<'_>, fields: Fields<'_>) {
    let Some(node) = fields.get("connection_template") else {
        return;
    };
    let Some(fields) = Fields::of(cx, node, "connection_template", &keys::source::TEMPLATE) else {
        return;
    };
    if let Some(node) = fields.get("version")
        && scalars::integer(cx, &keys::source::TEMPLATE_VERSION, node).is_some_and(|version| version != 1)
    {
        cx.error(&node.place, "connection_template: Supported versions are [1]");
    }
    if let Some(node) = fields.required(cx, "template", "connection_template")
        && scalars::name(cx, "template", node).is_some()
    {
        cx.warn(&node.place, "connection_template is not supported yet: every client gets $.default, unless it connects to name@primary, name@read_replicas or name@member");
    }
}
