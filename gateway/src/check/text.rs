//! The report for people: aligned, coloured only on a terminal, one thing on a line.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use weir_config::{
    Loaded, Severity,
    model::{Definition, Listener, ListenerKind, ListenerTlsMode, Source, SourceKind},
};
use weir_core::settings::{PoolMode, PoolSettings};

use super::{
    connections::{self, Connection, Fit},
    table::{Table, printable},
};
use crate::usable;

const HEADING: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const DOUBTFUL: Style = AnsiColor::Yellow.on_default();
const QUIET: Style = Style::new().dimmed();

/// Writes the whole report. `connections` is `None` without `--connect`.
///
/// # Errors
/// Those of `out`.
pub(crate) fn write(out: &mut impl Write, loaded: &Loaded, connections: Option<&[Connection]>) -> io::Result<()> {
    problems(out, loaded)?;
    sources(out, loaded)?;
    listeners(out, loaded)?;
    if let Some(connections) = connections {
        databases(out, connections)?;
    }
    verdict(out, loaded, connections)
}

fn problems(out: &mut impl Write, loaded: &Loaded) -> io::Result<()> {
    let places: Vec<String> = loaded
        .problems
        .iter()
        .map(|problem| printable(&problem.place.to_string()))
        .collect();
    let width = places
        .iter()
        .map(|place| place.chars().count())
        .max()
        .unwrap_or_default();
    for (problem, place) in loaded.problems.iter().zip(&places) {
        let style = match problem.severity {
            Severity::Error => BAD,
            Severity::Warning => DOUBTFUL,
            Severity::Info => QUIET,
        };
        let severity = format!("{:7}", problem.severity.to_string());
        let message = printable(&problem.message);
        writeln!(out, "{place:width$}  {style}{severity}{style:#}  {message}")?;
    }
    if !loaded.problems.is_empty() {
        writeln!(out)?;
    }
    Ok(())
}

fn sources(out: &mut impl Write, loaded: &Loaded) -> io::Result<()> {
    let mut table = Table::default();
    table.row(["SOURCE", "KIND", "STATE", "DATABASE NAMES", "POOL"]);
    for source in &loaded.metadata.sources {
        let names = source.database_names.join(", ");
        table.row([&source.name, source.kind.as_str(), "ok", &names, &pools(source)]);
    }
    for source in &loaded.metadata.inconsistent {
        let kind = source.kind.map_or("?", SourceKind::as_str);
        table.row([
            &source.name,
            kind,
            "inconsistent",
            &source.database_names.join(", "),
            "see above",
        ]);
    }
    print(out, &table)
}

fn pools(source: &Source) -> String {
    let (primary, replicas, named) = match &source.definition {
        Definition::Postgres(definition) => (
            &definition.primary.pool,
            definition.read_replicas.len(),
            definition.connection_set.len(),
        ),
        Definition::Mssql(definition) => (&definition.primary.pool, definition.read_replicas.len(), 0),
    };
    let mut text = format!("{}, {}", limit(primary), mode(primary.pool_mode));
    if replicas > 0 {
        text.push_str(&format!(", {replicas} read replica(s)"));
    }
    if named > 0 {
        text.push_str(&format!(", {named} in the connection set"));
    }
    text
}

/// `20 connections (databases/databases.yaml:9:9)`
fn limit(pool: &PoolSettings) -> String {
    let overflow = match pool.overflow_connections {
        0 => String::new(),
        overflow => format!(" + {overflow}"),
    };
    let limit = pool.max_connections;
    format!("{limit}{overflow} connections ({})", pool.origins.of("max_connections"))
}

fn mode(mode: PoolMode) -> &'static str {
    match mode {
        PoolMode::Transaction => "transaction mode",
        PoolMode::Session => "session mode",
        PoolMode::Statement => "statement mode",
    }
}

fn listeners(out: &mut impl Write, loaded: &Loaded) -> io::Result<()> {
    let mut table = Table::default();
    table.row(["LISTENER", "KIND", "ADDRESS", "TLS", "LOGIN"]);
    for listener in &loaded.metadata.listeners {
        let address = format!("{}:{}", listener.host, listener.port);
        table.row([
            &listener.name,
            listener.kind.as_str(),
            &address,
            tls(listener),
            &login(listener, loaded),
        ]);
    }
    for listener in &loaded.metadata.inconsistent_listeners {
        let kind = listener.kind.map_or("?", |kind| kind.as_str());
        table.row([&listener.name, kind, "inconsistent", "", "see above"]);
    }
    print(out, &table)
}

fn tls(listener: &Listener) -> &'static str {
    match listener.tls.as_ref().map(|tls| tls.mode) {
        None if listener.kind == ListenerKind::Postgres || listener.clear_text_only => "none",
        None if listener.is_loopback() => "optional, own certificate",
        None => "required, own certificate",
        Some(ListenerTlsMode::Optional) => "optional",
        Some(ListenerTlsMode::Required) => "required",
        Some(ListenerTlsMode::ClientCertificate) => "client certificate",
        Some(ListenerTlsMode::ClientCertificateNamed) => "client certificate with the user's name",
        Some(ListenerTlsMode::Strict) => "strict",
    }
}

