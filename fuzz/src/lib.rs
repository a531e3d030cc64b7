//! What the fuzzers run: each module is one target, `run` takes whatever the fuzzer makes up. A target asserts more than
//! "no panic": that a verdict does not depend on how bytes were cut, that nothing claims more than it was given, that
//! `Need` makes progress.

mod dialogue;
pub mod metadata_yaml;
pub mod pg_dialogue;
pub mod pg_frame;
pub mod pg_scram_client;
pub mod pg_scram_server;
pub mod pg_startup;
pub mod pool_engine;
pub mod tds_browser;
pub mod tds_dialogue;
pub mod tds_login7;
pub mod tds_packet;
pub mod tds_prelogin;
pub mod tds_request;
pub mod tds_tokens;

/// Valid streams, made from any bytes; shared with the tests of `weir-mssql`.
#[path = "../../backend-mssql/tests/generate/mod.rs"]
mod generate;

/// The targets by name, for the replay of the corpora.
pub const TARGETS: [(&str, fn(&[u8])); 14] = [
    ("metadata_yaml", metadata_yaml::run),
    ("pg_dialogue", pg_dialogue::run),
    ("pg_frame", pg_frame::run),
    ("pg_startup", pg_startup::run),
    ("pg_scram_client", pg_scram_client::run),
    ("pg_scram_server", pg_scram_server::run),
    ("pool_engine", pool_engine::run),
    ("tds_browser", tds_browser::run),
    ("tds_dialogue", tds_dialogue::run),
    ("tds_login7", tds_login7::run),
    ("tds_packet", tds_packet::run),
    ("tds_prelogin", tds_prelogin::run),
    ("tds_request", tds_request::run),
    ("tds_tokens", tds_tokens::run),
];

/// The first byte decides where the rest is cut in two.
fn cut(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (at, rest) = data.split_first()?;
    Some(rest.split_at(usize::from(*at).min(rest.len())))
}
