//! Metadata of version 2 has no sources: its one database comes from the environment, and so do its pool settings
//! (deprecated since Hasura 2.0, but still what such a deployment runs with).

use crate::{
    context::Context,
    problem::Place,
    yaml::{Node, Value},
};

/// Hasura's variable, its place in a source, and its default where that differs from a source's.
const POOL_VARIABLES: [(&str, &str); 5] = [
    ("HASURA_GRAPHQL_PG_CONNECTIONS", "max_connections"),
    ("HASURA_GRAPHQL_PG_TIMEOUT", "idle_timeout"),
    ("HASURA_GRAPHQL_PG_CONN_LIFETIME", "connection_lifetime"),
    ("HASURA_GRAPHQL_PG_POOL_TIMEOUT", "pool_timeout"),
    ("HASURA_GRAPHQL_NO_OF_RETRIES", "retries"),
];

/// The list with the source `default`, written as if it stood in `databases.yaml`.
pub(super) fn build(cx: &mut Context<'_>) -> Option<Node> {
    let variable = ["HASURA_GRAPHQL_DATABASE_URL", "PG_DATABASE_URL"]
        .into_iter()
        .find(|name| cx.setting(name).is_some());
    let Some(variable) = variable else {
        cx.error(
            &Place::whole("version.yaml"),
            "cannot import metadata without sources since no default source is defined: set HASURA_GRAPHQL_DATABASE_URL, or use metadata of version 3",
        );
        return None;
    };
    let place = Place::whole(format!("environment variable {variable}"));
    let url = Node::map(&place, vec![("from_env", Node::string(&place, variable))]);
    let mut connection = vec![("database_url", url), ("pool_settings", pool_settings(cx, &place))];
    let prepared = match cx.setting("HASURA_GRAPHQL_USE_PREPARED_STATEMENTS") {
        Some((text, place)) => Node::new(&place, typed(&text)),
        None => Node::new(&place, Value::Bool(true)),
    };
    connection.push(("use_prepared_statements", prepared));
    if let Some((level, place)) = cx.setting("HASURA_GRAPHQL_TX_ISOLATION") {
        connection.push(("isolation_level", Node::string(&place, level)));
    }
    let configuration = Node::map(&place, vec![("connection_info", Node::map(&place, connection))]);
    let source = Node::map(
        &place,
        vec![
            ("name", Node::string(&place, "default")),
            ("kind", Node::string(&place, "postgres")),
            ("configuration", configuration),
        ],
    );
    Some(Node::new(&place, Value::List(vec![source])))
}

fn pool_settings(cx: &Context<'_>, place: &Place) -> Node {
    let settings = POOL_VARIABLES.into_iter().filter_map(|(variable, key)| {
        cx.setting(variable)
            .map(|(text, place)| (key, Node::new(&place, typed(&text))))
    });
    Node::map(place, settings.collect())
}

/// As YAML would read it.
fn typed(text: &str) -> Value {
    match (text.trim().parse::<f64>(), text) {
        (Ok(number), _) => Value::Number(number, text.to_owned()),
        (_, "true") => Value::Bool(true),
        (_, "false") => Value::Bool(false),
        _ => Value::String(text.to_owned()),
    }
}
