//! The answer oracle over TDS: every client asks for its own token in every form of the protocol and checks that it is its
//! own token that comes back, while some leave as rudely as they can and some change their mind.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    Kind, Server,
    client::{Call, Credentials, Lines, RawClient},
    wire::{Put as _, packet, packet::kind as packet_kind},
};
use crate::{
    clock,
    oracle::{Verdict, Wrong},
    random::Random,
};

/// Bit of a status: the session shall be as after login.
const RESET: u8 = 0x08;
/// Rows of the table that large answers are made of.
const ROWS: usize = 60;

/// How to ask.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// Where.
    pub address: SocketAddr,
    /// Login name.
    pub user: &'static str,
    /// Its password.
    pub password: &'static str,
    /// The database to ask for.
    pub database: &'static str,
    /// What answers in the end: a server of the probe kind announces fewer transactions.
    pub kind: Kind,
    /// Clients at a time.
    pub clients: u32,
    /// How long.
    pub duration: Duration,
    /// Percent of requests that end with the client gone in the middle of its request.
    pub rude: u64,
    /// Percent of requests that end with the client gone in the middle of its answer.
    pub leaving: u64,
    /// Percent of requests that an Attention follows.
    pub attention: u64,
    /// An answer that takes longer is a hang.
    pub patience: Duration,
    /// Numbers of errors that are to be expected because somebody disturbs the server; `closed` is a connection that ends.
    pub tolerated: &'static [&'static str],
}

impl Oracle {
    /// Creates the tables that the questions use; once per server.
    pub fn prepare(server: &Server) {
        server.execute("CREATE TABLE oracle (token nvarchar(100) NOT NULL PRIMARY KEY); CREATE TABLE numbers (n int)");
        let rows: Vec<String> = (0..ROWS).map(|number| format!("({number})")).collect();
        server.execute(&format!("INSERT INTO numbers VALUES {}", rows.join(", ")));
    }

    /// Asks for as long as it was told.
    pub async fn run(&self) -> Verdict {
        // Tokens of several runs on one server must differ.
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            let oracle = self.clone();
            clients.spawn(async move { Client::new(oracle, run, number).run().await });
        }
        let mut verdict = Verdict::default();
        while let Some(result) = clients.join_next().await {
            verdict.add(result.expect("no client panics"));
        }
        verdict
    }

    /// Fails the test unless all that was acknowledged is there, and nothing that nobody asked to commit.
    #[track_caller]
    pub fn expect_written(verdict: &Verdict, server: &Server) {
        let rows = server.execute("SELECT token FROM oracle");
        let there: std::collections::HashSet<&str> = rows.iter().filter_map(|row| row[0].as_deref()).collect();
        let lost = verdict
            .acknowledged
            .iter()
            .filter(|token| !there.contains(token.as_str()));
        let undead = verdict.abandoned.iter().filter(|token| there.contains(token.as_str()));
        let (lost, undead) = (lost.count(), undead.count());
        assert!(
            lost + undead == 0,
            "{lost} of {} acknowledged tokens are lost, {undead} of {} that were given up are there",
            verdict.acknowledged.len(),
            verdict.abandoned.len()
        );
    }
}

struct Client {
    oracle: Oracle,
    run: u32,
    number: u32,
    asked: u64,
    random: Random,
    verdict: Verdict,
}

/// A client's connection, and what the client believes of it.
struct Session {
    client: RawClient,
    patience: Duration,
    kind: Kind,
    /// The client's own prepared statement.
    own: i32,
    /// What it set: no two neighbours the same.
    date_first: u32,
}

impl Client {
    fn new(oracle: Oracle, run: u32, number: u32) -> Client {
        Client {
            oracle,
            run,
            number,
            asked: 0,
            random: Random::new(u64::from(number)),
            verdict: Verdict::default(),
        }
    }

    async fn run(mut self) -> Verdict {
        let deadline = clock::now() + self.oracle.duration;
        let mut session = None;
        while clock::now() < deadline {
            let outcome = match session.take() {
                Some(open) => self.ask(open).await,
                None => self.log_in().await.map(Some),
            };
            match outcome {
                Ok(kept) => session = kept,
                Err(wrong) => self.verdict.note(self.number, wrong, self.oracle.tolerated),
            }
        }
        self.verdict
    }

