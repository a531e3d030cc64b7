//! From typed metadata to what serves: a source with its pools, and the places where its users are looked up.

use std::sync::Arc;

use weir_config::{
    AddressSource, Admission, IsolationLevel, ListenerTls, ListenerTlsMode, Metadata, PostgresConnection,
    PostgresSource, SecretSource, SessionStatePolicy, Source as Declared, SourceKind, User,
};
pub use weir_core::front::UsersDeclared;
use weir_core::{
    net::tls::{ClientCertificates, Pem, ServerTls, ServerTlsSettings, TlsVersions},
    registry::{Pools, Source, SourceParts},
};

use crate::{
    Postgres,
    listen::Hub,
    login::{
        credentials::{AuthQuery, Chain, Credentials, Users, Verifiers},
        server::Opener,
    },
    session::SourceState,
};

/// The source as declared, with a pool for the primary, each replica, and each member of the connection set. Opens
/// nothing. `declared` is the whole source, `definition` its part for this family.
pub fn source(declared: &Declared, definition: &PostgresSource) -> Arc<Source<Postgres>> {
    Source::new(declared.name.as_str().into(), parts(declared, definition, None))
}

/// The same for a source that serves already: a pool whose endpoint is declared as it was stays, with the settings that
/// are declared now.
pub fn parts(
    declared: &Declared,
    definition: &PostgresSource,
    present: Option<&SourceParts<Postgres>>,
) -> SourceParts<Postgres> {
    let pools = Pools::new(&declared.name, present);
    let pool = |connection: &PostgresConnection, role: &'static str| {
        // Not shared between endpoints: what one server accepts, another may not.
        let endpoint = Postgres::new(
            connection.clone(),
            startup_parameters(declared, connection),
            declared.application_name.clone(),
            source_state(declared),
            session_state(declared),
            declared.sequence_functions,
        )
        .with_pin_notice(declared.pin_notice);
        pools.pool(role, endpoint, connection.pool.clone(), Postgres::is_like)
    };
    SourceParts {
        database_names: declared.database_names.clone(),
        primary: pool(&definition.primary, "primary"),
        replicas: definition
            .read_replicas
            .iter()
            .map(|replica| pool(replica, "replica"))
            .collect(),
        named: definition
            .connection_set
            .iter()
            .map(|(member, connection)| (member.clone(), pool(connection, "connection_set")))
            .collect(),
        replica_routing: declared.replica_routing,
        timeouts: declared.timeouts.clone(),
        max_client_connections: declared.max_client_connections,
        origins: declared.origins.clone(),
    }
}

/// Where the users of all sources are looked up: in `gateway.yaml` first, then in the database of the source that the
/// client asks for, if it has an `auth_query`. Also whether there is any user to be found at all.
pub fn credentials(metadata: &Metadata, verifiers: &Arc<Verifiers>) -> (Arc<dyn Credentials>, UsersDeclared) {
    let users = users(&metadata.users, verifiers);
    let mut places: Vec<Arc<dyn Credentials>> = vec![users];
    places.extend(metadata.sources.iter().filter_map(|source| {
        let weir_config::Definition::Postgres(definition) = &source.definition else {
            return None;
        };
        auth_query(source, definition, verifiers).map(|place| Arc::new(place) as Arc<dyn Credentials>)
    }));
    // Not by what was found here: users and sources that are wrong are missing, and must not open the door.
    let declared = match metadata.admission {
        Admission::LoopbackOnly => UsersDeclared::None,
        Admission::Checked => UsersDeclared::Some,
    };
    (Arc::new(Chain(places)), declared)
}

/// TLS of a listener called `listener`, from its material as it is now. Blocks: reads files and opens keys.
///
/// # Errors
/// Which setting cannot be used, and why.
pub fn server_tls(listener: &str, tls: &ListenerTls) -> Result<ServerTls, String> {
    ServerTls::new(&server_tls_settings(listener, tls)?).map_err(|error| error.to_string())
}

