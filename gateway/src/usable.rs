//! Whether metadata is enough to serve anybody; one rule for `weir serve` and `weir check`.

use weir_config::Metadata;

/// Why nothing could be served, if so. That no source is declared is none where the metadata API can add one, whatever is
/// wrong with the rest.
pub(crate) fn reason_against(metadata: &Metadata) -> Option<&'static str> {
    let is_none_declared = metadata.sources_are_known && metadata.inconsistent.is_empty();
    let may_be_filled = is_none_declared && !metadata.admin.disabled;
    if metadata.sources.is_empty() && !may_be_filled {
        return Some("no source can be served");
    }
    metadata.listeners.is_empty().then_some("no listener can be opened")
}
