//! The list of sources: each is read on its own, and what is wrong with one never touches another.

mod configuration;
mod mssql;
mod overlay;
mod postgres;

pub(crate) use configuration::database_names;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use weir_core::settings::{Origins, Timeouts};

use crate::{
    context::Context,
    fields::{self, Fields},
    files::{Files, GRAPHQL_KEYS},
    gateway_file::GatewayFile,
    health_check,
    layer::Layer,
    model::{Definition, InconsistentSource, Source, SourceKind},
    pool::{Instances, announce},
    problem::{Place, Subject},
    quote::shorten,
    scalars::{self, Located},
    suggest,
    yaml::Node,
};

/// What became of the list.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) consistent: Vec<Source>,
    pub(crate) inconsistent: Vec<InconsistentSource>,
    /// Names of the sources that are of no kind that we serve.
    pub(crate) skipped: Vec<String>,
}

impl Sources {
    /// Whether a source of this name is declared, in whatever state.
    pub(crate) fn is_declared(&self, name: &str) -> bool {
        self.consistent.iter().any(|source| source.name == name)
            || self.inconsistent.iter().any(|source| source.name == name)
            || self.is_skipped(name)
    }

    /// The names of all sources, for suggestions.
    pub(crate) fn names(&self) -> Vec<&str> {
        let consistent = self.consistent.iter().map(|source| source.name.as_str());
        consistent
            .chain(self.inconsistent.iter().map(|source| source.name.as_str()))
            .collect()
    }

    /// Whether it is declared but of a kind that we do not serve.
    pub(crate) fn is_skipped(&self, name: &str) -> bool {
        self.skipped.iter().any(|skipped| skipped == name)
    }
}

/// Reads the list.
pub(crate) fn read_all(
    cx: &mut Context<'_>,
    files: &mut Files,
    list: &mut Node,
    file: &Path,
    gateway: &GatewayFile<'_>,
    instances: Instances,
) -> Sources {
    if list.is_null() {
        return Sources::default();
    }
    let Some(count) = fields::list(cx, list, "the list of sources").map(<[Node]>::len) else {
        return Sources::default();
    };
    let crate::yaml::Value::List(items) = &mut list.value else {
        return Sources::default();
    };
    let mut drafts: Vec<Draft> = Vec::with_capacity(count);
    for (position, item) in items.iter_mut().enumerate() {
        let label = format!("source {}", position + 1);
        let (item_file, mut reasons) =
            cx.about(Subject::Source(label.clone()), |cx| files.resolve_here(cx, item, file));
        let name = item
            .get("name")
            .and_then(|node| scalars::peek(cx, node))
            .unwrap_or(label);
        let (mut draft, further) = cx.about(Subject::Source(name.clone()), |cx| {
            files.resolve(cx, item, &item_file);
            Reader { cx, gateway, instances }.read(name, item, &drafts)
        });
        reasons.extend(further);
        reasons.extend(
            gateway
                .overlay(&draft.name)
                .map(|overlay| overlay.errors.clone())
                .unwrap_or_default(),
        );
        draft.reasons = reasons;
        drafts.push(draft);
    }
    sort(drafts)
}

fn sort(drafts: Vec<Draft>) -> Sources {
    let mut sources = Sources::default();
    for draft in drafts {
        match draft.source {
            Outcome::Skipped => sources.skipped.push(draft.name),
            Outcome::Read(source) if draft.reasons.is_empty() => sources.consistent.push(*source),
            Outcome::Read(_) | Outcome::Wrong => sources.inconsistent.push(InconsistentSource {
                name: draft.name,
                kind: draft.kind,
                database_names: draft.database_names,
                reason: draft.reasons.join("; "),
            }),
        }
    }
    sources
}

/// A source while the list is being read.
struct Draft {
    name: String,
    place: Place,
    kind: Option<SourceKind>,
    /// Without those that earlier sources have.
    database_names: Vec<String>,
    source: Outcome,
    reasons: Vec<String>,
}

enum Outcome {
    Read(Box<Source>),
    Wrong,
    Skipped,
}

/// What a kind means.
enum Kind {
    Served(SourceKind),
    /// BigQuery or a data connector.
    Foreign(String),
}

