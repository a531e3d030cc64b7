//! Asks a running gateway over its HTTP interface, and says what to do when that fails.
//!
//! Invariant: the secret goes to the endpoint that was named and nowhere else: no redirect is followed, and no error holds it.

use std::{fmt, future::Future, process::ExitCode, time::Duration};

use reqwest::{StatusCode, redirect::Policy};
use serde_json::{Value, json};
use weir_core::secret::Secret;

use crate::cli::Remote;

/// The longest that a request may take on top of what it asks for: a gateway that does not answer at all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer that are read. The gateway takes no larger request either.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Where to ask.
pub(crate) struct Client {
    http: reqwest::Client,
    endpoint: String,
    secret: Option<Secret<String>>,
}

/// Why there is no answer, or which.
#[derive(Debug)]
pub(crate) enum ClientError {
    /// Nobody answers.
    Unreachable { endpoint: String, reason: String },
    /// The secret is missing or wrong.
    Denied { reason: String, had_secret: bool },
    /// Somebody answers, but not what Weir does.
    Foreign { endpoint: String, status: u16 },
    /// The gateway says no.
    Refused(Refused),
}

/// A "no" in Hasura's form.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) error: String,
    pub(crate) code: String,
    pub(crate) path: String,
    /// What there is to know besides.
    pub(crate) internal: Value,
}

impl Client {
    /// A client of the endpoint that the command line names.
    pub(crate) fn new(remote: &Remote) -> Result<Self, String> {
        warn_about_the_process_list();
        let endpoint = remote.endpoint.trim_end_matches('/').to_owned();
        if !endpoint.starts_with("http://") && !endpoint.starts_with("https://") {
            return Err(format!(
                "--endpoint must be a URL such as http://localhost:8080, got {endpoint:?}"
            ));
        }
        let http = reqwest::Client::builder()
            .redirect(Policy::none())
            // The admin secret goes to the endpoint, and not to whatever `http_proxy` happens to name.
            .no_proxy()
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| format!("cannot make an HTTP client: {error}"))?;
        let secret = remote.admin_secret.as_ref().filter(|secret| !secret.0.is_empty());
        Ok(Client {
            http,
            endpoint,
            secret: secret.map(|secret| Secret::new(secret.0.clone())),
        })
    }

    /// The URL that is asked.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// A request of the metadata API.
    pub(crate) async fn request(&self, kind: &str, args: Value) -> Result<Value, ClientError> {
        self.send(json!({ "type": kind, "args": args }), PATIENCE).await
    }

    /// One of its second version.
    pub(crate) async fn request_v2(&self, kind: &str, args: Value) -> Result<Value, ClientError> {
        self.send(json!({ "type": kind, "version": 2, "args": args }), PATIENCE)
            .await
    }

    /// One that waits for so long on purpose.
    pub(crate) async fn patient_request(&self, kind: &str, args: Value, wait: Duration) -> Result<Value, ClientError> {
        self.send(json!({ "type": kind, "args": args }), wait.saturating_add(PATIENCE))
            .await
    }

    async fn send(&self, body: Value, limit: Duration) -> Result<Value, ClientError> {
        let mut request = self
            .http
            .post(format!("{}/v1/metadata", self.endpoint))
            .timeout(limit)
            .json(&body);
        if let Some(secret) = &self.secret {
            request = request.header("x-hasura-admin-secret", secret.expose().as_str());
        }
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let body = self.body(response).await?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(value) if status.is_success() => Ok(value),
            Ok(value) if value["error"].is_string() => Err(self.refusal(status, &value)),
            _ => Err(ClientError::Foreign {
                endpoint: self.endpoint.clone(),
                status: status.as_u16(),
            }),
        }
    }

    async fn body(&self, mut response: reqwest::Response) -> Result<Vec<u8>, ClientError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(ClientError::Unreachable {
                    endpoint: self.endpoint.clone(),
                    reason: format!("its answer is longer than {MAX_ANSWER} bytes"),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn refusal(&self, status: StatusCode, value: &Value) -> ClientError {
        let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        if status == StatusCode::UNAUTHORIZED {
            return ClientError::Denied {
                reason: text("error"),
                had_secret: self.secret.is_some(),
            };
        }
        if status == StatusCode::NOT_FOUND {
            return ClientError::Foreign {
                endpoint: self.endpoint.clone(),
                status: status.as_u16(),
            };
        }
        ClientError::Refused(Refused {
            error: text("error"),
            code: text("code"),
            path: text("path"),
            internal: value["internal"].clone(),
        })
    }

    fn unreachable(&self, error: &reqwest::Error) -> ClientError {
        ClientError::Unreachable {
            endpoint: self.endpoint.clone(),
            reason: innermost(error),
        }
    }
}

/// The outer errors repeat the URL, the innermost one says why.
fn innermost(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "no answer in time".to_owned();
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

fn warn_about_the_process_list() {
    let is_flag = |word: &std::ffi::OsString| {
        let word = word.to_string_lossy();
        word == "--admin-secret" || word.starts_with("--admin-secret=")
    };
    if std::env::args_os().any(|word| is_flag(&word)) {
        eprintln!(
            "weir: the secret can be seen in the list of processes; better: HASURA_GRAPHQL_ADMIN_SECRET=… weir …"
        );
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Unreachable { endpoint, reason } => write!(
                f,
                "cannot reach {endpoint}: {reason}\n\
                 Is `weir serve` running there, with its HTTP interface at this address (`admin` in gateway.yaml)?\n\
                 Another address: --endpoint or HASURA_GRAPHQL_ENDPOINT"
            ),
            ClientError::Denied { reason, had_secret } => {
                let advice = match had_secret {
                    true => "The secret in HASURA_GRAPHQL_ADMIN_SECRET or --admin-secret is not the gateway's",
                    false => "Give the gateway's secret in HASURA_GRAPHQL_ADMIN_SECRET",
                };
                write!(
                    f,
                    "not let in: {reason}\n{advice} (`admin.admin_secret` in its gateway.yaml)"
                )
            }
            ClientError::Foreign { endpoint, status } => write!(
                f,
                "{endpoint}/v1/metadata answers {status}: there is no metadata API of Weir\n\
                 Is this the right address, and is `metadata` among `admin.enabled_apis`?"
            ),
            ClientError::Refused(refused) => refused.fmt(f),
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}", self.error, self.code)?;
        match self.path.as_str() {
            "" | "$" => f.write_str(")")?,
            path => write!(f, " at {path})")?,
        }
        for object in self.internal.as_array().into_iter().flatten() {
            match (object.as_str(), object["reason"].as_str(), object["message"].as_str()) {
                (Some(text), ..) => write!(f, "\n  {text}")?,
                (_, reason, message) => {
                    let name = object["name"].as_str().unwrap_or_default();
                    write!(f, "\n  {name}: {}", reason.or(message).unwrap_or_default())?;
                }
            }
        }
        if self.code == "conflict" && self.error.contains("resource version") {
            f.write_str("\nSomebody else has changed the metadata meanwhile: look at it, and try again")?;
        }
        Ok(())
    }
}

/// Why a command has failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The gateway could not be asked, or said no.
    Client(ClientError),
    /// Anything else, with what to do.
    Other(String),
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::Client(error)
    }
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Failure::Other(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Client(error) => error.fmt(f),
            Failure::Other(error) => f.write_str(error),
        }
    }
}

