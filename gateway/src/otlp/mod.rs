//! OpenTelemetry: metrics and sampled traces, sent by OTLP over HTTP, configured by OpenTelemetry's own variables.
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

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tracing::{error, info};
use weir_config::Environment;
use weir_core::{clock, observe};

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
    /// Dropped, the tasks send what they have and end.
    stop: Option<watch::Sender<()>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Otlp {
    /// Starts what the variables ask for. What is wrong with them is logged, and nothing is sent.
    pub(crate) fn start(environment: &dyn Environment, control: &Control) -> Self {
        let (stop, stopping) = watch::channel(());
        let mut otlp = Otlp {
            stop: Some(stop),
            tasks: Vec::new(),
        };
        let settings = match Settings::read(environment) {
            Ok(settings) => settings,
            Err(reason) => {
                error!(reason, "telemetry is not sent");
                return otlp;
            }
        };
        let resource = Arc::new(settings.resource);
        for signal in [settings.traces, settings.metrics].into_iter().flatten() {
            let sender = match Sender::new(&signal) {
                Ok(sender) => sender,
                Err(reason) => {
                    error!(reason, "telemetry is not sent");
                    continue;
                }
            };
            info!(
                signal = signal.name,
                endpoint = sender.place(),
                interval = signal.interval.as_secs_f64(),
                sample = settings.sample,
                "telemetry is sent"
            );
            let (resource, stopping) = (resource.clone(), stopping.clone());
            let task = match signal.name {
                settings::TRACES => {
                    let (queue, reports) = Queue::new();
                    let sending = traces(reports, queue.dropped(), resource, sender, signal, stopping);
                    observe::watch(settings.sample, Box::new(queue));
                    tokio::spawn(sending)
                }
                _ => tokio::spawn(metrics(control.clone(), resource, sender, signal, stopping)),
            };
            otlp.tasks.push(task);
        }
        otlp
    }

    /// Sends what is left, within a bound.
    pub(crate) async fn finish(&mut self) {
        drop(self.stop.take());
        let all = async {
            for task in self.tasks.drain(..) {
                // One that panicked has said so.
                let _ = task.await;
            }
        };
        let _ = tokio::time::timeout(GOODBYE, all).await;
    }
}

/// Sends all metrics at each interval, and once more at the end.
async fn metrics(
    control: Control,
    resource: Arc<messages::Attributes>,
    mut sender: Sender,
    signal: Signal,
    mut stopping: watch::Receiver<()>,
) {
    let mut is_last = false;
    while !is_last {
        tokio::select! {
            () = tokio::time::sleep(signal.interval) => {}
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

/// Sends spans in batches: when one is full, at each interval, and at the end.
async fn traces(
    mut reports: mpsc::Receiver<Report>,
    dropped: Arc<spans::Dropped>,
    resource: Arc<messages::Attributes>,
    mut sender: Sender,
    signal: Signal,
    mut stopping: watch::Receiver<()>,
) {
    let mut is_last = false;
    while !is_last {
        let mut batch = Vec::new();
        let due = clock::now() + signal.interval;
        while batch.len() < spans::BATCH {
            tokio::select! {
                biased;
                report = reports.recv() => match report {
                    Some(report) => batch.push(report),
                    None => break,
                },
                () = tokio::time::sleep_until(due) => break,
                _ = stopping.changed() => {
                    is_last = true;
                    break;
                }
            }
        }
        dropped.tell();
        if !batch.is_empty() {
            let spans = spans::of(batch);
            sender.send(messages::traces(&resource, &spans)).await;
        }
    }
}
