//! The configuration reference: what [`crate::keys`] knows, as Markdown.
//!
//! Pure: the gateway prints it, and a test compares it with the file in `docs/`.

use crate::keys::{
    Default, Key, Kind, Origin, admin, environment::VARIABLES, layer, listener, pool, source, telemetry, user,
};

/// One mapping of the metadata.
pub struct Table {
    /// Its heading; keys refer to it.
    pub title: &'static str,
    /// Where it stands.
    pub place: &'static str,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// All mappings, in the order in which a reader meets them.
pub fn tables() -> Vec<Table> {
    let table = |title, place, keys: &[&[Key]]| Table {
        title,
        place,
        keys: keys.concat(),
    };
    vec![
        table("A source", "`databases/databases.yaml`, each item", &[&source::KEYS]),
        table(
            "`configuration`",
            "a source of the Postgres family; SQL Server has `connection_info`, `read_replicas` and `gateway`",
            &[&source::POSTGRES_CONFIGURATION],
        ),
        table(
            "`connection_info`",
            "`configuration`, each item of `read_replicas`, each member of `connection_set`",
            &[&source::POSTGRES_CONNECTION],
        ),
        table(
            "`connection_info` of SQL Server",
            "`configuration`, each item of `read_replicas`",
            &[&source::MSSQL_CONNECTION],
        ),
        table(
            "`database_url`",
            "when it is a mapping; exactly one of these",
            &[&source::ADDRESS],
        ),
        table(
            "`connection_parameters`",
            "`database_url`",
            &[&source::CONNECTION_PARAMETERS],
        ),
        table("`connection_set`", "`configuration`, each item", &[&source::MEMBER]),
        table("`connection_template`", "`configuration`", &[&source::TEMPLATE]),
        table(
            "`pool_settings`",
            "`connection_info` (for this pool), or `gateway.yaml` (for all pools of the source). A place that sets `max_connections` or `total_max_connections` hides both of every lower place",
            &[&pool::KEYS, &[pool::ENABLE]],
        ),
        table(
            "`ssl_configuration`",
            "`connection_info`, `sources`, `listeners`",
            &[&source::TLS],
        ),
        table(
            "`health_check`",
            "a source, or `gateway.yaml`",
            &[&source::HEALTH_CHECK],
        ),
        table("`health_check.test`", "`health_check`", &[&source::HEALTH_TEST]),
        table("`customization`", "a source; only checked", &[&source::CUSTOMIZATION]),
        table("`root_fields`", "`customization`", &[&source::ROOT_FIELDS]),
        table("`type_names`", "`customization`", &[&source::TYPE_NAMES]),
        table("`query_tags`", "a source; only checked", &[&source::QUERY_TAGS]),
        table("`gateway.yaml`", "beside `databases/`", &[&listener::GATEWAY]),
        table("`listeners`", "`gateway.yaml`, each item", &[&listener::KEYS]),
        table("`users`", "`gateway.yaml`, each item", &[&user::KEYS]),
        table(
            "`sources`",
            "`gateway.yaml`, each item; also `defaults`, and `configuration.gateway` in `databases.yaml`",
            &[&layer::OVERLAY, &layer::KEYS],
        ),
        table("`auth_query`", "`sources`", &[&layer::AUTH_QUERY]),
        table("`caching`", "`sources`, `users`", &[&layer::CACHING]),
        table("`admin`", "`gateway.yaml`", &[&admin::KEYS]),
        table(
            "`opentelemetry.yaml`",
            "Hasura's own file, beside `databases/`; `opentelemetry` of a single file",
            &[&telemetry::KEYS],
        ),
        table("`exporter_otlp`", "`opentelemetry.yaml`", &[&telemetry::EXPORTER]),
        table("`headers`", "`exporter_otlp`, each item", &[&telemetry::HEADER]),
        table(
            "`resource_attributes`",
            "`exporter_otlp`, each item",
            &[&telemetry::ATTRIBUTE],
        ),
        table("`batch_span_processor`", "`opentelemetry.yaml`", &[&telemetry::BATCH]),
    ]
}

/// The tables and the environment variables as Markdown.
pub fn markdown() -> String {
    let tables = tables();
    let mut text = String::new();
    for table in &tables {
        text.push_str(&format!("## {}\n\nIn: {}.\n\n", table.title, table.place));
        text.push_str("| key | type | default | of | meaning |\n|---|---|---|---|---|\n");
        for key in &table.keys {
            text.push_str(&row(key, &tables));
        }
        text.push('\n');
    }
    text.push_str("## Environment\n\n| variable | default | of | meaning |\n|---|---|---|---|\n");
    for variable in VARIABLES {
        let origin = word_for(variable.origin);
        text.push_str(&format!(
            "| `{}` | {} | {origin} | {} |\n",
            variable.name, variable.default, variable.about
        ));
    }
    text.push('\n');
    text
}

fn word_for(origin: Origin) -> &'static str {
    match origin {
        Origin::Hasura => "Hasura",
        Origin::Weir => "Weir",
    }
}

