//! The answer oracle: every client asks for its own token in every form of the protocol and checks that it is its own
//! token that comes back, while some clients leave as rudely as they can.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use tokio::task::JoinSet;

use crate::{
    clock,
    cluster::{ROLE, ROLE_PASSWORD},
    random::Random,
    wire::{
        self, Message, Patience, RawClient, Security, bind, describe_message, execute, first_columns, first_error,
        parse, query, sync,
    },
};

/// How to ask.
#[derive(Clone, Debug)]
pub struct Oracle {
    /// Where.
    pub address: SocketAddr,
    /// Database name.
    pub database: String,
    /// Clients at a time.
    pub clients: u32,
    /// How long.
    pub duration: Duration,
    /// Percent of requests that end with the client gone in the middle of its request.
    pub rude: u64,
    /// Percent of requests that end with the client gone in the middle of its answer.
    pub leaving: u64,
    /// An answer that takes longer is a hang.
    pub patience: Duration,
    /// SQLSTATEs, or their beginnings, that are to be expected because somebody disturbs the database; `closed` is a
    /// connection that ends.
    pub tolerated: &'static [&'static str],
}

/// What came of it.
#[derive(Clone, Default)]
pub struct Verdict {
    /// Right answers.
    pub right: u64,
    /// Answers that belong to somebody else, or are not what was asked for.
    pub wrong: u64,
    /// Answers that did not come.
    pub hung: u64,
    /// Answers that are no protocol.
    pub garbled: u64,
    /// Clients that left on purpose.
    pub left: u64,
    /// Errors and disconnections that were to be expected.
    pub disturbed: u64,
    /// Errors and disconnections that were not.
    pub failed: u64,
    /// Tokens whose COMMIT was acknowledged.
    pub acknowledged: Vec<String>,
    /// Tokens written in transactions that nobody asked to commit.
    pub abandoned: Vec<String>,
    /// The first few of everything that is not right, in words.
    pub examples: Vec<String>,
}

impl std::fmt::Debug for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} right, {} WRONG, {} HANG, {} GARBLED, {} failed, {} disturbed, {} left on purpose; {:#?}",
            self.right, self.wrong, self.hung, self.garbled, self.failed, self.disturbed, self.left, self.examples
        )
    }
}

impl Verdict {
    /// Takes another client's verdict in.
    pub(crate) fn add(&mut self, other: Verdict) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.hung += other.hung;
        self.garbled += other.garbled;
        self.left += other.left;
        self.disturbed += other.disturbed;
        self.failed += other.failed;
        self.acknowledged.extend(other.acknowledged);
        self.abandoned.extend(other.abandoned);
        self.examples.extend(other.examples);
        self.examples.truncate(10);
    }

    /// Counts what is wrong with one answer.
    pub(crate) fn note(&mut self, client: u32, wrong: Wrong, tolerated: &[&str]) {
        let (count, text) = match wrong {
            Wrong::Token(text) => (&mut self.wrong, format!("WRONG {text}")),
            Wrong::Hang => (&mut self.hung, "HANG".to_owned()),
            Wrong::Garbled(text) => (&mut self.garbled, format!("GARBLED {text}")),
            Wrong::Failed { code, .. } if tolerated.iter().any(|tolerated| code.starts_with(tolerated)) => {
                self.disturbed += 1;
                return;
            }
            Wrong::Failed { text, .. } => (&mut self.failed, format!("FAILED {text}")),
        };
        *count += 1;
        if self.examples.len() < 3 {
            self.examples.push(format!("client {client}: {text}"));
        }
    }

    /// Fails the test unless every answer was right.
    #[track_caller]
    pub fn expect_clean(&self) {
        let clean = self.wrong == 0 && self.hung == 0 && self.garbled == 0 && self.failed == 0;
        assert!(clean && self.right > 0, "the oracle found fault: {self:?}");
    }

    /// Fails the test unless everything that was acknowledged is there. (Nothing can be there twice: it is a key.)
    pub async fn expect_written(&self, admin: &tokio_postgres::Client) {
        const SQL: &str = "SELECT t FROM unnest($1::text[]) t WHERE NOT EXISTS (SELECT FROM oracle WHERE token = t)";
        let lost = admin
            .query(SQL, &[&self.acknowledged])
            .await
            .expect("the tokens can be counted");
        assert!(
            lost.is_empty(),
            "{} of {} acknowledged tokens are lost",
            lost.len(),
            self.acknowledged.len()
        );
    }
}