    async fn log_in(&mut self) -> Result<Session, Wrong> {
        let credentials = Credentials {
            user: self.oracle.user,
            password: self.oracle.password,
            database: self.oracle.database,
            ..Credentials::default()
        };
        let login = RawClient::log_in(self.oracle.address, &credentials);
        let (client, lines) = in_time(self.oracle.patience, login).await?;
        no_error(&lines)?;
        if !lines.iter().any(|line| line.starts_with("loginack")) {
            return Err(Wrong::Garbled(format!("a login without its token: {lines:#?}")));
        }
        let mut session = Session {
            client,
            patience: self.oracle.patience,
            kind: self.oracle.kind,
            own: 0,
            date_first: 1 + self.number % 6,
        };
        self.settle(&mut session).await?;
        Ok(session)
    }

    /// The setting and the prepared statement that are this client's own.
    async fn settle(&mut self, session: &mut Session) -> Result<(), Wrong> {
        let answer = session.batch(&format!("SET DATEFIRST {}", session.date_first)).await?;
        session.expect(&answer, &[], "")?;
        let prepare = Call::id(11)
            .int("@handle", None, true)
            .text("", "@t nvarchar(200)")
            .text("", &format!("SELECT @t + N'/{}' AS t, @@DATEFIRST AS d", self.number));
        let answer = session.call(&prepare).await?;
        session.expect(&answer, &[], "")?;
        session.own = returned(&answer, "@handle")?;
        Ok(())
    }

    fn token(&mut self) -> String {
        self.asked += 1;
        format!(
            "run{}-client{}-request{}-{:x}",
            self.run,
            self.number,
            self.asked,
            self.random.bits()
        )
    }

    /// One request in a form chosen at random; None when the client left on purpose.
    async fn ask(&mut self, mut session: Session) -> Result<Option<Session>, Wrong> {
        if self.random.percent(self.oracle.rude) {
            self.leave_in_request(session).await;
            return Ok(None);
        }
        if self.random.percent(self.oracle.leaving) {
            self.leave_in_answer(session).await;
            return Ok(None);
        }
        let token = self.token();
        if self.random.percent(self.oracle.attention) {
            let after = Duration::from_micros(self.random.below(6000));
            session.changed_mind(&token, after).await?;
        }
        match self.random.below(12) {
            0 => session.simple(&token).await?,
            1 => session.parameters(&token).await?,
            2 => session.prepared(&token, self.number).await?,
            3 => session.several_calls(&token, self.number).await?,
            4 => session.large_answer(&token).await?,
            5 => session.large_request(&token).await?,
            6 => session.failing(&token).await?,
            7 => session.temporary(&token).await?,
            8 => {
                session.reset(&token).await?;
                self.settle(&mut session).await?;
            }
            9 => {
                session.given_up(&token).await?;
                self.verdict.abandoned.push(token);
            }
            10 => {
                session.transaction(&token).await?;
                self.verdict.acknowledged.push(token);
            }
            _ => {
                session.transaction_in_text(&token).await?;
                self.verdict.acknowledged.push(token);
            }
        }
        self.verdict.right += 1;
        Ok(Some(session))
    }

    /// Half a packet, a message without its end, a transaction without its end, an answer nobody waits for.
    async fn leave_in_request(&mut self, mut session: Session) {
        let token = self.token();
        let mut payload = session.client.headers();
        payload.utf16(&format!("SELECT N'{token}' AS t /* {} */", "x".repeat(3000)));
        let whole = packet::split(packet_kind::BATCH, &payload, session.client.packet_size, 0);
        let client = &mut session.client;
        let insert = format!("INSERT INTO oracle VALUES (N'{token}')");
        match self.random.below(7) {
            0 => drop(client.send_raw(&whole[..37]).await),
            1 => drop(client.send_raw(&whole[..client.packet_size]).await),
            2 => client.start(0, &format!("BEGIN TRAN; {insert}")).await,
            3 => client.start(0, "WAITFOR DELAY '00:00:00.050'").await,
            4 => {
                let call = Call::id(12).int("", Some(session.own), false).text("", &token);
                let mut payload = client.headers();
                payload.raw(call.body());
                let _ = client.send(packet_kind::RPC, 0, &payload).await;
            }
            5 => {
                client.start(0, "WAITFOR DELAY '00:00:00.050'").await;
                let _ = client.attention().await;
            }
            _ => {
                let mut payload = client.headers();
                payload.raw(&[5, 0, 0, 0]);
                let _ = client.send(packet_kind::TRANSACTION, 0, &payload).await;
                if session.read().await.is_ok() {
                    session.client.start(0, &insert).await;
                }
            }
        }
        self.verdict.abandoned.push(token);
        if self.random.percent(50) {
            tokio::time::sleep(Duration::from_millis(self.random.below(5))).await;
        }
        self.leave(session);
    }

