//! From typed metadata to what serves: a source with its pools.

use std::{sync::Arc, time::Duration};

use weir_config::{MssqlConnection, MssqlSource, Pooling, Source as Declared};
use weir_core::{
    registry::{Pools, Source, SourceParts},
    settings::PoolSettings,
};

use crate::{Mssql, backend::PassThrough, session::SourceState};

/// The source as declared, with a pool for the primary and each replica. Opens nothing. `declared` is the whole source,
/// `definition` its part for this family.
pub fn source(declared: &Declared, definition: &MssqlSource) -> Arc<Source<Mssql>> {
    Source::new(declared.name.as_str().into(), parts(declared, definition, None))
}

/// The same for a source that serves already: a pool whose endpoint is declared as it was stays, with the settings that
/// are declared now.
pub fn parts(
    declared: &Declared,
    definition: &MssqlSource,
    present: Option<&SourceParts<Mssql>>,
) -> SourceParts<Mssql> {
    let pools = Pools::new(&declared.name, present);
    let pass_through = match definition.pass_through_login {
        true => PassThrough::Allowed,
        false => PassThrough::Refused,
    };
    let pool = |connection: &MssqlConnection, role: &'static str| {
        // Not shared between endpoints: what one server accepts, another may not.
        let endpoint = Mssql::new(
            connection.clone(),
            declared.application_name.clone(),
            pass_through,
            SourceState::new(),
            declared.session_state,
            declared.session_functions,
        )
        .with_pin_notice(declared.pin_notice);
        pools.pool(role, endpoint, pool_settings(connection), Mssql::is_like)
    };
    SourceParts {
        database_names: declared.database_names.clone(),
        primary: pool(&definition.primary, "primary"),
        replicas: definition
            .read_replicas
            .iter()
            .map(|replica| pool(replica, "replica"))
            .collect(),
        named: Vec::new(),
        replica_routing: declared.replica_routing,
        timeouts: declared.timeouts.clone(),
        max_client_connections: declared.max_client_connections,
        origins: declared.origins.clone(),
    }
}

/// With `{enable: false}` a connection is closed when its use is over.
fn pool_settings(connection: &MssqlConnection) -> PoolSettings {
    let settings = connection.pool.clone();
    match connection.pooling {
        Pooling::Pooled => settings,
        Pooling::PerUse => PoolSettings {
            min_connections: 0,
            connection_lifetime: Some(Duration::ZERO),
            ..settings
        },
    }
}