fn login(listener: &Listener, loaded: &Loaded) -> String {
    let asks_database = loaded.metadata.sources.iter().any(|source| match &source.definition {
        Definition::Postgres(definition) => listener.kind == ListenerKind::Postgres && definition.auth_query.is_some(),
        Definition::Mssql(definition) => listener.kind == ListenerKind::Mssql && definition.pass_through_login,
    });
    let mut ways = Vec::new();
    match loaded.metadata.users.len() {
        0 => {}
        1 => ways.push("1 user".to_owned()),
        count => ways.push(format!("{count} users")),
    }
    if asks_database {
        ways.push(match listener.kind {
            ListenerKind::Postgres => "auth_query".to_owned(),
            ListenerKind::Mssql => "pass_through_login".to_owned(),
        });
    }
    if listener.trust_loopback {
        ways.push("no password from this machine".to_owned());
    }
    ways.join(", ")
}

fn databases(out: &mut impl Write, connections: &[Connection]) -> io::Result<()> {
    let mut table = Table::default();
    table.row(["DATABASE", "SERVER", "VERSION", "ROLE", "TLS", "CONNECT", "QUERY"]);
    for connection in connections {
        let name = connection.name();
        match &connection.outcome {
            Ok(found) => table.row([
                name,
                found.server.clone(),
                found.version.clone(),
                found.role.clone(),
                found
                    .encrypted
                    .map_or("?", |encrypted| if encrypted { "yes" } else { "no" })
                    .to_owned(),
                milliseconds(found.connect_time),
                milliseconds(found.round_trip),
            ]),
            Err(_) => table.row([name, connection.label.clone(), "failed, see below".to_owned()]),
        }
    }
    print(out, &table)?;
    for (server, fit) in connections::fits(connections) {
        writeln!(out, "{}", capacity(&server, &fit))?;
    }
    for connection in connections {
        if let (Err(error), Some(advice)) = (&connection.outcome, connection.advice()) {
            let (name, error) = (printable(&connection.name()), printable(&error.to_string()));
            writeln!(out, "{BAD}{name}{BAD:#}: {error}\n  {}", printable(&advice))?;
        }
    }
    if !connections.is_empty() {
        writeln!(out)?;
    }
    Ok(())
}

/// `db:5432: pool limits 40 (orders) + 20 (ledger) = 60 of 97 (max_connections 100, 3 reserved): fits`
fn capacity(server: &str, fit: &Fit) -> String {
    let pools: Vec<String> = fit
        .pools
        .iter()
        .map(|(name, limit)| format!("{limit} ({name})"))
        .collect();
    let sum = if pools.len() > 1 {
        format!(" = {}", fit.wanted)
    } else {
        String::new()
    };
    let role = fit
        .capacity
        .role_limit
        .map(|limit| format!(", role limit {limit}"))
        .unwrap_or_default();
    let (style, verdict) = if fit.fits() {
        (GOOD, "fits".to_owned())
    } else {
        let missing = fit.wanted.saturating_sub(fit.capacity.usable());
        (
            DOUBTFUL,
            format!("{missing} too many when all pools are full: lower max_connections here or raise it there"),
        )
    };
    format!(
        "{}: pool limit {}{sum} of {} (max_connections {}, {} reserved{role}): {style}{verdict}{style:#}",
        printable(server),
        printable(&pools.join(" + ")),
        fit.capacity.usable(),
        fit.capacity.max_connections,
        fit.capacity.reserved,
    )
}