    async fn leave_in_answer(&mut self, mut session: Session) {
        let token = self.token();
        let sql = format!("SELECT N'{token}' AS t, REPLICATE('x', 8000) AS x FROM numbers");
        session.client.start(0, &sql).await;
        let _ = in_time(session.patience, session.client.read_some()).await;
        self.leave(session);
    }

    fn leave(&mut self, session: Session) {
        if self.random.percent(50) {
            session.client.abort();
        }
        self.verdict.left += 1;
    }
}

impl Session {
    async fn read(&mut self) -> Result<Lines, Wrong> {
        in_time(self.patience, self.client.read()).await
    }

    async fn send(&mut self, kind: u8, bits: u8, body: impl FnOnce(&mut Vec<u8>)) -> Result<(), Wrong> {
        let mut payload = self.client.headers();
        body(&mut payload);
        in_time(self.patience, self.client.send(kind, bits, &payload)).await
    }

    async fn batch(&mut self, sql: &str) -> Result<Lines, Wrong> {
        self.send(packet_kind::BATCH, 0, |out| out.utf16(sql)).await?;
        self.read().await
    }

    async fn call(&mut self, call: &Call) -> Result<Lines, Wrong> {
        self.send(packet_kind::RPC, 0, |out| out.raw(call.body())).await?;
        self.read().await
    }

    async fn manage(&mut self, body: &[u8]) -> Result<Lines, Wrong> {
        self.send(packet_kind::TRANSACTION, 0, |out| out.raw(body)).await?;
        self.read().await
    }

    async fn simple(&mut self, token: &str) -> Result<(), Wrong> {
        let answer = self.batch(&format!("SELECT N'{token}' AS t, @@DATEFIRST AS d")).await?;
        self.expect(&answer, &[format!("row '{token}' {}", self.date_first)], "")
    }

    async fn parameters(&mut self, token: &str) -> Result<(), Wrong> {
        let call = Call::id(10)
            .text("", "SELECT @t AS t, @n AS n, @@TRANCOUNT AS c")
            .text("", "@t nvarchar(200), @n int")
            .text("@t", token)
            .int("@n", Some(4711), false);
        let answer = self.call(&call).await?;
        self.expect(&answer, &[format!("row '{token}' 4711 0")], "")
    }

    /// The handle of long ago, and one that is made, used and forgotten.
    async fn prepared(&mut self, token: &str, number: u32) -> Result<(), Wrong> {
        let own = Call::id(12).int("", Some(self.own), false).text("", token);
        let expected = [format!("row '{token}/{number}' {}", self.date_first)];
        let answer = self.call(&own).await?;
        self.expect(&answer, &expected, "")?;
        let prepare = Call::id(13)
            .int("", None, true)
            .text("", "@t nvarchar(200)")
            .text("", &format!("SELECT @t + N'+{number}' AS t"))
            .text("", token);
        let answer = self.call(&prepare).await?;
        let expected = [format!("row '{token}+{number}'")];
        self.expect(&answer, &expected, "")?;
        let handle = returned(&answer, "")?;
        let answer = self
            .call(&Call::id(12).int("", Some(handle), false).text("", token))
            .await?;
        self.expect(&answer, &expected, "")?;
        let answer = self.call(&Call::id(15).int("", Some(handle), false)).await?;
        self.expect(&answer, &[], "")
    }

    /// Three calls in a message, the middle one fails.
    async fn several_calls(&mut self, token: &str, number: u32) -> Result<(), Wrong> {
        let own = Call::id(12).int("", Some(self.own), false).text("", token);
        let broken = Call::id(10).text("", "SELECT 1 / 0 AS x");
        let answer = self.call(&own.clone().then(&broken).then(&own)).await?;
        let row = format!("row '{token}/{number}' {}", self.date_first);
        let found: Vec<&str> = answer
            .iter()
            .map(String::as_str)
            .filter(|line| line.starts_with("row") || line.starts_with("error"))
            .collect();
        match found[..] {
            [first, error, last] if first == row && last == row && error.starts_with("error 8134 ") => {
                complete(&answer, true)
            }
            _ => Err(unexpected(&answer, "two rows around an error 8134")),
        }
    }

    async fn large_answer(&mut self, token: &str) -> Result<(), Wrong> {
        let sql = format!("SELECT N'{token}' AS t, REPLICATE('y', 500) AS y FROM numbers");
        let answer = self.batch(&sql).await?;
        let row = format!("row '{token}' '{}'", "y".repeat(500));
        self.expect(&answer, &vec![row; ROWS], "")
    }

    async fn large_request(&mut self, token: &str) -> Result<(), Wrong> {
        let sql = format!("/* {} */ SELECT N'{token}' AS t", "z".repeat(20_000));
        let answer = self.batch(&sql).await?;
        self.expect(&answer, &[format!("row '{token}'")], "")
    }