/// What [`server_tls`] is made of, to see whether renewed files say anything new. Blocks: reads files.
///
/// # Errors
/// Which setting cannot be used, and why. A verify mode without `sslrootcert` is one: it would ask nobody for anything.
pub fn server_tls_settings(listener: &str, tls: &ListenerTls) -> Result<ServerTlsSettings, String> {
    let origin = |key: &str| format!("listener {listener}, ssl_configuration.{key}");
    let secret = |source: &SecretSource, key: &str| {
        let text = source.resolve();
        text.map_err(|error| format!("{}: {error}", origin(key)))
    };
    let pem = |source: &SecretSource, key: &str| {
        secret(source, key).map(|text| Pem::new(origin(key), text.expose().as_bytes()))
    };
    let root = tls.client_root_certificate.as_ref();
    let root = root.map(|root| pem(root, "sslrootcert")).transpose()?;
    let passphrase = tls.key_password.as_ref();
    Ok(ServerTlsSettings {
        certificate: pem(&tls.certificate, "sslcert")?,
        key: pem(&tls.key, "sslkey")?,
        passphrase: passphrase.map(|password| secret(password, "sslpassword")).transpose()?,
        client_certificates: match (tls.mode, root) {
            (ListenerTlsMode::ClientCertificate | ListenerTlsMode::ClientCertificateNamed, Some(root)) => {
                ClientCertificates::Required(root)
            }
            (ListenerTlsMode::ClientCertificate | ListenerTlsMode::ClientCertificateNamed, None) => {
                return Err(format!("{}: verify-ca and verify-full need it", origin("sslrootcert")));
            }
            // A root without a verify mode still lets users log in with a certificate.
            (_, Some(root)) => ClientCertificates::Optional(root),
            (_, None) => ClientCertificates::Ignored,
        },
        alpn: vec![ALPN.to_vec()],
        versions: TlsVersions::All,
    })
}

/// What clients of PostgreSQL name when they start with TLS at once.
const ALPN: &[u8] = b"postgresql";

fn users(declared: &[User], verifiers: &Arc<Verifiers>) -> Arc<Users> {
    let users = Arc::new(Users::new(declared, verifiers.clone()));
    // The first login of each user need not pay for it.
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        let users = users.clone();
        runtime.spawn_blocking(move || users.prepare());
    }
    users
}

fn auth_query(declared: &Declared, definition: &PostgresSource, verifiers: &Arc<Verifiers>) -> Option<AuthQuery> {
    let settings = definition.auth_query.as_ref()?;
    let connection = match &settings.connection {
        None => definition.primary.clone(),
        Some(address) => with_address(&definition.primary, address),
    };
    Some(AuthQuery::new(
        declared.name.as_str().into(),
        declared.database_names.clone(),
        settings.query.clone(),
        Opener::new(connection, Vec::new()),
        verifiers.clone(),
    ))
}

/// Another address, with the TLS settings of the primary (`ssl_configuration` is about the database, not the role).
fn with_address(primary: &PostgresConnection, address: &AddressSource) -> PostgresConnection {
    PostgresConnection {
        label: format!("{} (auth_query)", primary.label),
        address: address.clone(),
        ..primary.clone()
    }
}

/// CockroachDB does not say where a setting comes from, so nothing can be followed there.
fn session_state(declared: &Declared) -> SessionStatePolicy {
    match declared.kind {
        SourceKind::Cockroach => SessionStatePolicy::Reset,
        _ => declared.session_state,
    }
}

/// Where nothing follows a client, each LISTEN ends with its transaction or has a connection of its own.
fn source_state(declared: &Declared) -> Arc<SourceState> {
    match (declared.shared_listener, session_state(declared)) {
        (true, SessionStatePolicy::Follow) => SourceState::listening(Hub::new()),
        _ => SourceState::new(),
    }
}

/// What the source wants set in each of its sessions.
fn startup_parameters(declared: &Declared, connection: &PostgresConnection) -> Vec<(String, String)> {
    let mut parameters: Vec<(String, String)> = declared
        .startup_parameters
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut add = |name: &str, value: &str| {
        if !parameters.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
            parameters.push((name.to_owned(), value.to_owned()));
        }
    };
    if let Some(name) = &declared.application_name {
        add("application_name", name);
    }
    // Hasura begins its transactions with this level; applications begin their own, so it becomes their default.
    match connection.isolation_level {
        None | Some(IsolationLevel::ReadCommitted) => {}
        Some(IsolationLevel::RepeatableRead) => add("default_transaction_isolation", "repeatable read"),
        Some(IsolationLevel::Serializable) => add("default_transaction_isolation", "serializable"),
    }
    parameters
}
