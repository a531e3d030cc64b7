//! `gateway.yaml`: what may stand in it, and the parts of it that concern sources.
//!
//! Invariant: when the file cannot be read, nothing is assumed to be absent from it: no listener is opened, and nobody
//! is trusted.

use crate::{
    context::Context,
    fields::{self, Fields},
    keys,
    layer::Layer,
    layout::GatewayDocument,
    problem::{Place, Subject},
    quote::shorten,
    scalars::{self, Located},
    source::{Sources, database_names},
    yaml::{Node, Value},
};

/// What `gateway.yaml` says.
pub(crate) struct GatewayFile<'g> {
    pub(crate) defaults: Layer,
    overlays: Vec<Overlay<'g>>,
    pub(crate) listeners: Option<&'g Node>,
    pub(crate) users: Option<&'g Node>,
    pub(crate) admin: Option<&'g Node>,
    /// Whether the file is as good as it can be known.
    pub(crate) state: State,
    /// Whether an `auth_query` or `pass_through_login` is written anywhere in it.
    pub(crate) has_auth_query: bool,
}

/// Whether the file can be relied on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Absent, or read.
    Known,
    /// Not readable, or of another version.
    Unknown,
}

/// An entry of `sources`.
pub(crate) struct Overlay<'g> {
    pub(crate) name: String,
    place: Place,
    pub(crate) layer: Layer,
    pub(crate) database_names: Option<Vec<Located<String>>>,
    /// Replaces parts of the source's `configuration`.
    pub(crate) configuration: Option<&'g Node>,
    /// What is wrong with it, and therefore with the source.
    pub(crate) errors: Vec<String>,
}

impl<'g> GatewayFile<'g> {
    /// Reads everything but listeners, users and `admin`.
    pub(crate) fn read(cx: &mut Context<'_>, document: &'g GatewayDocument) -> Self {
        let mut file = GatewayFile {
            defaults: Layer::default(),
            overlays: Vec::new(),
            listeners: None,
            users: None,
            admin: None,
            state: State::Known,
            has_auth_query: false,
        };
        let node = match document {
            GatewayDocument::Absent => return file,
            GatewayDocument::Broken => {
                return GatewayFile {
                    state: State::Unknown,
                    ..file
                };
            }
            GatewayDocument::Present(node) => node,
        };
        let Some(fields) = Fields::of(cx, node, "gateway.yaml", &keys::listener::GATEWAY) else {
            return GatewayFile {
                state: State::Unknown,
                ..file
            };
        };
        if let Some(version) = fields.get("version")
            && scalars::integer(cx, &keys::listener::VERSION, version) != Some(1)
        {
            cx.error(&version.place, "gateway.yaml must be of version 1");
            return GatewayFile {
                state: State::Unknown,
                ..file
            };
        }
        if let Some(defaults) = fields
            .get("defaults")
            .and_then(|node| Fields::of(cx, node, "defaults", &Layer::known(&[])))
        {
            file.defaults = Layer::read(cx, defaults);
        }
        file.has_auth_query = fields.get("defaults").is_some_and(asks_the_database);
        if let Some(items) = fields.get("sources").and_then(|node| fields::list(cx, node, "sources")) {
            file.has_auth_query |= items.iter().any(asks_the_database);
            items.iter().for_each(|item| file.overlay_of(cx, item));
        }
        file.listeners = fields.get("listeners");
        file.users = fields.get("users");
        file.admin = fields.get("admin");
        file
    }

    /// The overlay of a source.
    pub(crate) fn overlay(&self, source: &str) -> Option<&Overlay<'g>> {
        self.overlays.iter().find(|overlay| overlay.name == source)
    }

    /// Reports overlays of sources that do not exist, each as a source that cannot be served.
    pub(crate) fn check_overlays(&self, cx: &mut Context<'_>, sources: &Sources) {
        let orphans = self
            .overlays
            .iter()
            .filter(|overlay| !sources.is_declared(&overlay.name));
        for overlay in orphans {
            let known = sources.names();
            let advice = crate::suggest::nearest(&overlay.name, known.iter().copied())
                .map(|nearest| format!(", did you mean \"{nearest}\"?"))
                .unwrap_or_else(|| ": declare it there, or remove its entry here".to_owned());
            let message = format!(
                "sources: there is no source \"{}\" in the metadata{advice}",
                shorten(&overlay.name)
            );
            cx.about(Subject::Source(overlay.name.clone()), |cx| {
                cx.error(&overlay.place, message)
            });
        }
    }

    fn overlay_of(&mut self, cx: &mut Context<'_>, node: &'g Node) {
        let known = Layer::known(&keys::layer::OVERLAY);
        let name = node
            .get("name")
            .and_then(|node| scalars::peek(cx, node))
            .unwrap_or_default();
        let subject = if name.is_empty() {
            Subject::Everything
        } else {
            Subject::Source(name.clone())
        };
        let (overlay, errors) = cx.about(subject, |cx| {
            let fields = Fields::of(cx, node, "an entry of sources", &known)?;
            let named = fields.required(cx, "name", "an entry of sources")?;
            scalars::name(cx, "name", named)?;
            if let Some(first) = self.overlay(&name) {
                cx.error(
                    &named.place,
                    format!(
                        "sources: \"{}\" is listed twice (first at {})",
                        shorten(&name),
                        first.place
                    ),
                );
                return None;
            }
            Some(Overlay {
                place: named.place.clone(),
                layer: Layer::read(cx, fields),
                database_names: database_names(cx, fields),
                configuration: fields.get("configuration"),
                name: name.clone(),
                errors: Vec::new(),
            })
        });
        match overlay {
            Some(overlay) => self.overlays.push(Overlay { errors, ..overlay }),
            // A source whose overlay cannot be read must not run without it.
            None if !name.is_empty() => match self.overlays.iter_mut().find(|overlay| overlay.name == name) {
                Some(first) => first.errors.extend(errors),
                None => self.overlays.push(Overlay {
                    name,
                    place: node.place.clone(),
                    layer: Layer::default(),
                    database_names: None,
                    configuration: None,
                    errors,
                }),
            },
            None => {}
        }
    }
}

/// Whether a group of settings has an `auth_query` or `pass_through_login` that is not switched off.
pub(crate) fn asks_the_database(group: &Node) -> bool {
    let passes_through = group
        .get("pass_through_login")
        .is_some_and(|node| !node.is_null() && node.value != Value::Bool(false));
    passes_through || has_auth_query(group)
}

fn has_auth_query(group: &Node) -> bool {
    group.get("auth_query").is_some_and(|node| {
        let disabled = node.get("disabled").is_some_and(|node| node.value == Value::Bool(true));
        !node.is_null() && node.value != Value::Bool(false) && !disabled
    })
}
