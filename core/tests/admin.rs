//! The console over the toy gateway: who may do what (S9), and commands that take their time.

use std::{sync::Arc, time::Duration};

use proptest::prelude::*;
use weir_core::{
    admin::{Answer, Cell, Command, Console, Operator, Problem, Role, Scope, Shutdown},
    refusal::{Rejection, Retry},
    registry::{Entry, Flow, Registry},
    settings::{PoolSettings, Timeouts},
    testing::gateway::Gateway,
};

fn gateway(max_connections: u32) -> Gateway {
    let pool = PoolSettings {
        max_connections,
        pool_timeout: Some(Duration::from_secs(15)),
        ..PoolSettings::default()
    };
    Gateway::new(pool, Timeouts::default())
}

fn console(gateway: &Gateway) -> Arc<Console> {
    let registry = Registry::new();
    registry.replace([("toy_database".to_owned(), Entry::Ready(gateway.source.clone()))].into());
    Console::new(vec![registry], gateway.clients.clone(), "1.2.3")
}

fn one(name: &str) -> Scope {
    Scope::One(name.into())
}

async fn pass(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

struct Deaf;

#[async_trait::async_trait]
impl Operator for Deaf {
    async fn reload(&self) -> Result<String, Vec<String>> {
        Err(vec!["first".to_owned(), "second".to_owned()])
    }

    fn shut_down(&self, _: Shutdown) {}
}

#[tokio::test(start_paused = true)]
async fn s9_every_command_by_every_role() {
    let gateway = gateway(1);
    let console = console(&gateway);
    for command in Command::samples() {
        let looks = matches!(command, Command::Show(_) | Command::ExplainPool(_));
        assert!(Role::Admin.may(&command), "{command}");
        assert_eq!(Role::Stats.may(&command), looks, "{command}");
        let denied = matches!(console.answer(&command, Role::Stats).await, Err(Problem::Denied(_)));
        assert_eq!(denied, !looks, "stats: {command}");
        assert!(!gateway.source.is_paused(), "{command} was denied");
        let denied = matches!(console.answer(&command, Role::Admin).await, Err(Problem::Denied(_)));
        assert!(!denied, "admin: {command}");
    }
    for nobody in ["", "user", "Admin", "ADMIN", "stats ", "administrator"] {
        assert_eq!(Role::of(nobody), None, "{nobody:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_dropped_is_taken_back_and_one_that_has_come_to_its_end_is_not() {
    let gateway = gateway(1);
    let console = console(&gateway);
    let pause = Command::Pause(Scope::All);
    let mut client = gateway.connect();
    assert_eq!(client.ask("begin").await, "begun");
    let waited = tokio::time::timeout(Duration::from_secs(5), console.answer(&pause, Role::Admin)).await;
    assert!(waited.is_err(), "a transaction runs");
    assert!(!gateway.source.is_paused());

    // What somebody else has paused is not this one's to resume.
    assert_eq!(gateway.source.pause(), Flow::Running);
    let waited = tokio::time::timeout(Duration::from_secs(5), console.answer(&pause, Role::Admin)).await;
    assert!(waited.is_err());
    assert!(gateway.source.is_paused());
    client.ask("commit").await;
    assert!(matches!(
        console.answer(&pause, Role::Admin).await,
        Ok(Answer::Done { tag: "PAUSE", .. })
    ));
    assert!(gateway.source.is_paused());
    assert_eq!(gateway.database.open(), 0);

    client.send("echo 1").await;
    pass(3_600_000).await;
    let resume = Command::Resume(one("toys"));
    assert!(console.answer(&resume, Role::Admin).await.is_ok());
    assert_eq!(client.answer().await.map(|(_, text)| text).as_deref(), Some("1"));
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_is_taken_back_leaves_alone_what_others_have_done_since() {
    let (first, second) = (gateway(1), gateway(1));
    let registry = Registry::new();
    let entries = [("first", &first), ("second", &second)];
    let entries = entries.map(|(name, gateway)| (name.to_owned(), Entry::Ready(gateway.source.clone())));
    registry.replace(entries.into());
    let all = Console::new(vec![registry], first.clients.clone(), "1.2.3");
    let others = console(&second);
    let mut client = first.connect();
    assert_eq!(client.ask("begin").await, "begun");
    let said = |commands: &[Command]| {
        let (others, commands) = (others.clone(), commands.to_vec());
        async move {
            for command in &commands {
                assert!(others.answer(command, Role::Admin).await.is_ok(), "{command}");
            }
        }
    };
    let (pause, resume) = (Command::Pause(one("toys")), Command::Resume(one("toys")));
    let meanwhile = [
        (vec![], false),
        (vec![pause.clone()], true),
        (vec![Command::Kill(one("toys"))], true),
        (vec![resume.clone(), pause], true),
        (vec![resume.clone()], false),
    ];
    for (commands, stays) in meanwhile {
        let waiting = tokio::spawn({
            let all = all.clone();
            async move { all.answer(&Command::Pause(Scope::All), Role::Admin).await }
        });
        pass(10).await;
        assert!(second.source.is_paused());
        said(&commands).await;
        assert!(!waiting.is_finished(), "a transaction runs");
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        assert!(!first.source.is_paused());
        assert_eq!(second.source.is_paused(), stays, "{commands:?}");
        second.source.resume();
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_who_wait_for_a_pause_the_last_to_leave_takes_it_back() {
    let gateway = gateway(1);
    let console = console(&gateway);
    let mut client = gateway.connect();
    assert_eq!(client.ask("begin").await, "begun");
    let wait = || {
        let console = console.clone();
        tokio::spawn(async move { console.answer(&Command::Pause(Scope::All), Role::Admin).await })
    };
    let (first, second) = (wait(), wait());
    for (waiting, is_paused) in [(first, true), (second, false)] {
        pass(10).await;
        waiting.abort();
        assert!(waiting.await.expect_err("aborted").is_cancelled());
        assert_eq!(gateway.source.is_paused(), is_paused);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_is_found_by_its_name_and_by_its_databases() {
    let gateway = gateway(1);
    let console = console(&gateway);
    assert!(console.answer(&Command::Pause(one("toys")), Role::Admin).await.is_ok());
    let nowhere = console.answer(&Command::Resume(one("nowhere")), Role::Admin).await;
    assert_eq!(nowhere, Err(Problem::NoSuchSource("nowhere".to_owned())));
    assert!(gateway.source.is_paused());
    assert!(console.answer(&Command::Resume(Scope::All), Role::Admin).await.is_ok());
    assert!(!gateway.source.is_paused());
}

#[tokio::test(start_paused = true)]
async fn what_the_process_does_is_not_there_without_it_and_says_everything_with_it() {
    let gateway = gateway(1);
    let console = console(&gateway);
    let reload = console.answer(&Command::Reload, Role::Admin).await;
    assert_eq!(reload, Err(Problem::Unavailable("RELOAD")));
    console.set_operator(Arc::new(Deaf));
    let refused = console.answer(&Command::Reload, Role::Admin).await.expect_err("deaf");
    assert_eq!(refused.detail().as_deref(), Some("first\nsecond"));
}

/// The words of the rows of EXPLAIN POOL about one subject.
async fn explained(console: &Console, subject: &str) -> Vec<String> {
    let explain = Command::ExplainPool("toys".into());
    let Ok(Answer::Table(table)) = console.answer(&explain, Role::Stats).await else {
        panic!("no explanation");
    };
    assert_eq!(explain.columns(), Some(table.columns));
    let rows = table.rows.into_iter();
    rows.filter_map(|row| match &row[..] {
        [_, Cell::Text(said), _, Cell::Text(words)] if said == subject => Some(words.clone()),
        _ => None,
    })
    .collect()
}

#[tokio::test(start_paused = true)]
async fn a_database_that_says_no_is_quoted_by_explain() {
    let gateway = gateway(1);
    let console = console(&gateway);
    assert_eq!(explained(&console, "verdict").await, ["nobody waits"]);
    gateway.database.refuse_logins(Some(Rejection {
        code: "28P01".to_owned(),
        message: "the password is wrong".to_owned(),
        detail: None,
        hint: None,
        retry: Retry::Useless,
    }));
    let mut client = gateway.connect();
    client.ask("echo 1").await;
    let verdict = explained(&console, "verdict").await.join(" ");
    assert!(verdict.contains("the password is wrong (28P01)"), "{verdict}");
    gateway.source.pause();
    assert_eq!(
        explained(&console, "verdict").await,
        ["paused, and at rest: nobody waits"]
    );
    gateway.database.refuse_logins(None);
    gateway.source.resume();
    let mut client = gateway.connect();
    assert_eq!(client.ask("echo 2").await, "2", "what was wrong before is forgotten");
    assert_eq!(explained(&console, "advice").await, ["nothing"]);
}

proptest! {
    #[test]
    fn no_text_is_too_odd_for_the_parser(text in any::<String>(), more in "[a-z\"'; _]{0,40}") {
        for text in [&text, &more] {
            if let Ok(commands) = Command::parse(text) {
                for command in commands {
                    prop_assert_eq!(Command::parse(&command.to_string()), Ok(vec![command]));
                }
            }
        }
    }
}
