//! Whether metadata is enough to serve anybody; one rule for `weir serve` and `weir check`.

use weir_config::{Metadata, Problem, Severity};

/// Why nothing could be served, if so. An empty list of sources is none where the metadata API can fill it.
pub(crate) fn reason_against(metadata: &Metadata, problems: &[Problem]) -> Option<&'static str> {
    let is_sound = problems.iter().all(|problem| problem.severity != Severity::Error);
    let may_be_filled = is_sound && !metadata.admin.disabled;
    if metadata.sources.is_empty() && !may_be_filled {
        return Some("no source can be served");
    }
    metadata.listeners.is_empty().then_some("no listener can be opened")
}