fn verdict(out: &mut impl Write, loaded: &Loaded, connections: Option<&[Connection]>) -> io::Result<()> {
    let count = |severity| {
        loaded
            .problems
            .iter()
            .filter(|problem| problem.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    let failed = connections
        .unwrap_or_default()
        .iter()
        .filter(|connection| connection.outcome.is_err())
        .count();
    let style = match (errors + failed, warnings) {
        (0, 0) => GOOD,
        (0, _) => DOUBTFUL,
        _ => BAD,
    };
    let mut text = format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"));
    if let Some(connections) = connections {
        text.push_str(&format!(
            ", {failed} of {} failed",
            counted(connections.len(), "connection")
        ));
    }
    writeln!(out, "{style}{text}{style:#}")?;
    match usable::reason_against(&loaded.metadata) {
        Some(reason) => writeln!(out, "weir serve would not start: {reason}"),
        None => Ok(()),
    }
}

fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

fn milliseconds(duration: std::time::Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1000.0)
}

/// A table with a heading, and an empty line behind it; nothing when there is only the heading.
fn print(out: &mut impl Write, table: &Table) -> io::Result<()> {
    let lines = table.lines();
    if table.is_empty() || lines.len() == 1 {
        return Ok(());
    }
    for (position, line) in lines.iter().enumerate() {
        match position {
            0 => writeln!(out, "{HEADING}{line}{HEADING:#}")?,
            _ => writeln!(out, "{line}")?,
        }
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use weir_core::refusal::{OpenError, Rejection, Retry};

    use super::*;
    use crate::check::connections::{Capacity, Found};

    const METADATA: &str = r#"
- name: orders
  kind: postgres
  configuration:
    connection_info:
      database_url: postgres://app:canary-7Q1@db.internal/orders
      pool_settings: {max_connections: 40}
  tables: []
- name: broken
  kind: postgres
  configuration:
    connection_info:
      database_url: postgres://app@db.internal/orders
      pool_settings: {idle_timeout: "25,"}
  tables: []
- name: erp
  kind: mssql
  configuration:
    connection_info:
      connection_string: "Server=tcp:erp,1433;UID=app;PWD=canary-7Q1;"
  tables: []
"#;

    fn load(databases: &str) -> Loaded {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("databases")).expect("a folder");
        fs::write(folder.path().join("version.yaml"), "version: 3").expect("a file");
        fs::write(folder.path().join("databases/databases.yaml"), databases).expect("a file");
        let environment: [(&str, &str); 0] = [];
        weir_config::load(folder.path(), &environment, false)
    }

    fn report(loaded: &Loaded, connections: Option<&[Connection]>) -> String {
        let mut bytes = Vec::new();
        write(&mut bytes, loaded, connections).expect("a vector takes everything");
        anstream::adapter::strip_str(std::str::from_utf8(&bytes).expect("text")).to_string()
    }

    fn connection(source: &str, pool_limit: u32, outcome: Result<Found, OpenError>) -> Connection {
        Connection {
            source: source.to_owned(),
            part: "primary".to_owned(),
            label: format!("postgres://app@db.internal:5432/{source}"),
            pool_limit,
            limit_set_in: "databases/databases.yaml:7:40".to_owned(),
            outcome,
        }
    }

    fn found() -> Found {
        Found {
            server: "db.internal:5432".to_owned(),
            version: "PostgreSQL 17.2".to_owned(),
            role: "app".to_owned(),
            encrypted: Some(true),
            capacity: Some(Capacity {
                max_connections: 100,
                reserved: 3,
                role_limit: None,
            }),
            connect_time: Duration::from_micros(12_340),
            round_trip: Duration::from_micros(410),
        }
    }

    #[test]
    fn every_source_has_a_line_and_no_secret_is_shown() {
        let text = report(&load(METADATA), None);
        assert!(text.contains("orders  postgres  ok            orders          40 connections (databases/databases.yaml:7:40), transaction mode"), "{text}");
        assert!(text.contains("broken  postgres  inconsistent  broken"), "{text}");
        assert!(text.contains("erp     mssql     ok            erp"), "{text}");
        let mssql = "mssql     mssql     127.0.0.1:14330  optional, own certificate  no password";
        assert!(text.contains(mssql), "{text}");
        assert!(text.contains("remove the comma"), "{text}");
        assert!(
            text.contains("postgres  postgres  127.0.0.1:6432   none                       no password"),
            "{text}"
        );
        assert!(text.contains("1 error, 0 warnings"), "{text}");
        assert!(!text.contains("canary-7Q1"), "{text}");
    }

    #[test]
    fn pools_that_share_a_server_are_added_up() {
        let both = [
            connection("orders", 40, Ok(found())),
            connection("ledger", 60, Ok(found())),
        ];
        let text = report(&load(METADATA), Some(&both));
        let line = "db.internal:5432: pool limit 40 (orders) + 60 (ledger) = 100 of 97 (max_connections 100, 3 reserved): \
                    3 too many when all pools are full";
        assert!(text.contains(line), "{text}");
        let text = report(&load(METADATA), Some(&both[..1]));
        assert!(
            text.contains("pool limit 40 (orders) of 97 (max_connections 100, 3 reserved): fits"),
            "{text}"
        );
        assert!(text.contains("12.3 ms  0.4 ms"), "{text}");
    }

    #[test]
    fn a_failure_says_what_happened_and_what_to_do() {
        let wrong_password = OpenError::Rejected(Rejection {
            code: "28P01".to_owned(),
            message: "password authentication failed for user \"app\"\u{1b}[2J".to_owned(),
            detail: None,
            hint: None,
            retry: Retry::Useless,
        });
        let text = report(&load(METADATA), Some(&[connection("orders", 40, Err(wrong_password))]));
        assert!(
            text.contains("orders: the database refused: password authentication failed"),
            "{text}"
        );
        assert!(
            text.contains("check the user name and the password in postgres://app@db.internal:5432/orders"),
            "{text}"
        );
        assert!(text.contains("1 error, 0 warnings, 1 of 1 connection failed"), "{text}");
        assert!(!text.contains('\u{1b}'), "the database's words steer the terminal");
    }

    #[test]
    fn metadata_that_serve_would_refuse_says_so() {
        let text = report(&load("- {name: a, configuration: {}}"), None);
        assert!(
            text.contains("weir serve would not start: no source can be served"),
            "{text}"
        );
    }
}
