//! The HTTP interface: health, version, configuration, the metadata API, metrics, the page.
//!
//! Invariants: it never disturbs the data plane: everything a peer can grow is bounded (`limits`), what costs time happens
//! off the threads that serve clients, and whatever goes wrong here, also at the start, is logged and no more. Who may ask
//! for what is one table (`authorize`). Must not know how metadata is applied: that is an order to [`Control`].

mod authorize;
mod body;
mod config;
mod errors;
mod health;
mod limits;
mod metadata;
mod metrics;
mod page;
mod server;
mod version;

use std::{io, sync::Arc};

use axum::{Router, extract::DefaultBodyLimit, middleware, response::IntoResponse as _};
use tracing::{error, info, warn};
use weir_core::front::{HandedDoor, Inheritance};

use crate::serve::control::Control;

use authorize::Reach;
use server::{Bound, Failure, Server};

/// What every handler is given.
pub(crate) type Shared = Arc<Interface>;

/// See [`Shared`].
pub(crate) struct Interface {
    /// What runs.
    pub(crate) control: Control,
    reach: Reach,
    /// Earlier looks at the pools.
    recent: metadata::Looks,
    /// Requests that may have their body read at this moment.
    bodies: tokio::sync::Semaphore,
}

/// The interface while the process runs: open or not, as declared.
pub(crate) struct Http {
    control: Control,
    open: Option<Open>,
}

struct Open {
    host: String,
    port: u16,
    server: Server,
}

impl Http {
    /// Opens it where the present metadata says, with a predecessor's socket if that is there. When that cannot be, the log
    /// says so, and it is tried again with each change of the metadata.
    pub(crate) async fn open(control: Control, inherited: &Inheritance) -> Self {
        let mut http = Http { control, open: None };
        http.move_to_place(inherited).await;
        http
    }

    /// Moves to where it is declared now. The old address is given up only when the new one is open, except where it is the
    /// old one that is in the way; then it is taken back when the new one cannot be opened.
    pub(crate) async fn reload(&mut self) {
        self.move_to_place(&Inheritance::default()).await;
    }

    /// Its socket, for a successor. Nothing while it is not open.
    pub(crate) fn door(&self) -> Option<io::Result<HandedDoor>> {
        self.open.as_ref().and_then(|open| open.server.hand_over())
    }

    async fn move_to_place(&mut self, inherited: &Inheritance) {
        let state = self.control.state();
        let admin = &state.metadata.admin;
        if admin.disabled {
            self.stop().await;
            return;
        }
        let is_there = |open: &Open| open.host == admin.host && open.port == admin.port;
        if self.open.as_ref().is_some_and(is_there) {
            return;
        }
        let mut bound = server::bind(&admin.host, admin.port, inherited).await;
        let taken = matches!(&bound, Err(failure) if failure.kind == io::ErrorKind::AddrInUse);
        let old = self.open.as_ref().filter(|open| taken && open.port == admin.port);
        if let Some(old) = old.map(|open| open.host.clone()) {
            bound = self.make_way(&old, &admin.host, admin.port).await;
        }
        match bound.map_err(|failure| failure.reason) {
            Ok(bound) => self.serve(bound, &admin.host, admin.port).await,
            Err(reason) if admin.address_is_asked_for => {
                let present = self.open.as_ref().map(|open| format!("{}:{}", open.host, open.port));
                error!(
                    reason,
                    present, "HTTP interface not opened: no health, no metrics, no metadata API there"
                );
            }
            Err(reason) => warn!(
                reason,
                hint = "admin.port in gateway.yaml or HASURA_GRAPHQL_SERVER_PORT sets another port, admin.disabled: true does without",
                "HTTP interface not opened at its default address"
            ),
        }
    }

    /// Binds where this process itself may be in the way: one of the two is all addresses of the machine, and the port is the
    /// same. Whoever comes in between is refused.
    async fn make_way(&mut self, old: &str, host: &str, port: u16) -> Result<Bound, Failure> {
        self.stop().await;
        let bound = server::bind(host, port, &Inheritance::default()).await;
        if bound.is_err() {
            match server::bind(old, port, &Inheritance::default()).await {
                Ok(bound) => self.serve(bound, old, port).await,
                Err(failure) => error!(
                    reason = failure.reason,
                    "HTTP interface not opened again at its old address"
                ),
            }
        }
        bound
    }

    /// Answers there, and no more where it was before.
    async fn serve(&mut self, bound: Bound, host: &str, port: u16) {
        info!(address = %bound.address, reach = ?Reach::of(bound.address), "HTTP interface listens");
        let interface = Arc::new(Interface {
            control: self.control.clone(),
            reach: Reach::of(bound.address),
            recent: metadata::Looks::default(),
            bodies: tokio::sync::Semaphore::new(limits::MAX_BODIES),
        });
        let open = Open {
            host: host.to_owned(),
            port,
            server: bound.serve(router(interface)),
        };
        self.stop().await;
        self.open = Some(open);
    }

    /// Closes it; answers under way are finished, within their limit.
    pub(crate) async fn stop(&mut self) {
        if let Some(open) = self.open.take() {
            open.server.stop().await;
        }
    }
}

/// All areas. Whoever adds one adds its addresses to `authorize::TABLE`, or they do not exist.
fn router(shared: Shared) -> Router {
    Router::new()
        .merge(health::routes())
        .merge(version::routes())
        .merge(config::routes())
        .merge(metadata::routes())
        .merge(metrics::routes())
        .merge(page::routes())
        .method_not_allowed_fallback(|| async { errors::ApiError::method_not_allowed().into_response() })
        .fallback(|| async { errors::ApiError::not_found().into_response() })
        .layer(DefaultBodyLimit::max(limits::MAX_BODY))
        .layer(middleware::from_fn_with_state(shared.clone(), authorize::authorize))
        .with_state(shared)
}
