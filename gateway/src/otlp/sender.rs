//! Sends messages to one endpoint of a collector.

use reqwest::{
    Client, Url,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue},
    redirect,
};
use tracing::{info, warn};

use super::settings::Signal;

/// See the module.
pub(super) struct Sender {
    client: Client,
    url: Url,
    headers: HeaderMap,
    signal: &'static str,
    /// Messages in a row that were not taken.
    failures: u32,
}

impl Sender {
    /// For this signal. Reads the system's certificates.
    ///
    /// # Errors
    /// Which setting cannot be used.
    pub(super) fn new(signal: &Signal) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &signal.headers {
            let key = HeaderName::from_bytes(name.as_bytes());
            let value = HeaderValue::from_str(value.expose());
            let (Ok(key), Ok(mut value)) = (key, value) else {
                return Err(format!("the header {name:?}, or its value, cannot be sent"));
            };
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        let client = Client::builder()
            .timeout(signal.timeout)
            // A secret in a header must not go where nobody has configured it to.
            .redirect(redirect::Policy::none())
            // The proxy of the environment applies on purpose, as with other exporters: collectors are often out of reach
            // otherwise, and the endpoint and its headers come from the same environment.
            .user_agent(concat!("weir/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Sender {
            client: client.map_err(|error| error.to_string())?,
            url: signal.endpoint.clone(),
            headers,
            signal: signal.name,
            failures: 0,
        })
    }

    /// Where to, for people.
    pub(super) fn place(&self) -> String {
        place(&self.url)
    }

    /// Sends. What is not taken is lost, and the log says so when that begins and when it is over.
    pub(super) async fn send(&mut self, body: Vec<u8>) {
        let request = self
            .client
            .post(self.url.clone())
            .headers(self.headers.clone())
            .body(body);
        let failure = match request.send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answered {}", answer.status())),
            // Without its URL, which may have a secret in it.
            Err(error) => Some(chain(&error.without_url())),
        };
        let (signal, endpoint) = (self.signal, self.place());
        match failure {
            Some(reason) => {
                if self.failures == 0 {
                    warn!(
                        signal,
                        endpoint, reason, "the collector does not take telemetry; it is lost until it does"
                    );
                }
                self.failures = self.failures.saturating_add(1);
            }
            None => {
                if self.failures > 0 {
                    let failures = self.failures;
                    info!(signal, endpoint, failures, "the collector takes telemetry again");
                }
                self.failures = 0;
            }
        }
    }
}

/// A URL for people: without what may be secret in it.
pub(super) fn place(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    format!("{}://{host}{port}{}", url.scheme(), url.path())
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
