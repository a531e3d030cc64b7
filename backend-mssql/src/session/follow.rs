//! What a request that was carried out comes to: settings that follow its client, what ties it (TDS 6.2, 6.3).

use super::{
    Session, Traces, UNCERTAIN_ISOLATION, classify,
    classify::{Calls, Certainty, Change, Findings},
    init::Tracker,
    pins::{Pins, Tie},
    session_state::Word,
    settings::{Isolation, Key, Setting, Settings},
    uncertain_bit,
};

/// How a response ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Success,
    /// There was an ERROR in it: nobody knows what was carried out before.
    Error,
}

impl Session {
    /// Takes note of what a batch, carried out here for a client with these settings, has done.
    pub(crate) fn follow(
        &mut self,
        findings: &Findings,
        outcome: Outcome,
        settings: &mut Settings,
        isolation: &mut Isolation,
    ) {
        for (change, certainty) in &findings.changes {
            let is_certain = outcome == Outcome::Success && *certainty == Certainty::Certain;
            match change {
                Change::Set(setting) => self.follow_setting(setting, is_certain, settings),
                Change::Isolation(level) => self.follow_isolation(*level, is_certain, isolation),
                Change::Unknown(key) => self.uncertain |= uncertain_bit(*key),
                Change::UnknownIsolation => self.uncertain |= UNCERTAIN_ISOLATION,
            }
        }
        if outcome == Outcome::Success {
            self.let_go(&findings.ends);
        }
        self.pins.join(&findings.begins);
        let asks_nobody = self.states.as_ref().is_none_or(|states| states.word() == Word::Nothing);
        if findings.traces == classify::Traces::Left || (findings.calls == Calls::Procedures && asks_nobody) {
            self.traces = Traces::Left;
        }
    }

    fn follow_setting(&mut self, setting: &Setting, is_certain: bool, settings: &mut Settings) {
        let bit = uncertain_bit(setting.key);
        if setting.key == Key::ContextInfo && self.transaction.tracker() == Tracker::Probe {
            // Survives a reset there (TDS 14).
            self.pins.add(Tie::Irreversible);
        }
        let is_news = settings.value(setting.key) != Some(&setting.value) || setting.key.covers_others();
        if is_certain {
            settings.set(setting.clone());
            self.settings.set(setting.clone());
            self.uncertain &= !bit;
        } else if is_news || self.uncertain & bit != 0 {
            self.uncertain |= bit;
            self.traces = Traces::Left;
        }
    }

    fn follow_isolation(&mut self, level: Isolation, is_certain: bool, isolation: &mut Isolation) {
        if is_certain {
            *isolation = level;
            self.isolation = Some(level);
            self.uncertain &= !UNCERTAIN_ISOLATION;
        } else if *isolation != level {
            self.isolation = None;
            self.uncertain |= UNCERTAIN_ISOLATION;
        }
    }

    fn let_go(&mut self, ends: &Pins) {
        for tie in [Tie::Cursor, Tie::ApplicationLock, Tie::Impersonation, Tie::Object] {
            self.pins.remove(tie, ends.count(tie));
        }
        self.pins.switch_off(ends.switches());
    }

    /// At the end of a response, outside of a transaction: what the server itself says of its session (TDS 6.3).
    pub(crate) fn believe_server(&mut self) {
        let Some(states) = &self.states else { return };
        match states.word() {
            Word::Nothing => {}
            Word::Unrecoverable => {
                self.pins.end(Tie::Server);
                self.pins.add(Tie::Server);
                self.traces = Traces::Left;
            }
            Word::Recoverable | Word::Untouched if self.pins.has(Tie::Server) => {
                self.pins.end(Tie::Server);
                self.pins.end_what_the_server_watches();
            }
            Word::Recoverable | Word::Untouched => {}
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use weir_core::backend::{PinReason, SessionState, TransactionDetection};

    use super::*;
    use crate::session::{SessionInit, SourceState, classify::classify};

    pub(crate) fn session(tracker: Tracker) -> Session {
        Session::new(SessionInit {
            tds_version: Default::default(),
            spid: 51,
            packet_size: 4096,
            database: "app".into(),
            language: "us_english".into(),
            collation: [0; 5],
            features: Default::default(),
            initial_state: None,
            profile: Default::default(),
            tracker,
            isolation_level: None,
            max_prepared_statements: 10,
            shared: SourceState::new(),
        })
    }

    struct Client(Session, Settings, Isolation);

    impl Client {
        fn new() -> Self {
            Client(session(Tracker::EnvChange), Settings::default(), Isolation::default())
        }

        fn runs(&mut self, text: &str, outcome: Outcome) -> SessionState {
            let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
            self.0.follow(&classify(&bytes), outcome, &mut self.1, &mut self.2);
            self.0.state()
        }
    }

    const PINNED: SessionState = SessionState::Pinned(PinReason::Unprovable);

    #[test]
    fn what_succeeded_is_set_on_both_sides() {
        let mut client = Client::new();
        assert_eq!(
            client.runs(
                "SET NOCOUNT ON; SET TRANSACTION ISOLATION LEVEL SNAPSHOT",
                Outcome::Success
            ),
            SessionState::Idle
        );
        assert_eq!(client.1.value(Key::NoCount), Some("ON"));
        assert_eq!(
            (client.2, client.0.isolation),
            (Isolation::Snapshot, Some(Isolation::Snapshot))
        );
        assert_eq!(client.0.settings, client.1);
    }

    #[test]
    fn what_failed_may_have_been_set() {
        let mut client = Client::new();
        assert_eq!(client.runs("SET ROWCOUNT 5; SELECT nothing", Outcome::Error), PINNED);
        assert_eq!(client.runs("SELECT 1", Outcome::Success), PINNED);
        assert_eq!(client.runs("SET ROWCOUNT 0", Outcome::Success), SessionState::Idle);
        // What was so before is so, whether it was set or not.
        assert_eq!(
            client.runs("SET ROWCOUNT 0; SELECT nothing", Outcome::Error),
            SessionState::Idle
        );
    }

    #[test]
    fn what_stands_behind_a_condition_may_have_been_set() {
        let mut client = Client::new();
        assert_eq!(
            client.runs("IF 1=2 SET TRANSACTION ISOLATION LEVEL SNAPSHOT", Outcome::Success),
            PINNED
        );
        assert_eq!(
            client.runs("SET TRANSACTION ISOLATION LEVEL READ COMMITTED", Outcome::Success),
            SessionState::Idle
        );
        assert_eq!(
            client.runs(
                "IF 1=2 SET TRANSACTION ISOLATION LEVEL READ COMMITTED",
                Outcome::Success
            ),
            SessionState::Idle
        );
    }

    #[test]
    fn what_ties_is_let_go_when_it_ends_and_leaves_its_traces() {
        let mut client = Client::new();
        assert_eq!(
            client.runs("SET IDENTITY_INSERT t ON", Outcome::Success),
            SessionState::Pinned(PinReason::SessionOption)
        );
        assert_eq!(
            client.runs("SET IDENTITY_INSERT t OFF", Outcome::Success),
            SessionState::Idle
        );
        assert_eq!(client.0.traces, Traces::Left);
    }

    #[test]
    fn procedures_leave_traces_unless_the_server_tells_what_they_left() {
        let mut client = Client::new();
        client.runs("EXEC p", Outcome::Success);
        assert_eq!(client.0.traces, Traces::Left);
        let mut client = Client::new();
        client.0.states = Some(Box::new(super::super::session_state::SessionStates::new(&[])));
        client.runs("EXEC p", Outcome::Success);
        assert_eq!(client.0.traces, Traces::None);
    }
}