/// Reads one source.
struct Reader<'r, 'a, 'g> {
    cx: &'r mut Context<'a>,
    gateway: &'r GatewayFile<'g>,
    instances: Instances,
}

const SOURCE_KEYS: [&str; 6] = [
    "name",
    "kind",
    "configuration",
    "customization",
    "query_tags",
    "health_check",
];

impl Reader<'_, '_, '_> {
    fn read(&mut self, name: String, node: &Node, earlier: &[Draft]) -> Draft {
        let mut draft = Draft {
            name: name.clone(),
            place: node.place.clone(),
            kind: None,
            database_names: Vec::new(),
            source: Outcome::Wrong,
            reasons: Vec::new(),
        };
        let Some(fields) = Fields::unchecked(self.cx, node, "a source") else {
            return draft;
        };
        if let Some(named) = fields.required(self.cx, "name", "the source")
            && scalars::name(self.cx, "name", named).is_some()
        {
            draft.place = named.place.clone();
        }
        let kind = self.kind(fields);
        if let Some(Kind::Foreign(kind)) = &kind {
            self.cx.info(
                &node.place,
                format!(
                    "source \"{}\" is of kind {}, which the gateway does not serve: skipped",
                    shorten(&name),
                    kind
                ),
            );
            draft.source = Outcome::Skipped;
            return draft;
        }
        self.unknown_keys(&name, node);
        if let Some(first) = earlier.iter().find(|earlier| earlier.name == name) {
            let message = format!(
                "multiple declarations exist for the following source: \"{}\" (first at {})",
                shorten(&name),
                first.place
            );
            self.cx.error(&draft.place, message);
        }
        let Some(Kind::Served(kind)) = kind else {
            draft.database_names = self.free_names(&draft.name, vec![Located::new(name, &draft.place)], earlier);
            return draft;
        };
        draft.kind = Some(kind);
        let (names, source) = self.served(&name, kind, fields);
        let names = names.unwrap_or_else(|| vec![Located::new(name, &draft.place)]);
        draft.database_names = self.free_names(&draft.name, names, earlier);
        if let Some(source) = source {
            draft.source = Outcome::Read(Box::new(Source {
                database_names: draft.database_names.clone(),
                ..source
            }));
        }
        draft
    }

    fn kind(&mut self, fields: Fields<'_>) -> Option<Kind> {
        let Some(node) = fields.get("kind") else {
            return Some(Kind::Served(SourceKind::Postgres));
        };
        let text = scalars::name(self.cx, "kind", node)?;
        let kind = match text.as_str() {
            "postgres" | "pg" => SourceKind::Postgres,
            "alloy" => {
                self.cx.warn(&node.place, "kind alloy is treated as postgres");
                SourceKind::Postgres
            }
            "citus" => SourceKind::Citus,
            "cockroach" => SourceKind::Cockroach,
            "mssql" => SourceKind::Mssql,
            // Names of data connectors are the user's own choice, so that only near misses can be called mistakes.
            other => {
                let known = [
                    "postgres",
                    "postgresql",
                    "citus",
                    "cockroach",
                    "cockroachdb",
                    "mssql",
                    "alloydb",
                    "sqlserver",
                ];
                let connectors = other.starts_with("my") || other == "mongo" || other == "sqlite";
                let Some(nearest) = suggest::nearest(other, known).filter(|_| !connectors) else {
                    let shown = if scalars::is_written(node) {
                        shorten(other)
                    } else {
                        "another".to_owned()
                    };
                    return Some(Kind::Foreign(shown));
                };
                let meant = match nearest {
                    "postgresql" | "alloydb" => "postgres",
                    "cockroachdb" => "cockroach",
                    "sqlserver" => "mssql",
                    kind => kind,
                };
                self.cx.error(
                    &node.place,
                    format!("kind: \"{}\" is not known, did you mean `{meant}`?", shorten(other)),
                );
                return None;
            }
        };
        Some(Kind::Served(kind))
    }

    /// Hasura's CLI drops keys of a source that it does not know.
    fn unknown_keys(&mut self, name: &str, node: &Node) {
        let known: Vec<&str> = SOURCE_KEYS.into_iter().chain(GRAPHQL_KEYS).collect();
        let ours = Layer::known(&["gateway", "database_names"]);
        for entry in node
            .entries()
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()))
        {
            let is_ours = ours.contains(&entry.key.as_str());
            match suggest::nearest(&entry.key, known.iter().copied()).filter(|_| !is_ours) {
                Some(_) => self.cx.lint(
                    &entry.key_place,
                    fields::unknown_key(&entry.key, &format!("on source \"{}\"", shorten(name)), &known),
                ),
                None => {
                    let message = format!(
                        "unknown key \"{}\" on source \"{}\" (Hasura's CLI would drop it): put it under configuration.gateway or in gateway.yaml",
                        shorten(&entry.key),
                        shorten(name)
                    );
                    // A setting of ours that silently does nothing would be worse than a source that says why.
                    match is_ours {
                        true => self.cx.error(&entry.key_place, message),
                        false => self.cx.lint(&entry.key_place, message),
                    }
                }
            }
        }
    }

    /// Drops names that another source has, and says so.
    fn free_names(&mut self, source: &str, names: Vec<Located<String>>, earlier: &[Draft]) -> Vec<String> {
        let mut free: Vec<String> = Vec::new();
        for Located { value: name, place } in names {
            if name.contains('@') {
                let message = format!(
                    "the database name \"{}\" contains \"@\", which separates the name from @primary, @read_replicas and the connection set",
                    shorten(&name)
                );
                self.cx.error(&place, message);
            } else if let Some(other) = earlier.iter().find(|other| other.database_names.contains(&name)) {
                // Two declarations of one source have been reported as such.
                if other.name == source {
                    continue;
                }
                let message = format!(
                    "the database name \"{}\" already belongs to source \"{}\" ({})",
                    shorten(&name),
                    shorten(&other.name),
                    other.place
                );
                self.cx.error(&place, message);
            } else if !free.contains(&name) {
                free.push(name);
            }
        }
        free
    }

    /// A source of a kind that we serve: its database names, if any are set, and the source itself if it can be used.
    fn served(
        &mut self,
        name: &str,
        kind: SourceKind,
        fields: Fields<'_>,
    ) -> (Option<Vec<Located<String>>>, Option<Source>) {
        let overlay = self.gateway.overlay(name);
        let own_health_check = fields
            .get("health_check")
            .map(|node| (health_check::read(self.cx, node), &node.place));
        configuration::check_customization(self.cx, fields);
        configuration::check_query_tags(self.cx, fields);
        let Some(configuration) = fields.required(self.cx, "configuration", "the source") else {
            return (overlay.and_then(|overlay| overlay.database_names.clone()), None);
        };
        let mut configuration = configuration.clone();
        if let Some(over) = overlay.and_then(|overlay| overlay.configuration) {
            overlay::merge(self.cx, &mut configuration, over);
        }
        let Some(configuration) = Fields::of(self.cx, &configuration, "configuration", configuration::keys(kind))
        else {
            return (overlay.and_then(|overlay| overlay.database_names.clone()), None);
        };
        let inline = configuration::inline(self.cx, configuration);
        let database_names = overlay
            .and_then(|overlay| overlay.database_names.clone())
            .or(inline.database_names);
        let layers = Layers {
            overlay: overlay.map(|overlay| &overlay.layer),
            inline: &inline.layer,
            defaults: &self.gateway.defaults,
        };
        let definition = match kind {
            SourceKind::Mssql => mssql::read(self.cx, configuration, &layers, self.instances)
                .map(|source| Definition::Mssql(Box::new(source))),
            _ => postgres::read(self.cx, configuration, &layers, self.instances)
                .map(|source| Definition::Postgres(Box::new(source))),
        };
        let mut origins = BTreeMap::new();
        if let Some(place) = database_names
            .as_ref()
            .and_then(|names| names.first())
            .map(|first| &first.place)
        {
            origins.insert("database_names".to_owned(), place.to_string());
        }
        let mut effective = Effective {
            cx: self.cx,
            layers: &layers,
            origins,
        };
        layers.announce(
            effective.cx,
            "health_check",
            |layer| &layer.health_check,
            own_health_check.as_ref().map(|(_, place)| *place),
        );
        let health_check = match (
            layers.overlay_or_inline(|layer| &layer.health_check),
            own_health_check,
            &layers.defaults.health_check,
        ) {
            (Some(found), _, _) => Some(found.value.clone()),
            (None, Some((own, _)), _) => own,
            (None, None, default) => default.as_ref().map(|found| found.value.clone()),
        };
        let source = definition.map(|definition| Source {
            name: name.to_owned(),
            database_names: Vec::new(),
            kind,
            definition,
            timeouts: effective.timeouts(),
            replica_routing: effective
                .pick("read_replica_routing", |layer| &layer.read_replica_routing)
                .unwrap_or_default(),
            session_state: effective
                .pick("session_state", |layer| &layer.session_state)
                .unwrap_or_default(),
            // That of `defaults` is the limit of the whole process.
            max_client_connections: layers
                .overlay_or_inline(|layer| &layer.max_client_connections)
                .map(|found| {
                    effective
                        .origins
                        .insert("max_client_connections".to_owned(), found.place.to_string());
                    found.value
                }),
            health_check,
            startup_parameters: effective
                .pick("startup_parameters", |layer| &layer.startup_parameters)
                .unwrap_or_default(),
            application_name: effective.pick("application_name", |layer| &layer.application_name),
            caching: effective.pick("caching", |layer| &layer.caching).unwrap_or_default(),
            origins: Origins(Arc::new(effective.origins)),
        });
        (database_names, source)
    }
}

