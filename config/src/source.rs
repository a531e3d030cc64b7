//! The list of sources: each is read on its own, and what is wrong with one never touches another.

mod configuration;
mod effective;
mod mssql;
mod overlay;
mod postgres;

pub(crate) use configuration::database_names;

use std::path::Path;

use effective::{Body, Layers};

use crate::{
    context::Context,
    fields::{self, Fields},
    files::{Files, GRAPHQL_KEYS},
    gateway_file::GatewayFile,
    health_check, keys,
    layer::Layer,
    model::{Definition, InconsistentSource, Source, SourceKind},
    pool::Instances,
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
            other => {
                let shown = if scalars::is_written(node) {
                    shorten(other)
                } else {
                    "another".to_owned()
                };
                let Some(meant) = misspelt_kind(other) else {
                    return Some(Kind::Foreign(shown));
                };
                self.cx.error(
                    &node.place,
                    format!("kind: \"{shown}\" is not known, did you mean `{meant}`?"),
                );
                return None;
            }
        };
        Some(Kind::Served(kind))
    }

    /// Hasura's CLI drops keys of a source that it does not know.
    fn unknown_keys(&mut self, name: &str, node: &Node) {
        let known: Vec<&str> = keys::names(&keys::source::KEYS)
            .into_iter()
            .chain(GRAPHQL_KEYS)
            .collect();
        let ours = Layer::known(&[keys::source::GATEWAY, keys::layer::DATABASE_NAMES]);
        for entry in node
            .entries()
            .iter()
            .filter(|entry| !known.contains(&entry.key.as_str()))
        {
            let is_ours = ours.iter().any(|key| key.name == entry.key);
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
        let overlay_names = overlay.and_then(|overlay| overlay.database_names.clone());
        let health_check = fields
            .get("health_check")
            .and_then(|node| health_check::read(self.cx, node).map(|found| Located::new(found, &node.place)));
        configuration::check_customization(self.cx, fields);
        configuration::check_query_tags(self.cx, fields);
        let Some(configuration) = fields.required(self.cx, "configuration", "the source") else {
            return (overlay_names, None);
        };
        let mut configuration = configuration.clone();
        if let Some(over) = overlay.and_then(|overlay| overlay.configuration) {
            overlay::merge(self.cx, &mut configuration, over);
        }
        let Some(configuration) = Fields::of(self.cx, &configuration, "configuration", configuration::keys(kind))
        else {
            return (overlay_names, None);
        };
        let inline = configuration::inline(self.cx, configuration);
        let names = overlay_names.or(inline.database_names);
        let layers = Layers {
            overlay: overlay.map(|overlay| &overlay.layer),
            inline: &inline.layer,
            defaults: &self.gateway.defaults,
        };
        let definition = self.definition(kind, configuration, &layers);
        let names_place = names
            .as_ref()
            .and_then(|names| names.first())
            .map(|first| first.place.clone());
        let source = definition.map(|definition| {
            let body = Body {
                name: name.to_owned(),
                kind,
                definition,
                health_check,
                names_place,
            };
            effective::assemble(self.cx, &layers, body)
        });
        (names, source)
    }

    fn definition(&mut self, kind: SourceKind, configuration: Fields<'_>, layers: &Layers<'_>) -> Option<Definition> {
        match kind {
            SourceKind::Mssql => {
                let source = mssql::read(self.cx, configuration, layers, self.instances)?;
                Some(Definition::Mssql(Box::new(source)))
            }
            SourceKind::Postgres | SourceKind::Citus | SourceKind::Cockroach => {
                let source = postgres::read(self.cx, configuration, layers, self.instances)?;
                Some(Definition::Postgres(Box::new(source)))
            }
        }
    }
}

/// The kind that was probably meant. Names of data connectors are the user's own choice, so that only near misses can be
/// called mistakes.
fn misspelt_kind(text: &str) -> Option<&'static str> {
    const MEANT: [(&str, &str); 8] = [
        ("postgres", "postgres"),
        ("postgresql", "postgres"),
        ("alloydb", "postgres"),
        ("citus", "citus"),
        ("cockroach", "cockroach"),
        ("cockroachdb", "cockroach"),
        ("mssql", "mssql"),
        ("sqlserver", "mssql"),
    ];
    if text.starts_with("my") || text == "sqlite" {
        return None;
    }
    let nearest = suggest::nearest(text, MEANT.map(|(word, _)| word))?;
    MEANT.iter().find(|(word, _)| *word == nearest).map(|(_, kind)| *kind)
}
