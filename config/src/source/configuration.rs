//! The parts of a source that are the same for every kind.

use crate::{
    context::Context,
    fields::Fields,
    keys::{self, Key},
    layer::Layer,
    model::SourceKind,
    scalars::{self, Located},
    words,
};

/// The keys of `configuration`.
pub(super) fn keys(kind: SourceKind) -> &'static [Key] {
    match kind {
        SourceKind::Mssql => &keys::source::MSSQL_CONFIGURATION,
        _ => &keys::source::POSTGRES_CONFIGURATION,
    }
}

/// `configuration.gateway`
#[derive(Default)]
pub(super) struct Inline {
    pub(super) layer: Layer,
    pub(super) database_names: Option<Vec<Located<String>>>,
}

/// Reads `configuration.gateway`.
pub(super) fn inline(cx: &mut Context<'_>, configuration: Fields<'_>) -> Inline {
    let Some(node) = configuration.get("gateway") else {
        return Inline::default();
    };
    let Some(fields) = Fields::of(cx, node, "configuration.gateway", &Layer::known(&keys::layer::INLINE)) else {
        return Inline::default();
    };
    Inline {
        layer: Layer::read(cx, fields),
        database_names: database_names(cx, fields),
    }
}

/// `database_names`: at least one.
pub(crate) fn database_names(cx: &mut Context<'_>, fields: Fields<'_>) -> Option<Vec<Located<String>>> {
    let node = fields.get("database_names")?;
    let names = scalars::names(cx, "database_names", node)?;
    if names.is_empty() {
        cx.error(&node.place, "database_names cannot be empty");
        return None;
    }
    Some(names)
}

/// `customization` shapes the GraphQL API; it is only checked.
pub(super) fn check_customization(cx: &mut Context<'_>, source: Fields<'_>) {
    let Some(node) = source.get("customization") else {
        return;
    };
    let Some(fields) = Fields::of(cx, node, "customization", &keys::source::CUSTOMIZATION) else {
        return;
    };
    if let Some(node) = fields.get("naming_convention") {
        let _ = scalars::word(cx, "naming_convention", node, words::NAMING_CONVENTIONS);
    }
    for (key, known) in [
        ("root_fields", keys::source::ROOT_FIELDS.as_slice()),
        ("type_names", &keys::source::TYPE_NAMES),
    ] {
        let Some(fields) = fields.get(key).and_then(|node| Fields::of(cx, node, key, known)) else {
            continue;
        };
        for inner in known
            .iter()
            .filter_map(|inner| fields.get(inner.name).map(|node| (inner.name, node)))
        {
            let _ = scalars::text(cx, inner.0, inner.1);
        }
    }
}

/// `query_tags` concern statements that Hasura writes; they are only checked.
pub(super) fn check_query_tags(cx: &mut Context<'_>, source: Fields<'_>) {
    let Some(node) = source.get("query_tags") else { return };
    let Some(fields) = Fields::of(cx, node, "query_tags", &keys::source::QUERY_TAGS) else {
        return;
    };
    if let Some(node) = fields.get("disabled") {
        let _ = scalars::boolean(cx, "disabled", node);
    }
    if let Some(node) = fields.get("format") {
        let _ = scalars::word(cx, "format", node, words::TAG_FORMATS);
    }
}
