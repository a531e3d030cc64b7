//! `/console`: one page that shows what runs, and changes it through the API.
//!
//! Invariants: the page is the same for everybody and holds nothing, so that it needs no secret; what it shows it asks the
//! API for, with the reader's. It loads nothing from anywhere, and its policy forbids it to: only the script and the style
//! that are in it run, by their digests, and it may speak to this interface only.

use std::sync::LazyLock;

use axum::{
    Router,
    http::{HeaderName, header},
    response::{Html, IntoResponse},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use sha2::{Digest as _, Sha256};

use super::Shared;

const MARKUP: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

static PAGE: LazyLock<String> = LazyLock::new(|| MARKUP.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT));

static POLICY: LazyLock<String> = LazyLock::new(|| {
    format!(
        "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
        digest(SCRIPT),
        digest(STYLE)
    )
});

/// What this folder answers.
pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/console", get(page))
}

async fn page() -> impl IntoResponse {
    let headers: [(HeaderName, &str); 4] = [
        (header::CONTENT_SECURITY_POLICY, &POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // Another version of the gateway has another page.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, Html(PAGE.as_str()))
}

fn digest(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_asks_nobody_else() {
        assert!(PAGE.contains(STYLE) && PAGE.contains(SCRIPT));
        assert!(!PAGE.contains("/*STYLE*/") && !PAGE.contains("/*SCRIPT*/"));
        let names = |text: &str| PAGE.matches(text).count();
        // The names of XML's vocabularies are no addresses.
        assert_eq!(names("://"), names("://www.w3.org/2000/svg"));
        for tag in ["<link rel=\"stylesheet", "<script src", "<img", "@import", "url("] {
            assert_eq!(names(tag), 0, "{tag}");
        }
    }

    #[test]
    fn what_strangers_say_is_never_markup() {
        for way in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ] {
            assert!(!SCRIPT.contains(way), "{way}");
        }
    }
}