    async fn failing(&mut self, token: &str) -> Result<(), Wrong> {
        let answer = self.batch(&format!("SELECT [{token}] FROM numbers")).await?;
        let error = answer.iter().find(|line| line.starts_with("error "));
        match error {
            Some(error) if error.starts_with("error 207 ") && error.contains(token) => complete(&answer, true),
            Some(error) if !error.starts_with("error 207 ") => no_error(&answer),
            _ => Err(unexpected(&answer, token)),
        }
    }

    /// A table that exists on one server connection only.
    async fn temporary(&mut self, token: &str) -> Result<(), Wrong> {
        let answer = self.batch("CREATE TABLE #mine (token nvarchar(100))").await?;
        self.expect(&answer, &[], "")?;
        let answer = self.batch(&format!("INSERT INTO #mine VALUES (N'{token}')")).await?;
        self.expect(&answer, &[], "")?;
        let answer = self.batch("SELECT token FROM #mine").await?;
        self.expect(&answer, &[format!("row '{token}'")], "")?;
        let answer = self.batch("DROP TABLE #mine").await?;
        self.expect(&answer, &[], "")
    }

    /// As a driver's pool does: a request that first makes the session new.
    async fn reset(&mut self, token: &str) -> Result<(), Wrong> {
        let sql = format!("SELECT N'{token}' AS t, @@DATEFIRST AS d");
        self.send(packet_kind::BATCH, RESET, |out| out.utf16(&sql)).await?;
        let answer = self.read().await?;
        self.expect(&answer, &[format!("row '{token}' 7")], "18")?;
        let gone = self
            .call(&Call::id(12).int("", Some(self.own), false).text("", token))
            .await?;
        if gone.iter().any(|line| line.starts_with("error 8179 ")) {
            complete(&gone, true)
        } else {
            Err(unexpected(&gone, "an error 8179"))
        }
    }

    /// Begun and rolled back, in requests of the transaction manager or in text.
    async fn given_up(&mut self, token: &str) -> Result<(), Wrong> {
        let answer = self
            .batch(&format!("BEGIN TRAN; INSERT INTO oracle VALUES (N'{token}')"))
            .await?;
        self.expect(&answer, &[], "8")?;
        let answer = self
            .batch(&format!(
                "SELECT token, @@TRANCOUNT AS c FROM oracle WHERE token = N'{token}'"
            ))
            .await?;
        self.expect(&answer, &[format!("row '{token}' 1")], "")?;
        let answer = self.batch("ROLLBACK").await?;
        self.expect(&answer, &[], "10")
    }

    async fn transaction(&mut self, token: &str) -> Result<(), Wrong> {
        let answer = self.manage(&[5, 0, 0, 0]).await?;
        self.expect(&answer, &[], "8")?;
        self.write_and_read(token).await?;
        // Every other one as drivers do that are always in a transaction: the next one begins where this one ends.
        let chained = self.date_first.is_multiple_of(2);
        let answer = if chained {
            self.manage(&[7, 0, 0, 1, 0, 0]).await?
        } else {
            self.manage(&[7, 0, 0, 0]).await?
        };
        self.expect(&answer, &[], if chained { "9 8" } else { "9" })?;
        self.read_back(token).await?;
        if chained {
            let answer = self.manage(&[8, 0, 0, 0]).await?;
            self.expect(&answer, &[], "10")?;
        }
        Ok(())
    }

    async fn transaction_in_text(&mut self, token: &str) -> Result<(), Wrong> {
        let answer = self.batch("BEGIN TRAN").await?;
        self.expect(&answer, &[], "8")?;
        self.write_and_read(token).await?;
        let answer = self.batch("COMMIT TRAN").await?;
        self.expect(&answer, &[], "9")?;
        self.read_back(token).await
    }

    async fn write_and_read(&mut self, token: &str) -> Result<(), Wrong> {
        let insert = Call::id(10)
            .text("", "INSERT INTO oracle VALUES (@t)")
            .text("", "@t nvarchar(100)")
            .text("@t", token);
        let answer = self.call(&insert).await?;
        self.expect(&answer, &[], "")?;
        let answer = self
            .batch(&format!(
                "SELECT token, @@TRANCOUNT AS c FROM oracle WHERE token = N'{token}'"
            ))
            .await?;
        self.expect(&answer, &[format!("row '{token}' 1")], "")
    }

    async fn read_back(&mut self, token: &str) -> Result<(), Wrong> {
        let answer = self
            .batch(&format!("SELECT token FROM oracle WHERE token = N'{token}'"))
            .await?;
        self.expect(&answer, &[format!("row '{token}'")], "")
    }