fn row(key: &Key, tables: &[Table]) -> String {
    let default = match key.default {
        Default::Required => "required".to_owned(),
        Default::None => "none".to_owned(),
        Default::Value(value) => value(),
        Default::Words(words) => words.to_owned(),
    };
    let origin = word_for(key.origin);
    format!(
        "| `{}` | {} | {default} | {origin} | {} |\n",
        key.name,
        kind(key.kind, tables),
        key.about.replace('|', "\\|")
    )
}

fn kind(kind: Kind, tables: &[Table]) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Boolean => "`true` or `false`".to_owned(),
        Kind::Integer(least, u32::MAX) => format!("number, at least {least}"),
        Kind::Integer(least, most) => format!("number, {least} to {most}"),
        Kind::Seconds(0.0) => "seconds".to_owned(),
        Kind::Seconds(least) => format!("seconds, at least {least}"),
        Kind::Limit => "seconds; `null` and 0 = no limit".to_owned(),
        Kind::Word(words) => words()
            .iter()
            .map(|word| format!("`{word}`"))
            .collect::<Vec<_>>()
            .join(", "),
        Kind::Secret => "secret".to_owned(),
        Kind::Pem => "PEM".to_owned(),
        Kind::Names => "list of texts".to_owned(),
        Kind::Group(title) => linked(title, tables),
        Kind::List(title) => format!("list of {}", linked(title, tables)),
        Kind::Other(words) => words.to_owned(),
    }
}

/// A link to the table of this title, when there is one.
fn linked(title: &str, tables: &[Table]) -> String {
    match tables.iter().any(|table| table.title == title) {
        true => format!("[{title}](#{})", anchor(title)),
        false => "mapping".to_owned(),
    }
}

/// As GitHub makes anchors of headings.
fn anchor(title: &str) -> String {
    title
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '_' || c == '-' => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mapping_that_a_key_names_is_described() {
        let tables = tables();
        for key in tables.iter().flat_map(|table| &table.keys) {
            if let Kind::Group(title) | Kind::List(title) = key.kind {
                let known = tables.iter().any(|table| table.title == title);
                assert!(known, "{} refers to {title}, which has no table", key.name);
            }
        }
    }

    #[test]
    fn a_row_says_bounds_defaults_and_origin() {
        let text = markdown();
        let rows = [
            "| `max_connections` | number, 1 to 262143 | 50 | Hasura |",
            "| `pool_mode` | `transaction`, `session`, `statement` | transaction | Weir |",
        ];
        for row in rows {
            assert!(text.contains(row), "{row} is not in\n{text}");
        }
    }

    #[test]
    fn no_key_stands_twice_in_a_mapping() {
        for table in tables() {
            let mut names: Vec<_> = table.keys.iter().map(|key| key.name).collect();
            names.sort_unstable();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", table.title);
        }
    }
}
