//! `weir status`: what each source is doing, once, for a person or a script.

use std::process::ExitCode;

use serde_json::json;

use super::{
    client::{self, Failure},
    stats::{Snapshot, Source, duration},
};
use crate::{
    check::table::{Table, printable},
    cli::{ReportFormat, StatusArgs},
};

/// The gateway could not be asked: neither well nor unwell.
const NOT_KNOWN: u8 = 3;

/// Runs the command.
pub(crate) fn run(args: &StatusArgs) -> ExitCode {
    client::run(&args.remote, NOT_KNOWN, |client| async move {
        let request = args.source.as_ref().map_or(json!({}), |name| json!({ "source": name }));
        let answer = client.request("get_pool_stats", request).await?;
        let snapshot = Snapshot::of(&answer);
        if let Some(name) = args.source.as_ref().filter(|_| snapshot.sources.is_empty()) {
            return Err(Failure::Other(format!(
                "there is no source {name:?}; `weir status` shows all"
            )));
        }
        let text = match args.format {
            ReportFormat::Text => text(&snapshot),
            ReportFormat::Json => format!("{answer:#}\n"),
        };
        super::print(text.as_bytes());
        Ok(match snapshot.sources.iter().all(Source::is_well) {
            true => ExitCode::SUCCESS,
            false => ExitCode::FAILURE,
        })
    })
}

fn text(snapshot: &Snapshot) -> String {
    let mut table = Table::default();
    table.row([
        "SOURCE", "KIND", "MODE", "STATE", "CLIENTS", "WAITING", "ACTIVE", "IDLE", "PINNED", "OPEN", "WAIT P95",
    ]);
    for source in &snapshot.sources {
        let open = format!("{}/{}", source.open(), source.sum(|pool| pool.limit));
        table.row([
            source.name.clone(),
            source.kind.clone(),
            source.pool_mode.clone(),
            source.shown_state().to_owned(),
            source.clients.to_string(),
            source.waiting.to_string(),
            source.sum(|pool| pool.active).to_string(),
            source.sum(|pool| pool.idle).to_string(),
            source.sum(|pool| pool.pinned).to_string(),
            open,
            duration(source.worst(|pool| pool.wait.p95)),
        ]);
    }
    let mut text = table.lines().join("\n") + "\n";
    let reasons = snapshot
        .sources
        .iter()
        .filter_map(|source| Some((&source.name, source.reason.as_ref()?)));
    for (name, reason) in reasons {
        text.push_str(&format!("\n{}: {}\n", printable(name), printable(reason)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::stats::{Percentiles, Pool};
    use super::*;

    #[test]
    fn columns_and_reasons() {
        let pool = Pool {
            limit: 20,
            open: 12,
            idle: 4,
            active: 7,
            pinned: 1,
            wait: Percentiles {
                p95: 0.012,
                ..Percentiles::default()
            },
            ..Pool::default()
        };
        let well = Source {
            name: "orders".to_owned(),
            kind: "postgres".to_owned(),
            pool_mode: "transaction".to_owned(),
            state: "running".to_owned(),
            clients: 220,
            waiting: 3,
            pools: vec![pool.clone(), pool],
            ..Source::default()
        };
        let wrong = Source {
            name: "ledger".to_owned(),
            kind: "mssql".to_owned(),
            state: "inconsistent".to_owned(),
            reason: Some("databases.yaml:9:9: no\u{1b}[2J".to_owned()),
            ..Source::default()
        };
        let snapshot = Snapshot {
            sources: vec![well, wrong],
            ..Snapshot::default()
        };
        let wanted = "\
SOURCE  KIND      MODE         STATE         CLIENTS  WAITING  ACTIVE  IDLE  PINNED  OPEN   WAIT P95
orders  postgres  transaction  running       220      3        14      8     2       24/40  12ms
ledger  mssql                  inconsistent  0        0        0       0     0       0/0    -

ledger: databases.yaml:9:9: no\u{fffd}[2J
";
        assert_eq!(text(&snapshot), wanted);
    }
}