    /// A request that an Attention follows: one acknowledgement comes, and nothing behind it.
    async fn changed_mind(&mut self, token: &str, after: Duration) -> Result<(), Wrong> {
        let sql = format!("SELECT N'{token}' AS t; WAITFOR DELAY '00:00:00.003'");
        self.send(packet_kind::BATCH, 0, |out| out.utf16(&sql)).await?;
        tokio::time::sleep(after).await;
        in_time(self.patience, self.client.attention()).await?;
        let mut heard = Lines::new();
        for _ in 0..2 {
            heard.extend(self.read().await?);
            if acknowledges(&heard) {
                let row = format!("row '{token}'");
                let foreign = heard.iter().any(|line| line.starts_with("row") && *line != row);
                let error = heard.iter().any(|line| line.starts_with("error"));
                return match foreign || error {
                    false => Ok(()),
                    true => Err(unexpected(&heard, &row)),
                };
            }
        }
        Err(unexpected(&heard, "the acknowledgement of an Attention"))
    }

    /// The answer's rows and ENVCHANGEs, and that it is complete; messages and column names aside.
    fn expect(&self, answer: &Lines, rows: &[String], changes: &str) -> Result<(), Wrong> {
        no_error(answer)?;
        let found: Vec<&String> = answer.iter().filter(|line| line.starts_with("row")).collect();
        let probe = self.kind == Kind::Probe;
        let found_changes: Vec<&str> = answer
            .iter()
            .filter_map(|line| line.strip_prefix("env ")?.split(' ').next())
            .filter(|number| !probe || !matches!(*number, "8" | "9" | "10"))
            .collect();
        let expected: Vec<&str> = changes
            .split_whitespace()
            .filter(|number| !probe || !matches!(*number, "8" | "9" | "10"))
            .collect();
        if !found.iter().copied().eq(rows) || found_changes != expected {
            return Err(unexpected(answer, &format!("{rows:?} and changes {expected:?}")));
        }
        complete(answer, false)
    }
}

/// Whether the last token acknowledges an Attention.
fn acknowledges(lines: &Lines) -> bool {
    lines.last().is_some_and(|line| line.starts_with("done 0020 "))
}

/// Nothing of the gateway's own business, no acknowledgement of an Attention, and an end.
fn complete(answer: &Lines, failed: bool) -> Result<(), Wrong> {
    let status = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        matches!(name, "done" | "doneproc" | "doneinproc").then(|| u16::from_str_radix(rest.get(..4)?, 16).ok())?
    };
    let last = answer.last().and_then(|line| status(line));
    let foreign = answer.iter().any(|line| {
        line.starts_with("state")
            || line.starts_with("features")
            || line.starts_with("loginack")
            || status(line).is_some_and(|status| status & 0x20 != 0 || (status & 2 != 0 && !failed))
    });
    match last {
        Some(status) if status & 1 == 0 && !foreign => Ok(()),
        _ => Err(Wrong::Garbled(format!("{answer:#?}"))),
    }
}

/// An output parameter that is an int.
fn returned(answer: &Lines, name: &str) -> Result<i32, Wrong> {
    let prefix = format!("return 0 {name} ");
    let value = answer.iter().find_map(|line| line.strip_prefix(&prefix)?.parse().ok());
    value.ok_or_else(|| unexpected(answer, &prefix))
}

fn no_error(answer: &Lines) -> Result<(), Wrong> {
    match answer.iter().find_map(|line| line.strip_prefix("error ")) {
        Some(error) => Err(Wrong::Failed {
            code: error.split(' ').next().unwrap_or_default().to_owned(),
            text: error.to_owned(),
        }),
        None => Ok(()),
    }
}

fn unexpected(answer: &Lines, expected: &str) -> Wrong {
    // Some rows are long.
    let shown: Vec<String> = answer
        .iter()
        .take(12)
        .map(|line| line.chars().take(200).collect())
        .collect();
    Wrong::Token(format!(
        "expected {expected}, found {} tokens: {shown:#?}",
        answer.len()
    ))
}

/// With a limit, and what a failure means.
async fn in_time<T>(patience: Duration, work: impl Future<Output = io::Result<T>>) -> Result<T, Wrong> {
    match tokio::time::timeout(patience, work).await {
        Err(_) => Err(Wrong::Hang),
        Ok(Ok(value)) => Ok(value),
        // What is no sequence of tokens.
        Ok(Err(error)) if error.kind() == io::ErrorKind::Other => Err(Wrong::Garbled(error.to_string())),
        Ok(Err(error)) => Err(error.into()),
    }
}
