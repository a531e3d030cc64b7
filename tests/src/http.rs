//! Asks the gateway's HTTP interface.

use std::{net::SocketAddr, time::Duration};

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

/// Generous: for a gateway that never answers.
const LIMIT: Duration = Duration::from_secs(60);

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body.
    pub text: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }
}

/// A client of one gateway, with or without its admin secret.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client,
    address: SocketAddr,
    headers: Vec<(String, String)>,
}

impl Http {
    /// A client that shows no secret.
    pub fn new(address: SocketAddr) -> Http {
        let client = Client::builder()
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(LIMIT)
            .build()
            .unwrap();
        Http {
            client,
            address,
            headers: Vec::new(),
        }
    }

    /// The same with a further header in each request.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Http {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same with the admin secret.
    #[must_use]
    pub fn with_secret(self, secret: &str) -> Http {
        self.with("x-hasura-admin-secret", secret)
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST of a text that calls itself JSON.
    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.request(Method::POST, path);
        self.send(request.header("content-type", "application/json").body(body))
            .await
    }

    /// A request of the metadata API.
    pub async fn metadata(&self, request: &Value) -> Answer {
        self.post("/v1/metadata", request.to_string()).await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("http://{}{path}", self.address));
        let headers = self.headers.iter();
        headers.fold(request, |request, (name, value)| request.header(name, value))
    }

    async fn send(&self, request: RequestBuilder) -> Answer {
        let response = request.send().await.expect("the HTTP interface answers");
        let status = response.status().as_u16();
        let text = response.text().await.expect("the answer arrives");
        Answer { status, text }
    }
}