/// The three places of the gateway's own settings, strongest first.
struct Layers<'l> {
    overlay: Option<&'l Layer>,
    inline: &'l Layer,
    defaults: &'l Layer,
}

impl Layers<'_> {
    /// The strongest value.
    fn first<T>(&self, field: impl Fn(&Layer) -> &Option<Located<T>>) -> Option<&Located<T>> {
        self.overlay_or_inline(&field).or(field(self.defaults).as_ref())
    }

    /// Says so when a value stands in two places that are the source's own; `hasura` is where Hasura's key stands.
    fn announce<T>(
        &self,
        cx: &mut Context<'_>,
        name: &str,
        field: impl Fn(&Layer) -> &Option<Located<T>>,
        hasura: Option<&Place>,
    ) {
        let ours = [
            self.overlay.and_then(|layer| field(layer).as_ref()),
            field(self.inline).as_ref(),
        ];
        let mut places = ours.into_iter().flatten().map(|found| &found.place).chain(hasura);
        if let (Some(strongest), Some(hidden)) = (places.next(), places.next()) {
            announce(cx, name, strongest, hidden);
        }
    }

    /// The strongest value that is the source's own.
    fn overlay_or_inline<T>(&self, field: impl Fn(&Layer) -> &Option<Located<T>>) -> Option<&Located<T>> {
        self.overlay
            .and_then(|layer| field(layer).as_ref())
            .or(field(self.inline).as_ref())
    }
}

/// Picks values and remembers where they came from.
struct Effective<'l, 'a> {
    cx: &'l mut Context<'a>,
    layers: &'l Layers<'l>,
    origins: BTreeMap<String, String>,
}

impl Effective<'_, '_> {
    fn pick<T: Clone>(&mut self, name: &str, field: impl Fn(&Layer) -> &Option<Located<T>>) -> Option<T> {
        let found = self.layers.first(&field)?;
        self.layers.announce(self.cx, name, &field, None);
        self.origins.insert(name.to_owned(), found.place.to_string());
        Some(found.value.clone())
    }

    fn timeouts(&mut self) -> Timeouts {
        Timeouts {
            query: self.pick("query_timeout", |layer| &layer.query_timeout).flatten(),
            idle_in_transaction: self
                .pick("idle_in_transaction_timeout", |layer| {
                    &layer.idle_in_transaction_timeout
                })
                .flatten(),
            transaction: self
                .pick("transaction_timeout", |layer| &layer.transaction_timeout)
                .flatten(),
            client_idle: self
                .pick("client_idle_timeout", |layer| &layer.client_idle_timeout)
                .flatten(),
            ..Timeouts::default()
        }
    }
}
