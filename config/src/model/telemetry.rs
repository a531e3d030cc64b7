//! What the metadata says about telemetry.

use weir_core::secret::Secret;

/// Hasura's `opentelemetry.yaml`, as far as it asks for something to be sent: nothing of a file that is disabled or wrong is
/// in here. OpenTelemetry's own environment variables win over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    /// Where traces go; `None`: nowhere.
    pub traces: Option<TelemetryEndpoint>,
    /// Where metrics go; `None`: nowhere.
    pub metrics: Option<TelemetryEndpoint>,
    /// Sent with each message to these endpoints.
    pub headers: Vec<(String, Secret<String>)>,
    /// Who sends.
    pub resource_attributes: Vec<(String, String)>,
    /// Spans in one message, from 1 to 2048; `None`: as many as the gateway's own default.
    pub max_export_batch_size: Option<u32>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TelemetryEndpoint {
    /// The whole URL, `http` or `https`. It may have a password in it.
    pub url: Secret<String>,
    /// Where it was set.
    pub set_in: String,
}
