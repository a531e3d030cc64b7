//! Whether metadata is enough to serve anybody; one rule for `weir serve` and `weir check`.

use weir_config::model::Metadata;

/// Why nothing could be served, if so.
pub(crate) fn reason_against(metadata: &Metadata) -> Option<&'static str> {
    if metadata.sources.is_empty() {
        return Some("no source can be served");
    }
    metadata.listeners.is_empty().then_some("no listener can be opened")
}
