//! OpenTelemetry: metrics and sampled traces, sent by OTLP over HTTP, configured by OpenTelemetry's own variables and by
//! Hasura's `opentelemetry.yaml`.
//!
//! Invariants: nothing is sent, sampled or held unless an endpoint is configured; the tasks that serve clients hand over a
//! report and never wait (what does not fit is dropped and counted); a collector that is slow or away costs bounded memory
//! and one log line; the end of the process waits for it only within a bound. No SQL, no parameter and no secret is sent.
//!
//! The messages are written by hand ([`encode`]) and not by OpenTelemetry's SDK: a histogram that is kept as atomics cannot
//! be handed to the SDK, and its span processor costs more than a transaction does.

mod encode;
mod messages;
mod sender;
mod settings;
mod spans;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{error, info};
use weir_config::{ProcessEnvironment, Telemetry};
use weir_core::{
    clock,
    observe::{self, LoginReport, TransactionReport, Watcher},
};

use crate::{
    metrics::{Inputs, gather},
    serve::control::Control,
};

use sender::Sender;
use settings::{Settings, Signal};
use spans::{Queue, Report};

/// How long the last reports may take to be sent when the process ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// What sends, for as long as the process runs.
pub(crate) struct Otlp {
    control: Control,
    /// Tells this process from others that send the same.
    instance: String,
    /// Where the data plane's reports go.
    reports: Arc<ArcSwapOption<Queue>>,
    /// What is sent, or why nothing is.
    settings: Option<Result<Settings, String>>,
    sending: Sending,
}

