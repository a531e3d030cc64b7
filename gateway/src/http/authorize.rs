//! Who may ask for what: one table, and one function that reads it before any handler runs.
//!
//! Invariants: what is not in the table does not exist; secrets are compared in constant time; a secret that cannot be
//! read lets nobody in. Without an admin secret, whoever reaches a listener that only this machine can reach is an
//! administrator (as on the listeners of the data plane), but not a web page in that person's browser, and nobody whom a
//! reverse proxy on this machine brings along.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use subtle::ConstantTimeEq as _;
use tracing::warn;
use weir_config::{Admin, SecretSource};

use super::{
    Shared,
    errors::{ApiError, Code},
};

/// What it takes to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    /// Nothing.
    Open,
    /// The metrics secret, or the admin secret.
    Metrics,
    /// The admin secret.
    Admin,
}

/// Every address, what it takes, and the entry of `enabled_apis` that switches it on.
pub(super) const TABLE: [(&str, Right, Option<&str>); 10] = [
    ("/healthz", Right::Open, None),
    ("/hasura/healthz", Right::Open, None),
    ("/v1/version", Right::Open, None),
    // A page without anything in it: what it shows it asks for, with the secret.
    ("/console", Right::Open, None),
    ("/healthz/sources", Right::Admin, None),
    ("/v1alpha1/config", Right::Admin, Some("config")),
    ("/v1/metadata", Right::Admin, Some("metadata")),
    ("/v1/query", Right::Admin, Some("metadata")),
    ("/v1/metrics", Right::Metrics, Some("metrics")),
    ("/metrics", Right::Metrics, Some("metrics")),
];

const ADMIN_HEADERS: [&str; 2] = ["x-hasura-admin-secret", "x-hasura-access-key"];

/// What reverse proxies add to what they pass on.
const FORWARDED_HEADERS: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Where the listener is bound, as far as that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only from this machine.
    Loopback,
    /// From elsewhere as well.
    Network,
}

impl Reach {
    pub(super) fn of(address: SocketAddr) -> Self {
        match address.ip().to_canonical().is_loopback() {
            true => Reach::Loopback,
            false => Reach::Network,
        }
    }
}

