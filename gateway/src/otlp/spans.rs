//! Reports of the data plane, and the spans that are made of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use tokio::sync::mpsc;
use tracing::warn;
use weir_core::{
    clock::{self, Instant},
    observe::{LoginReport, TransactionReport},
};

use super::messages::Attribute;

/// Reports that wait to be sent. What comes beyond is dropped: a collector that is away must not cost memory.
const QUEUE: usize = 2048;

/// Something that was drawn for the sample.
#[derive(Debug)]
pub(super) enum Report {
    Transaction(Box<TransactionReport>),
    Login(LoginReport),
}

/// Takes reports from the tasks that serve clients.
pub(super) struct Queue {
    reports: mpsc::Sender<Report>,
    dropped: Arc<Dropped>,
}

/// Reports that found no room.
#[derive(Debug, Default)]
pub(super) struct Dropped(AtomicU64);

impl Dropped {
    /// Says so, once for all since it was said last.
    pub(super) fn tell(&self) {
        let count = self.0.swap(0, Relaxed);
        if count > 0 {
            warn!(count, "traces were dropped: the collector is slower than they come");
        }
    }
}

impl Queue {
    /// The queue, and the end where reports come out.
    pub(super) fn new() -> (Queue, mpsc::Receiver<Report>) {
        let (reports, receiver) = mpsc::channel(QUEUE);
        let dropped = Arc::default();
        (Queue { reports, dropped }, receiver)
    }

    /// What found no room.
    pub(super) fn dropped(&self) -> Arc<Dropped> {
        self.dropped.clone()
    }

    pub(super) fn push(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.dropped.0.fetch_add(1, Relaxed);
        }
    }
}

/// One span.
#[derive(Clone, Debug)]
pub(super) struct Span {
    pub(super) trace: [u8; 16],
    pub(super) id: [u8; 8],
    pub(super) parent: Option<[u8; 8]>,
    pub(super) name: &'static str,
    pub(super) began: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    pub(super) error: Option<&'static str>,
}

/// The spans of these reports: one for each, and one for the wait of a transaction that had to wait.
pub(super) fn of(reports: Vec<Report>) -> Vec<Span> {
    let calendar = Calendar {
        now: clock::now(),
        wall: clock::wall(),
    };
    let mut spans = Vec::with_capacity(reports.len());
    for report in reports {
        match report {
            Report::Transaction(report) => transaction(&report, calendar, &mut spans),
            Report::Login(report) => spans.push(login(&report, calendar)),
        }
    }
    spans
}

fn transaction(report: &TransactionReport, calendar: Calendar, spans: &mut Vec<Span>) {
    let split = report.split;
    let waited = split.waiting + split.connecting;
    let began = calendar.at(report.began);
    let mut attributes = vec![
        ("weir.source", Attribute::Text(report.identity.source.to_string())),
        ("weir.role", Attribute::Text(report.role.to_owned())),
        ("weir.listener", Attribute::Text(report.identity.listener.to_string())),
        ("weir.user", Attribute::Text(report.identity.user.to_string())),
        ("weir.server_connection", Attribute::Integer(report.server)),
        ("weir.queries", Attribute::Integer(report.work.queries)),
        ("weir.received_bytes", Attribute::Integer(report.from_client)),
        ("weir.sent_bytes", Attribute::Integer(report.from_server)),
    ];
    let names = [
        "weir.time.waiting",
        "weir.time.connecting",
        "weir.time.resetting",
        "weir.time.server",
        "weir.time.client",
    ];
    let parts = names.into_iter().zip(split.parts());
    attributes.extend(parts.map(|(name, (_, time))| (name, Attribute::Double(time.as_secs_f64()))));
    let whole = Span {
        trace: random(),
        id: random(),
        parent: None,
        name: "transaction",
        began: began.checked_sub(waited).unwrap_or(began),
        ended: calendar.at(report.ended),
        attributes,
        error: None,
    };
    if !waited.is_zero() {
        spans.push(Span {
            id: random(),
            parent: Some(whole.id),
            name: "wait for a server connection",
            ended: began,
            attributes: Vec::new(),
            ..whole.clone()
        });
    }
    spans.push(whole);
}

fn login(report: &LoginReport, calendar: Calendar) -> Span {
    let refused = report.refused.map(|why| why.as_str());
    let mut attributes = vec![("weir.listener", Attribute::Text(report.listener.to_string()))];
    attributes.extend(refused.map(|why| ("error.type", Attribute::Text(why.to_owned()))));
    let began = calendar.at(report.began);
    Span {
        trace: random(),
        id: random(),
        parent: None,
        name: "login",
        began,
        ended: began + report.took,
        attributes,
        error: refused,
    }
}

/// The clock that time is measured by, as the calendar shows it.
#[derive(Clone, Copy)]
struct Calendar {
    now: Instant,
    wall: SystemTime,
}

impl Calendar {
    fn at(self, moment: Instant) -> SystemTime {
        let ago = self.now.duration_since(moment);
        self.wall.checked_sub(ago).unwrap_or(self.wall)
    }
}

/// Not all zero, which means "none".
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [1; N];
    // Should the system have none, all ids are alike: a trace that cannot be told apart is no reason to fail.
    let _ = getrandom::fill(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use weir_core::{backend::Work, front::Identity, net::Peer, observe::TimeSplit};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_transaction_that_waited_is_two_spans_of_one_trace() {
        let began = clock::now();
        tokio::time::advance(Duration::from_secs(3)).await;
        let report = TransactionReport {
            identity: Identity {
                listener: "pg".into(),
                user: "app".into(),
                source: "ledger".into(),
                peer: Peer::Unix,
                encrypted: false,
                application_name: "".into(),
            },
            role: "primary",
            server: 7,
            began,
            ended: clock::now(),
            split: TimeSplit {
                waiting: Duration::from_secs(2),
                server: Duration::from_secs(3),
                ..TimeSplit::default()
            },
            work: Work {
                transactions: 1,
                queries: 4,
            },
            from_client: 10,
            from_server: 20,
        };
        let spans = of(vec![Report::Transaction(Box::new(report))]);
        let [wait, whole] = &spans[..] else { panic!("{spans:?}") };
        assert_eq!((wait.trace, wait.parent), (whole.trace, Some(whole.id)));
        assert_ne!(wait.id, whole.id);
        let lasted = |span: &Span| span.ended.duration_since(span.began).expect("forwards").as_secs();
        assert_eq!((lasted(wait), lasted(whole)), (2, 5));
        assert_eq!(wait.began, whole.began);
        let waiting = whole.attributes.iter().find(|(name, _)| *name == "weir.time.waiting");
        assert_eq!(waiting, Some(&("weir.time.waiting", Attribute::Double(2.0))));
    }

    #[test]
    fn what_finds_no_room_is_dropped_and_counted() {
        let (queue, mut reports) = Queue::new();
        let report = || LoginReport {
            listener: "pg".into(),
            began: clock::now(),
            took: Duration::from_millis(5),
            refused: None,
        };
        for _ in 0..QUEUE + 3 {
            queue.push(Report::Login(report()));
        }
        assert_eq!(queue.dropped.0.load(Relaxed), 3);
        assert!(reports.try_recv().is_ok());
    }
}