/// What is wrong with one answer.
pub(crate) enum Wrong {
    Token(String),
    Hang,
    Garbled(String),
    Failed { code: String, text: String },
}

impl From<std::io::Error> for Wrong {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::TimedOut => Wrong::Hang,
            std::io::ErrorKind::InvalidData => Wrong::Garbled(error.to_string()),
            // A refused login: `SQLSTATE: message`.
            std::io::ErrorKind::PermissionDenied => {
                let text = error.to_string();
                Wrong::Failed {
                    code: text.chars().take(5).collect(),
                    text,
                }
            }
            _ => Wrong::Failed {
                code: "closed".to_owned(),
                text: error.to_string(),
            },
        }
    }
}

impl Oracle {
    /// Creates the table that the transactions use; once per database.
    pub async fn prepare(admin: &tokio_postgres::Client) {
        let sql = format!("CREATE TABLE oracle (token text PRIMARY KEY); GRANT ALL ON oracle TO {ROLE}");
        admin.batch_execute(&sql).await.expect("a table can be made");
    }

    /// Asks for as long as it was told.
    pub async fn run(&self) -> Verdict {
        self.run_mixed(&Security::Clear).await
    }

    /// The same, every second client secured like this.
    pub async fn run_mixed(&self, security: &Security) -> Verdict {
        // Tokens of several runs on one database must differ.
        static RUNS: AtomicU32 = AtomicU32::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let mut clients = JoinSet::new();
        for number in 0..self.clients {
            let oracle = self.clone();
            let security = match number % 2 {
                0 => Security::Clear,
                _ => security.clone(),
            };
            clients.spawn(async move { Client::new(oracle, security, run, number).run().await });
        }
        let mut verdict = Verdict::default();
        while let Some(result) = clients.join_next().await {
            verdict.add(result.expect("no client panics"));
        }
        verdict
    }
}

struct Client {
    oracle: Oracle,
    security: Security,
    run: u32,
    number: u32,
    asked: u64,
    random: Random,
    verdict: Verdict,
}

impl Client {
    fn new(oracle: Oracle, security: Security, run: u32, number: u32) -> Client {
        Client {
            oracle,
            security,
            run,
            number,
            asked: 0,
            random: Random::new(u64::from(number)),
            verdict: Verdict::default(),
        }
    }

    async fn run(mut self) -> Verdict {
        let deadline = clock::now() + self.oracle.duration;
        let mut connection = None;
        while clock::now() < deadline {
            let outcome = match connection.take() {
                Some(open) => self.ask(open).await,
                None => self.log_in().await,
            };
            match outcome {
                Ok(kept) => connection = kept,
                Err(wrong) => self.verdict.note(self.number, wrong, self.oracle.tolerated),
            }
        }
        if let Some(open) = connection {
            open.leave().await;
        }
        self.verdict
    }