/// Lets a request pass to its handler, or answers it.
pub(super) async fn authorize(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let state = shared.control.state();
    match decide(
        &state.metadata.admin,
        shared.reach,
        request.uri().path(),
        request.headers(),
    )
    .await
    {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn decide(admin: &Admin, reach: Reach, path: &str, headers: &HeaderMap) -> Result<(), ApiError> {
    let entry = TABLE.iter().find(|(known, ..)| *known == path);
    let Some((_, right, api)) = entry else {
        return Err(ApiError::not_found());
    };
    if api.is_some_and(|api| !admin.enabled_apis.iter().any(|enabled| enabled == api)) {
        return Err(ApiError::not_found());
    }
    match right {
        Right::Open => Ok(()),
        Right::Metrics => match has_metrics_secret(admin, headers).await {
            true => Ok(()),
            false => administrator(admin, reach, headers).await,
        },
        Right::Admin => administrator(admin, reach, headers).await,
    }
}

async fn administrator(admin: &Admin, reach: Reach, headers: &HeaderMap) -> Result<(), ApiError> {
    let denied = |error: &str| ApiError::new(StatusCode::UNAUTHORIZED, Code::AccessDenied, error);
    match (&admin.admin_secret, reach) {
        (Some(secret), _) => {
            let given = ADMIN_HEADERS.iter().find_map(|name| headers.get(*name));
            let Some(given) = given else {
                return Err(denied(
                    "x-hasura-admin-secret/x-hasura-access-key required, but not found",
                ));
            };
            if !is_equal(secret, "admin_secret", given.as_bytes()).await {
                return Err(denied("invalid x-hasura-admin-secret/x-hasura-access-key"));
            }
        }
        (None, Reach::Loopback) if is_of_a_web_page(headers) => {
            return Err(denied(
                "without an admin secret web pages are refused: set admin_secret in gateway.yaml or HASURA_GRAPHQL_ADMIN_SECRET",
            ));
        }
        (None, Reach::Loopback) if is_forwarded(headers) => {
            return Err(denied(
                "no admin secret is declared, and a proxy has forwarded this request from what may be another machine: set admin_secret in gateway.yaml or HASURA_GRAPHQL_ADMIN_SECRET",
            ));
        }
        (None, Reach::Loopback) => {}
        (None, Reach::Network) => {
            return Err(denied(
                "no admin secret is declared, and this address can be reached from other machines: set admin_secret in gateway.yaml or HASURA_GRAPHQL_ADMIN_SECRET, or admin.host to 127.0.0.1",
            ));
        }
    }
    // The secret lets its bearer speak for any role; roles other than this one have no business here.
    let role = headers.get("x-hasura-role");
    match role.is_none_or(|role| role.as_bytes() == b"admin") {
        true => Ok(()),
        false => {
            let error = "restricted access : admin only";
            Err(ApiError::new(StatusCode::BAD_REQUEST, Code::AccessDenied, error).at("$.args"))
        }
    }
}

/// A page from anywhere may make its reader's browser send requests to this machine. It cannot hide its origin, and a
/// name that it has pointed to this machine is seen in `Host`.
fn is_of_a_web_page(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.filter(|host| is_this_machine(host)) else {
        return true;
    };
    let own = format!("http://{host}");
    let foreign_origin = headers
        .get(header::ORIGIN)
        .is_some_and(|origin| origin.as_bytes() != own.as_bytes());
    let foreign_site = headers
        .get("sec-fetch-site")
        .is_some_and(|site| !matches!(site.as_bytes(), b"same-origin" | b"none"));
    foreign_origin || foreign_site
}

/// A reverse proxy on this machine makes everybody look like this machine.
fn is_forwarded(headers: &HeaderMap) -> bool {
    FORWARDED_HEADERS.iter().any(|name| headers.contains_key(*name))
}

fn is_this_machine(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.to_canonical().is_loopback())
}

async fn has_metrics_secret(admin: &Admin, headers: &HeaderMap) -> bool {
    let given = headers.get(header::AUTHORIZATION).map(|value| value.as_bytes());
    let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
    match (&admin.metrics_secret, given) {
        (Some(secret), Some(given)) => is_equal(secret, "metrics_secret", given).await,
        _ => false,
    }
}

/// Constant time for the same length, which is no secret. An empty secret would be none at all.
async fn is_equal(secret: &SecretSource, setting: &'static str, given: &[u8]) -> bool {
    let source = secret.clone();
    let resolved = match source {
        SecretSource::Literal(_) => source.resolve(),
        SecretSource::File(_) => match tokio::task::spawn_blocking(move || source.resolve()).await {
            Ok(resolved) => resolved,
            Err(_) => return false,
        },
    };
    match resolved {
        Ok(secret) => !secret.expose().is_empty() && bool::from(secret.expose().as_bytes().ct_eq(given)),
        Err(error) => {
            warn!(%error, setting, "nobody is let in: the secret cannot be read");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use weir_core::secret::Secret;

    use super::*;

    fn admin(admin_secret: Option<&str>, metrics_secret: Option<&str>) -> Admin {
        let secret = |text: &str| SecretSource::Literal(Secret::new(text.to_owned()));
        Admin {
            disabled: false,
            host: "127.0.0.1".to_owned(),
            port: 0,
            address_is_asked_for: true,
            admin_secret: admin_secret.map(secret),
            metrics_secret: metrics_secret.map(secret),
            enabled_apis: ["metadata", "config", "metrics"].map(str::to_owned).to_vec(),
            high_cardinality_labels: true,
        }
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (axum::http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    /// The status of an answer, 200 when the handler is reached.
    async fn status(admin: &Admin, reach: Reach, path: &str, given: &[(&'static str, &str)]) -> u16 {
        match decide(admin, reach, path, &headers(given)).await {
            Ok(()) => 200,
            Err(error) => error.status.as_u16(),
        }
    }

    const RIGHT_SECRET: (&str, &str) = ("x-hasura-admin-secret", "s3cret");
    const OLD_NAME: (&str, &str) = ("x-hasura-access-key", "s3cret");
    const WRONG_SECRET: (&str, &str) = ("x-hasura-admin-secret", "s3cres");
    const METRICS: (&str, &str) = ("authorization", "Bearer m3trics");
    const LOCAL: (&str, &str) = ("host", "localhost:8080");

    #[tokio::test]
    async fn with_a_secret_only_its_bearers_pass_wherever_they_are() {
        let admin = admin(Some("s3cret"), Some("m3trics"));
        for (path, right, _) in TABLE {
            for reach in [Reach::Loopback, Reach::Network] {
                let open = if right == Right::Open { 200 } else { 401 };
                let metrics = if right == Right::Admin { 401 } else { 200 };
                assert_eq!(status(&admin, reach, path, &[LOCAL]).await, open, "{path}");
                assert_eq!(status(&admin, reach, path, &[WRONG_SECRET]).await, open, "{path}");
                assert_eq!(status(&admin, reach, path, &[RIGHT_SECRET]).await, 200, "{path}");
                assert_eq!(status(&admin, reach, path, &[OLD_NAME]).await, 200, "{path}");
                assert_eq!(status(&admin, reach, path, &[METRICS]).await, metrics, "{path}");
                let as_user = [RIGHT_SECRET, ("x-hasura-role", "user")];
                let as_user = status(&admin, reach, path, &as_user).await;
                assert_eq!(as_user, if right == Right::Open { 200 } else { 400 }, "{path}");
            }
        }
        assert_eq!(status(&admin, Reach::Loopback, "/v2/query", &[RIGHT_SECRET]).await, 404);
    }

    #[tokio::test]
    async fn without_a_secret_only_this_machine_and_no_web_page_passes() {
        let admin = admin(None, None);
        let path = "/v1/metadata";
        for host in ["localhost:8080", "127.0.0.1:8080", "[::1]:8080", "localhost", "[::1]"] {
            assert_eq!(
                status(&admin, Reach::Loopback, path, &[("host", host)]).await,
                200,
                "{host}"
            );
        }
        for host in [
            "evil.example",
            "evil.example:8080",
            "10.0.0.1:8080",
            "localhost.evil.example:80",
        ] {
            assert_eq!(
                status(&admin, Reach::Loopback, path, &[("host", host)]).await,
                401,
                "{host}"
            );
        }
        assert_eq!(status(&admin, Reach::Network, path, &[LOCAL]).await, 401);
        assert_eq!(status(&admin, Reach::Network, "/healthz", &[LOCAL]).await, 200);
        let from = |name, value| [LOCAL, (name, value)];
        for (given, expected) in [
            (from("origin", "http://localhost:8080"), 200),
            (from("origin", "http://evil.example"), 401),
            (from("origin", "null"), 401),
            (from("sec-fetch-site", "cross-site"), 401),
            (from("sec-fetch-site", "same-origin"), 200),
            (from("forwarded", "for=10.0.0.1"), 401),
            (from("x-forwarded-for", "127.0.0.1"), 401),
            (from("x-real-ip", "10.0.0.1"), 401),
            (from("via", "1.1 proxy"), 401),
        ] {
            assert_eq!(
                status(&admin, Reach::Loopback, path, &given).await,
                expected,
                "{given:?}"
            );
        }
    }

    #[tokio::test]
    async fn what_is_not_enabled_does_not_exist() {
        let mut admin = admin(Some("s3cret"), None);
        admin.enabled_apis = vec!["config".to_owned()];
        assert_eq!(
            status(&admin, Reach::Loopback, "/v1/metadata", &[RIGHT_SECRET]).await,
            404
        );
        assert_eq!(
            status(&admin, Reach::Loopback, "/v1alpha1/config", &[RIGHT_SECRET]).await,
            200
        );
        assert_eq!(status(&admin, Reach::Loopback, "/healthz", &[]).await, 200);
    }

    #[tokio::test]
    async fn a_secret_that_cannot_be_read_or_is_empty_lets_nobody_in() {
        let mut admin = admin(Some(""), None);
        let empty = ("x-hasura-admin-secret", "");
        assert_eq!(status(&admin, Reach::Loopback, "/v1/metadata", &[empty]).await, 401);
        admin.admin_secret = Some(SecretSource::File(weir_config::SecretFile {
            path: "/nonexistent".into(),
            allowed_prefix: None,
        }));
        assert_eq!(status(&admin, Reach::Loopback, "/v1/metadata", &[empty]).await, 401);
        assert_eq!(
            status(&admin, Reach::Loopback, "/v1/metadata", &[RIGHT_SECRET]).await,
            401
        );
    }
}