/// Runs a command to its end; `failed` is the exit code when it cannot be carried out.
pub(crate) fn run<F>(remote: &Remote, failed: u8, command: impl FnOnce(Client) -> F) -> ExitCode
where
    F: Future<Output = Result<ExitCode, Failure>>,
{
    let fail = |error: &dyn fmt::Display| {
        eprintln!("weir: {}", crate::check::table::lines(&error.to_string()));
        ExitCode::from(failed)
    };
    let client = match Client::new(remote) {
        Ok(client) => client,
        Err(error) => return fail(&error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the runtime: {error}")),
    };
    match runtime.block_on(command(client)) {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let unreachable = ClientError::Unreachable {
            endpoint: "http://localhost:1".to_owned(),
            reason: "Connection refused (os error 111)".to_owned(),
        };
        let text = unreachable.to_string();
        for wanted in ["http://localhost:1", "Connection refused", "weir serve", "--endpoint"] {
            assert!(text.contains(wanted), "{text}");
        }
        for (had_secret, wanted) in [(true, "is not the gateway's"), (false, "Give the gateway's secret")] {
            let denied = ClientError::Denied {
                reason: "no".to_owned(),
                had_secret,
            };
            assert!(denied.to_string().contains(wanted), "{denied}");
        }
    }

    #[test]
    fn what_a_refusal_knows_besides_is_shown_line_by_line() {
        let refused = Refused {
            error: "cannot continue due to inconsistent metadata".to_owned(),
            code: "unexpected".to_owned(),
            path: "$.args".to_owned(),
            internal: json!([{ "name": "source a", "reason": "Inconsistent object: x" }, "y"]),
        };
        let wanted = "cannot continue due to inconsistent metadata (unexpected at $.args)\n  source a: Inconsistent object: x\n  y";
        assert_eq!(refused.to_string(), wanted);
    }
}
