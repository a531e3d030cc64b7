//! Where log lines go and which of them: standard error, filtered by one rule.
//!
//! First match wins: `--log-level`, `RUST_LOG`, `HASURA_GRAPHQL_LOG_LEVEL`, `info`. A bare level speaks of Weir's own
//! crates; libraries stay at `warn`, because nobody who asks for `debug` wants to read the TLS library's. That one stays at
//! `error`: it warns of what peers send, and whoever connects could fill the log.

#[cfg(test)]
mod documented;
mod json;

use std::{env, io::IsTerminal as _, time::Duration};

use tracing_subscriber::{EnvFilter, fmt};

use weir_core::observe;

use crate::cli::LogFormat;

/// Weir's own crates, as targets of log lines.
const OWN: [&str; 5] = ["weir", "weir_core", "weir_config", "weir_postgres", "weir_mssql"];

/// Seconds; transactions that take longer are logged.
const SLOW: &str = "WEIR_SLOW_TRANSACTION";

/// Whether a line comes from Weir and not from a library.
fn is_own(target: &str) -> bool {
    let name = target.split("::").next().unwrap_or_default();
    OWN.contains(&name)
}

/// Starts logging.
///
/// # Errors
/// With a text for the person who wrote the filter.
pub(crate) fn start(format: LogFormat, level: Option<&str>) -> Result<(), String> {
    let filter = filter(
        level,
        env::var("RUST_LOG").ok().as_deref(),
        env::var("HASURA_GRAPHQL_LOG_LEVEL").ok().as_deref(),
    )?;
    if let Some(limit) = slow(env::var(SLOW).ok().as_deref())? {
        observe::log_slow(limit);
    }
    // When whoever read standard error has gone, lines are lost; reporting that on standard error would panic.
    let builder = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    match format {
        LogFormat::Json => builder.event_format(json::Json).init(),
        LogFormat::Pretty => builder
            .with_ansi(std::io::stderr().is_terminal() && env::var_os("NO_COLOR").is_none())
            .with_target(false)
            .init(),
    }
    Ok(())
}

/// The limit, if there is one.
fn slow(text: Option<&str>) -> Result<Option<Duration>, String> {
    let Some(text) = text.map(str::trim).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    seconds
        .map(Some)
        .ok_or_else(|| format!("{SLOW}: {text:?} is no number of seconds; try 1 or 0.5"))
}

fn filter(flag: Option<&str>, rust_log: Option<&str>, hasura: Option<&str>) -> Result<EnvFilter, String> {
    let (origin, text) = [
        ("--log-level", flag),
        ("RUST_LOG", rust_log),
        ("HASURA_GRAPHQL_LOG_LEVEL", hasura),
    ]
    .into_iter()
    .find_map(|(origin, text)| text.filter(|text| !text.trim().is_empty()).map(|text| (origin, text)))
    .unwrap_or(("the default", "info"));
    EnvFilter::try_new(directives(text.trim())).map_err(|error| {
        format!("{origin}: {text:?} is not a log filter ({error}); try info, debug, or weir_core=debug,warn")
    })
}

/// A bare level, spelt out for Weir's own crates; anything else as it is.
fn directives(text: &str) -> String {
    let level = text.to_ascii_lowercase();
    let others = match level.as_str() {
        "error" | "off" => level.as_str(),
        "warn" | "info" | "debug" | "trace" => "warn,rustls=error",
        _ => return text.to_owned(),
    };
    OWN.iter()
        .fold(others.to_owned(), |list, name| format!("{list},{name}={level}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_is_about_weir_and_not_about_libraries() {
        assert_eq!(
            directives("DEBUG"),
            "warn,rustls=error,weir=debug,weir_core=debug,weir_config=debug,weir_postgres=debug,weir_mssql=debug"
        );
        assert_eq!(directives("weir_core=trace,info"), "weir_core=trace,info");
    }

    #[test]
    fn the_flag_wins_over_the_environment() {
        let chosen = |flag, rust_log, hasura| filter(flag, rust_log, hasura).expect("valid").to_string();
        assert!(chosen(Some("error"), Some("debug"), Some("warn")).contains("weir=error"));
        assert!(chosen(None, Some("debug"), Some("warn")).contains("weir=debug"));
        assert!(chosen(None, Some(""), Some("warn")).contains("weir=warn"));
        assert!(chosen(None, None, None).contains("weir=info"));
    }

    #[test]
    fn slow_is_a_number_of_seconds() {
        assert_eq!(slow(None), Ok(None));
        assert_eq!(slow(Some(" ")), Ok(None));
        assert_eq!(slow(Some("0.25")), Ok(Some(Duration::from_millis(250))));
        for wrong in ["soon", "-1", "nan", "1s"] {
            let error = slow(Some(wrong)).expect_err("no number");
            assert!(error.starts_with("WEIR_SLOW_TRANSACTION:"), "{error}");
        }
    }

    #[test]
    fn a_wrong_filter_names_where_it_was_given() {
        let error = filter(None, Some("weir=loud"), None).expect_err("there is no such level");
        assert!(error.starts_with("RUST_LOG:"), "{error}");
    }
}