/// The tasks that send.
#[derive(Default)]
struct Sending {
    /// Dropped, the tasks send what they have and end.
    stop: Option<watch::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Otlp {
    /// Starts what the variables and the metadata ask for. What is wrong with them is logged, and nothing is sent.
    pub(crate) fn start(control: Control) -> Self {
        // Without chance there is at least a number that no other process of this machine has.
        let instance = getrandom::u64().unwrap_or_else(|_| std::process::id().into());
        let mut otlp = Otlp {
            control,
            instance: format!("{instance:016x}"),
            reports: Arc::default(),
            settings: None,
            sending: Sending::default(),
        };
        observe::watch(Box::new(Reports(otlp.reports.clone())));
        otlp.reload();
        otlp
    }

    /// Sends what the present metadata asks for, if that is anything else than before.
    pub(crate) fn reload(&mut self) {
        let state = self.control.state();
        let settings = Settings::read(&ProcessEnvironment, &state.metadata.telemetry, &self.instance);
        if self.settings.as_ref() == Some(&settings) {
            return;
        }
        // What the former tasks still have they send by themselves.
        self.sending = Sending::default();
        self.reports.store(None);
        match &settings {
            Ok(settings) => self.sending = self.send(settings),
            Err(reason) => error!(reason, "telemetry is not sent"),
        }
        observe::sample(match (&settings, &*self.reports.load()) {
            (Ok(settings), Some(_)) => settings.sample.ratio,
            _ => 0.0,
        });
        self.settings = Some(settings);
    }

    fn send(&self, settings: &Settings) -> Sending {
        let (stop, stopping) = watch::channel(());
        let mut sending = Sending {
            stop: Some(stop),
            tasks: Vec::new(),
        };
        let resource = Arc::new(settings.resource.clone());
        for signal in [&settings.traces, &settings.metrics].into_iter().flatten() {
            let sender = match Sender::new(signal) {
                Ok(sender) => sender,
                Err(reason) => {
                    error!(reason, "telemetry is not sent");
                    continue;
                }
            };
            info!(
                signal = signal.name,
                endpoint = sender.place(),
                set_in = signal.set_in,
                interval = signal.interval.as_secs_f64(),
                sample = settings.sample.ratio,
                "telemetry is sent"
            );
            let (resource, stopping) = (resource.clone(), stopping.clone());
            let task = match signal.name {
                settings::TRACES => {
                    let (queue, reports) = Queue::new();
                    let batches = Batches {
                        reports,
                        dropped: queue.dropped(),
                        size: settings.batch,
                        interval: signal.interval,
                    };
                    self.reports.store(Some(Arc::new(queue)));
                    tokio::spawn(traces(batches, resource, sender, stopping))
                }
                _ => tokio::spawn(metrics(
                    self.control.clone(),
                    resource,
                    sender,
                    signal.interval,
                    stopping,
                )),
            };
            sending.tasks.push(task);
        }
        sending
    }

    /// Sends what is left, within a bound.
    pub(crate) async fn finish(&mut self) {
        let Sending { stop, tasks } = std::mem::take(&mut self.sending);
        drop(stop);
        let all = async {
            for task in tasks {
                // One that panicked has said so.
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }
}

/// What is sent where, and where that was set: no header's value, and nothing of a URL that may be secret.
pub(crate) fn effective(declared: &Telemetry) -> Value {
    match Settings::read(&ProcessEnvironment, declared, "") {
        Ok(settings) => told(&settings),
        Err(reason) => json!({ "error": reason }),
    }
}

fn told(settings: &Settings) -> Value {
    let signal = |signal: &Option<Signal>| {
        let Some(signal) = signal else {
            return Value::Null;
        };
        let headers: Vec<&str> = signal.headers.iter().map(|(name, _)| name.as_str()).collect();
        json!({
            "endpoint": { "value": sender::place(&signal.endpoint), "set_in": signal.set_in },
            "headers": headers,
            "interval": signal.interval.as_secs_f64(),
        })
    };
    let sample = &settings.sample;
    json!({
        "traces": signal(&settings.traces),
        "metrics": signal(&settings.metrics),
        "sample": { "value": sample.ratio, "set_in": sample.set_in },
        "max_export_batch_size": settings.batch,
    })
}

/// Takes the reports of the data plane to where they go at the moment.
struct Reports(Arc<ArcSwapOption<Queue>>);

impl Watcher for Reports {
    fn transaction(&self, report: TransactionReport) {
        if let Some(queue) = &*self.0.load() {
            queue.push(Report::Transaction(Box::new(report)));
        }
    }

    fn login(&self, report: LoginReport) {
        if let Some(queue) = &*self.0.load() {
            queue.push(Report::Login(report));
        }
    }
}

/// Sends all metrics at each interval, and once more at the end.
async fn metrics(
    control: Control,
    resource: Arc<messages::Attributes>,
    mut sender: Sender,
    interval: Duration,
    mut stopping: watch::Receiver<()>,
) {
    let mut is_last = false;
    while !is_last {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            // An error is the other end being dropped, which is the word to stop.
            _ = stopping.changed() => is_last = true,
        }
        let (control, resource) = (control.clone(), resource.clone());
        let body = tokio::task::spawn_blocking(move || {
            let inputs = Inputs::of(&control);
            messages::metrics(&resource, &gather(&inputs), inputs.started, clock::wall())
        });
        if let Ok(body) = body.await {
            sender.send(body).await;
        }
    }
}

/// What comes out of the queue, and how it is put together.
struct Batches {
    reports: mpsc::Receiver<Report>,
    dropped: Arc<spans::Dropped>,
    /// Reports in one message.
    size: usize,
    interval: Duration,
}

/// Sends spans in batches: when one is full, at each interval, and at the end.
async fn traces(
    mut batches: Batches,
    resource: Arc<messages::Attributes>,
    mut sender: Sender,
    mut stopping: watch::Receiver<()>,
) {
    let mut is_last = false;
    while !is_last {
        let mut batch = Vec::new();
        let due = clock::now() + batches.interval;
        while batch.len() < batches.size {
            tokio::select! {
                biased;
                report = batches.reports.recv() => match report {
                    Some(report) => batch.push(report),
                    None => break,
                },
                () = tokio::time::sleep_until(due.into()) => break,
                _ = stopping.changed() => {
                    is_last = true;
                    break;
                }
            }
        }
        batches.dropped.tell();
        if !batch.is_empty() {
            let spans = spans::of(batch);
            sender.send(messages::traces(&resource, &spans)).await;
        }
    }
}
