//! The settings of a source that are not its pools', merged by precedence.

use std::{collections::BTreeMap, sync::Arc};

use weir_core::settings::{Origins, Timeouts};

use crate::{
    context::Context,
    layer::Layer,
    model::{Definition, HealthCheck, Source, SourceKind},
    pool::announce,
    problem::Place,
    scalars::Located,
};

/// The three places of the gateway's own settings, strongest first.
pub(super) struct Layers<'l> {
    /// The source's entry in `gateway.yaml`.
    pub(super) overlay: Option<&'l Layer>,
    /// `configuration.gateway`
    pub(super) inline: &'l Layer,
    /// `defaults` of `gateway.yaml`.
    pub(super) defaults: &'l Layer,
}

impl Layers<'_> {
    /// The strongest value.
    pub(super) fn first<T>(&self, field: impl Fn(&Layer) -> &Option<Located<T>>) -> Option<&Located<T>> {
        self.own(&field).or(field(self.defaults).as_ref())
    }

    /// The strongest value that is the source's own.
    pub(super) fn own<T>(&self, field: impl Fn(&Layer) -> &Option<Located<T>>) -> Option<&Located<T>> {
        self.overlay
            .and_then(|layer| field(layer).as_ref())
            .or(field(self.inline).as_ref())
    }

    /// The strongest value; `hasura` is what stands at Hasura's own key, which comes before the defaults. Says so when
    /// it is in two places.
    pub(super) fn with_hasuras<T: Clone>(
        &self,
        cx: &mut Context<'_>,
        name: &str,
        field: impl Fn(&Layer) -> &Option<Located<T>>,
        hasura: Option<Located<T>>,
    ) -> Option<Located<T>> {
        self.announce(cx, name, &field, hasura.as_ref().map(|found| &found.place));
        self.own(&field).cloned().or(hasura).or(field(self.defaults).clone())
    }

    /// Says so when a value stands in two places that are the source's own.
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
}

/// What a source consists of besides its settings.
pub(super) struct Body {
    pub(super) name: String,
    pub(super) kind: SourceKind,
    pub(super) definition: Definition,
    /// Hasura's own key.
    pub(super) health_check: Option<Located<HealthCheck>>,
    /// Where `database_names` stands.
    pub(super) names_place: Option<Place>,
}

/// Puts a source together. Its database names are still to come.
pub(super) fn assemble(cx: &mut Context<'_>, layers: &Layers<'_>, body: Body) -> Source {
    let mut effective = Effective {
        cx,
        layers,
        origins: BTreeMap::new(),
    };
    effective.note("database_names", body.names_place.as_ref());
    // That of `defaults` is the limit of the whole process.
    let max_client_connections = layers.own(|layer| &layer.max_client_connections);
    effective.note(
        "max_client_connections",
        max_client_connections.map(|found| &found.place),
    );
    let health_check = layers.with_hasuras(
        effective.cx,
        "health_check",
        |layer| &layer.health_check,
        body.health_check,
    );
    effective.note("health_check", health_check.as_ref().map(|found| &found.place));
    Source {
        name: body.name,
        database_names: Vec::new(),
        kind: body.kind,
        definition: body.definition,
        timeouts: effective.timeouts(),
        replica_routing: effective
            .pick("read_replica_routing", |layer| &layer.read_replica_routing)
            .unwrap_or_default(),
        session_state: effective
            .pick("session_state", |layer| &layer.session_state)
            .unwrap_or_default(),
        sequence_functions: effective
            .pick("sequence_functions", |layer| &layer.sequence_functions)
            .unwrap_or_default(),
        session_functions: effective
            .pick("session_functions", |layer| &layer.session_functions)
            .unwrap_or_default(),
        shared_listener: effective
            .pick("shared_listener", |layer| &layer.shared_listener)
            .unwrap_or(true),
        pin_notice: effective
            .pick("pin_notice", |layer| &layer.pin_notice)
            .unwrap_or_default(),
        max_client_connections: max_client_connections.map(|found| found.value),
        health_check: health_check.map(|found| found.value),
        startup_parameters: effective
            .pick("startup_parameters", |layer| &layer.startup_parameters)
            .unwrap_or_default(),
        application_name: effective.pick("application_name", |layer| &layer.application_name),
        caching: effective.pick("caching", |layer| &layer.caching).unwrap_or_default(),
        origins: Origins(Arc::new(effective.origins)),
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
        let found = self.layers.with_hasuras(self.cx, name, field, None)?;
        self.note(name, Some(&found.place));
        Some(found.value)
    }

    fn note(&mut self, name: &str, place: Option<&Place>) {
        self.origins
            .extend(place.map(|place| (name.to_owned(), place.to_string())));
    }

    fn timeouts(&mut self) -> Timeouts {
        Timeouts {
            query: self.pick("query_timeout", |layer| &layer.query_timeout).flatten(),
            idle_in_transaction: self
                .pick(IDLE_IN_TRANSACTION, |layer| &layer.idle_in_transaction_timeout)
                .flatten(),
            transaction: self
                .pick("transaction_timeout", |layer| &layer.transaction_timeout)
                .flatten(),
            client_idle: self
                .pick("client_idle_timeout", |layer| &layer.client_idle_timeout)
                .flatten(),
            linger: self
                .pick("linger_ms", |layer| &layer.linger)
                .filter(|linger| !linger.is_zero()),
            ..Timeouts::default()
        }
    }
}

const IDLE_IN_TRANSACTION: &str = "idle_in_transaction_timeout";