    async fn log_in(&mut self) -> Result<Option<RawClient>, Wrong> {
        let parameters = [("user", ROLE), ("database", self.oracle.database.as_str())];
        let login = RawClient::log_in_with(self.oracle.address, &self.security, ROLE_PASSWORD, 0, &parameters);
        let mut client = tokio::time::timeout(self.oracle.patience, login)
            .await
            .map_err(|_| Wrong::Hang)??;
        client.patience = Patience(self.oracle.patience);
        // The oracle's own prepared statement: the same name in every client, another text in each.
        let sql = format!("SELECT $1::text || '/{}'", self.number);
        let answer = client.ask(&[parse("own", &sql, &[]), sync()].concat()).await?;
        no_error(&answer)?;
        Ok(Some(client))
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
    async fn ask(&mut self, mut client: RawClient) -> Result<Option<RawClient>, Wrong> {
        if self.random.percent(self.oracle.rude) {
            self.leave_in_request(client).await;
            return Ok(None);
        }
        if self.random.percent(self.oracle.leaving) {
            self.leave_in_answer(client).await;
            return Ok(None);
        }
        let token = self.token();
        match self.random.below(7) {
            0 => simple(&mut client, &token).await?,
            1 => extended(&mut client, &token).await?,
            2 => prepared(&mut client, &token, self.number).await?,
            3 => pipelined(&mut client, &token, self.number).await?,
            4 => many_rows(&mut client, &token).await?,
            5 => failing(&mut client, &token).await?,
            _ => {
                transaction(&mut client, &token).await?;
                self.verdict.acknowledged.push(token);
            }
        }
        self.verdict.right += 1;
        Ok(Some(client))
    }

    /// Half a message, a Parse without its Sync, a transaction without its end, a statement nobody waits for.
    async fn leave_in_request(&mut self, mut client: RawClient) {
        let token = self.token();
        let bytes = match self.random.below(5) {
            0 => query(&format!("SELECT '{token}'"))[..9].to_vec(),
            1 => parse("", &format!("SELECT '{token}'"), &[]),
            2 => query(&format!("BEGIN; INSERT INTO oracle VALUES ('{token}')")),
            3 => query("SELECT pg_sleep(0.05)"),
            _ => [
                parse("", "SELECT 1", &[]),
                bind("", "", &[]),
                execute("", 0),
                sync(),
                parse("x", "SELEC", &[]),
            ]
            .concat(),
        };
        let _ = client.send(&bytes).await;
        if self.random.percent(50) {
            tokio::time::sleep(Duration::from_millis(self.random.below(5))).await;
        }
        self.verdict.left += 1;
    }

    async fn leave_in_answer(&mut self, mut client: RawClient) {
        let token = self.token();
        let _ = client
            .send(&query(&format!(
                "SELECT '{token}', repeat('x', 20000) FROM generate_series(1, 50)"
            )))
            .await;
        let _ = client.receive().await;
        self.verdict.left += 1;
    }
}

async fn simple(client: &mut RawClient, token: &str) -> Result<(), Wrong> {
    let answer = client.simple(&format!("SELECT '{token}'")).await?;
    expect(&answer, &[token], "TDCZ")
}

async fn extended(client: &mut RawClient, token: &str) -> Result<(), Wrong> {
    let request = [
        parse("", "SELECT $1::text", &[]),
        bind("", "", &[Some(token.as_bytes())]),
        describe_message(b'P', ""),
        execute("", 0),
        sync(),
    ];
    let answer = client.ask(&request.concat()).await?;
    expect(&answer, &[token], "12TDCZ")
}

/// In two round trips of its own: the unnamed statement must still be this client's in the second one.
async fn prepared(client: &mut RawClient, token: &str, number: u32) -> Result<(), Wrong> {
    let answer = client
        .ask(
            &[
                parse("", &format!("SELECT $1::text || '+{number}'"), &[]),
                describe_message(b'S', ""),
                sync(),
            ]
            .concat(),
        )
        .await?;
    expect(&answer, &[], "1tTZ")?;
    let unnamed = [bind("", "", &[Some(token.as_bytes())]), execute("", 0), sync()].concat();
    expect(&client.ask(&unnamed).await?, &[&format!("{token}+{number}")], "2DCZ")?;
    let named = [bind("", "own", &[Some(token.as_bytes())]), execute("", 0), sync()].concat();
    expect(&client.ask(&named).await?, &[&format!("{token}/{number}")], "2DCZ")
}

/// Three groups at once, the middle one fails.
async fn pipelined(client: &mut RawClient, token: &str, number: u32) -> Result<(), Wrong> {
    let own = [bind("", "own", &[Some(token.as_bytes())]), execute("", 0), sync()].concat();
    let broken = [
        parse("", "SELECT 1/0", &[]),
        bind("", "", &[]),
        execute("", 0),
        bind("", "own", &[None]),
        sync(),
    ]
    .concat();
    client.send(&[own.clone(), broken, own].concat()).await?;
    let expected = format!("{token}/{number}");
    expect(&client.until(b'Z').await?, &[&expected], "2DCZ")?;
    let answer = client.until(b'Z').await?;
    expect_error(&answer, "22012")?;
    expect(&client.until(b'Z').await?, &[&expected], "2DCZ")
}

async fn many_rows(client: &mut RawClient, token: &str) -> Result<(), Wrong> {
    let answer = client
        .simple(&format!(
            "SELECT '{token}', repeat('y', 500) FROM generate_series(1, 100)"
        ))
        .await?;
    expect(&answer, &[token; 100], &format!("T{}CZ", "D".repeat(100)))
}

async fn failing(client: &mut RawClient, token: &str) -> Result<(), Wrong> {
    let answer = client.simple(&format!("SELECT \"{token}\"")).await?;
    expect_error(&answer, "42703")?;
    let message = first_error(&answer)
        .and_then(|error| error.field(b'M'))
        .unwrap_or_default();
    if message.contains(token) {
        Ok(())
    } else {
        Err(Wrong::Token(format!("{token}: {}", wire::describe(&answer))))
    }
}

async fn transaction(client: &mut RawClient, token: &str) -> Result<(), Wrong> {
    expect(&client.simple("BEGIN").await?, &[], "CZ")?;
    expect(
        &client.simple(&format!("INSERT INTO oracle VALUES ('{token}')")).await?,
        &[],
        "CZ",
    )?;
    let mine =
        format!("SELECT token FROM oracle WHERE xmin::text = pg_current_xact_id()::xid::text AND token = '{token}'");
    expect(&client.simple(&mine).await?, &[token], "TDCZ")?;
    expect(&client.simple("COMMIT").await?, &[], "CZ")?;
    expect(
        &client
            .simple(&format!("SELECT token FROM oracle WHERE token = '{token}'"))
            .await?,
        &[token],
        "TDCZ",
    )
}

fn no_error(answer: &[Message]) -> Result<(), Wrong> {
    match first_error(answer) {
        Some(error) => Err(Wrong::Failed {
            code: error.sqlstate().unwrap_or_default().to_owned(),
            text: error.to_string(),
        }),
        None => Ok(()),
    }
}

/// An error of this code; another one may be the database's own trouble, and no error at all is somebody else's answer.
fn expect_error(answer: &[Message], code: &str) -> Result<(), Wrong> {
    match first_error(answer).and_then(Message::sqlstate) {
        Some(found) if found == code => Ok(()),
        Some(_) => no_error(answer),
        None => Err(Wrong::Token(format!(
            "an error {code} was to come, found\n{}",
            wire::describe(answer)
        ))),
    }
}

/// The answer's rows and message types, ParameterStatus and notices aside.
fn expect(answer: &[Message], rows: &[&str], tags: &str) -> Result<(), Wrong> {
    no_error(answer)?;
    let found: String = answer
        .iter()
        .map(|message| char::from(message.tag))
        .filter(|tag| !matches!(tag, 'S' | 'N' | 'A'))
        .collect();
    if found == tags && first_columns(answer) == rows {
        Ok(())
    } else {
        Err(Wrong::Token(format!(
            "expected {tags} {rows:?}, found\n{}",
            wire::describe(answer)
        )))
    }
}
