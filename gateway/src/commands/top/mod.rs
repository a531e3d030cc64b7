//! `weir top`: the sources of a gateway, live.
//!
//! Here is what touches the terminal and the network; what is shown is a pure function (`view`). Invariant: the terminal is
//! put back however the command ends, also by a panic or SIGTERM.

mod view;

use std::{
    io::{IsTerminal as _, stdout},
    process::ExitCode,
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers},
    widgets::Paragraph,
};
use serde_json::json;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use weir_core::clock::{self, Instant};

use super::{
    client::{self, Client, ClientError, Failure},
    stats::Snapshot,
};
use crate::cli::TopArgs;

pub(crate) use view::Column;
use view::View;

/// The shortest time between two looks: each costs the gateway a walk over its clients.
const SHORTEST: Duration = Duration::from_millis(200);

/// Columns of the table when nobody says how wide the paper is.
const PLAIN_WIDTH: u16 = 120;

/// Between two questions of the thread that reads keys whether it is still needed.
const KEY_PATIENCE: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) fn run(args: &TopArgs) -> ExitCode {
    client::run(&args.remote, 1, |client| async move {
        let mut watch = Watch::begin(client, args).await?;
        if stdout().is_terminal() {
            live(&mut watch).await?;
            return Ok(ExitCode::SUCCESS);
        }
        tokio::time::sleep(watch.interval).await;
        watch.look().await?;
        Ok(super::print(view::plain(&watch.view, PLAIN_WIDTH).as_bytes()))
    })
}

/// A gateway that is looked at again and again.
struct Watch {
    client: Client,
    interval: Duration,
    view: View,
    /// When the present look was.
    at: Instant,
}

impl Watch {
    /// With a first look, so that what is wrong with the address is said before the screen is taken.
    async fn begin(client: Client, args: &TopArgs) -> Result<Self, Failure> {
        let snapshot = ask(&client).await?;
        Ok(Watch {
            interval: args.interval.max(SHORTEST),
            view: View::new(client.endpoint().to_owned(), args.sort, snapshot),
            client,
            at: clock::now(),
        })
    }

    async fn look(&mut self) -> Result<(), ClientError> {
        let snapshot = ask(&self.client).await?;
        let now = clock::now();
        self.view.advance(snapshot, now.duration_since(self.at));
        self.at = now;
        Ok(())
    }

    /// A look whose failure is shown, and tried again.
    async fn look_again(&mut self) {
        if let Err(error) = self.look().await {
            self.view.trouble = error.to_string().lines().next().map(str::to_owned);
        }
    }
}

async fn ask(client: &Client) -> Result<Snapshot, ClientError> {
    client
        .request("get_pool_stats", json!({}))
        .await
        .map(|answer| Snapshot::of(&answer))
}

async fn live(watch: &mut Watch) -> Result<(), Failure> {
    let mut terminated = signal(SignalKind::terminate()).map_err(|error| error.to_string())?;
    // Takes the screen; a panic puts it back.
    let mut terminal = ratatui::try_init().map_err(|error| format!("cannot use the terminal: {error}"))?;
    let mut keys = keys();
    let ended = loop {
        if let Err(error) = draw(&mut terminal, &watch.view) {
            break Err(Failure::Other(format!("cannot draw: {error}")));
        }
        let next = async {
            match watch.view.is_still {
                true => std::future::pending().await,
                false => tokio::time::sleep(watch.interval).await,
            }
        };
        tokio::select! {
            _ = terminated.recv() => break Ok(()),
            event = keys.recv() => match event {
                Some(event) if leaves(&event) => break Ok(()),
                Some(event) => react(&mut watch.view, &event),
                None => break Ok(()),
            },
            () = next => watch.look_again().await,
        }
    };
    ratatui::restore();
    ended
}

fn draw(terminal: &mut DefaultTerminal, view: &View) -> std::io::Result<()> {
    terminal.draw(|frame| {
        let area = frame.area();
        frame.render_widget(Paragraph::new(view::lines(view, area.width, area.height)), area);
    })?;
    Ok(())
}

/// Events of the terminal, read by a thread of their own, which ends when nobody listens any more.
fn keys() -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        while !sender.is_closed() {
            let event = match event::poll(KEY_PATIENCE) {
                Ok(false) => continue,
                Ok(true) => event::read(),
                Err(error) => Err(error),
            };
            let Some(()) = event.ok().and_then(|event| sender.blocking_send(event).ok()) else {
                return;
            };
        }
    });
    receiver
}

fn leaves(event: &Event) -> bool {
    let Event::Key(key) = event else { return false };
    let interrupts = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind != KeyEventKind::Release && (interrupts || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn react(view: &mut View, event: &Event) {
    let Event::Key(key) = event else { return };
    if key.kind == KeyEventKind::Release {
        return;
    }
    match key.code {
        KeyCode::Char('s') => view.sort = view.sort.next(),
        KeyCode::Char('S') => view.sort = view.sort.previous(),
        KeyCode::Char('r') => view.is_reversed = !view.is_reversed,
        KeyCode::Char('p') => view.has_details = !view.has_details,
        KeyCode::Char(' ') => view.is_still = !view.is_still,
        KeyCode::Up | KeyCode::Char('k') => view.choose(-1),
        KeyCode::Down | KeyCode::Char('j') => view.choose(1),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use ratatui::crossterm::event::KeyEvent;

    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn q_and_control_c_leave_and_nothing_else_does() {
        for (code, modifiers, wanted) in [
            (KeyCode::Char('q'), KeyModifiers::NONE, true),
            (KeyCode::Char('c'), KeyModifiers::CONTROL, true),
            (KeyCode::Char('c'), KeyModifiers::NONE, false),
            (KeyCode::Char('s'), KeyModifiers::NONE, false),
        ] {
            assert_eq!(leaves(&key(code, modifiers)), wanted, "{code:?}");
        }
    }

    #[test]
    fn keys_change_the_view() {
        let mut view = View::new("http://x".to_owned(), Column::Waiting, Snapshot::default());
        for (code, changed) in [('s', "sort"), ('r', "order"), ('p', "details"), (' ', "still")] {
            let before = format!("{view:?}");
            react(&mut view, &key(KeyCode::Char(code), KeyModifiers::NONE));
            assert_ne!(before, format!("{view:?}"), "{changed}");
        }
        react(&mut view, &key(KeyCode::Char('S'), KeyModifiers::NONE));
        assert_eq!(view.sort, Column::Waiting);
    }
}
