//! What a peer can make the gateway hold: results nobody reads (M2), lengths that lie (M4), logins without end (M6).

use std::time::Duration;

use weir_tests::{
    clock,
    gateway::Gateway,
    site::{Plan, Site, is_direct},
    wire::{self, Message, RawClient, Security},
};

const KIB: u64 = 1024;

fn resident(site: &Site) -> u64 {
    site.gateway.as_ref().map_or(0, Gateway::resident)
}

/// M2 for so many seconds: 20 clients ask for a gigabyte each and read nothing; others are served.
async fn nobody_reads(seconds: u64) {
    const READERS: u64 = 20;
    let site = Site::start(Plan {
        connections: 22,
        heavy: true,
        ..Plan::default()
    })
    .await;
    let mut other = site.raw().await;
    // What a first use costs is not what is measured.
    for _ in 0..50 {
        other.rows("select repeat('x', 20000)").await;
    }
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = site.raw().await;
        reader.rows("select repeat('x', 200000)").await;
        readers.push(reader);
    }
    let before = resident(&site);
    for reader in &mut readers {
        reader
            .send(&wire::query(
                "select repeat('x', 1000) from generate_series(1, 1000000)",
            ))
            .await
            .unwrap();
    }
    let started = clock::now();
    let mut most = 0;
    let mut served = 0;
    while started.elapsed() < Duration::from_secs(seconds) {
        assert_eq!(other.rows("select 'served'").await, ["served"]);
        served += 1;
        most = most.max(resident(&site));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let grown = most.saturating_sub(before) / READERS;
    eprintln!(
        "nobody reads: {} KiB for each, others were served {served} times",
        grown / KIB
    );
    assert!(
        grown <= 64 * KIB,
        "{} KiB for each client that does not read",
        grown / KIB
    );
    drop(readers);
    // What they held is free again.
    let mut next = site.raw().await;
    for _ in 0..50 {
        assert_eq!(next.rows("select 'free'").await, ["free"]);
    }
}

#[tokio::test]
async fn results_that_nobody_reads() {
    nobody_reads(4).await;
}

#[tokio::test]
#[ignore = "half a minute: make nightly"]
async fn results_that_nobody_reads_for_long() {
    nobody_reads(30).await;
}

/// M4 and S12: 2^31 ± 1, 2^32 - 1 (-1), and lengths shorter than themselves.
const LENGTHS: &[u32] = &[0, 1, 3, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_fffe, 0xffff_ffff];

/// Closed within a second, or answered 08P01 (during login, 28P01).
async fn expect_refusal(client: &mut RawClient, what: &str) {
    let answer = client.until_closed(Duration::from_secs(1)).await;
    match answer {
        Ok(messages) => {
            let wrong = messages.iter().find(|message| {
                message.tag == b'E'
                    && !message
                        .sqlstate()
                        .is_some_and(|code| code.starts_with("08") || code == "28P01")
            });
            assert!(wrong.is_none(), "{what}: {}", wire::describe(&messages));
            assert!(
                !messages.iter().any(|message| message.tag == b'Z'),
                "{what}: goes on: {}",
                wire::describe(&messages)
            );
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

#[tokio::test]
async fn lengths_that_lie_before_login() {
    let site = Site::start(Plan::default()).await;
    let before = resident(&site);
    for length in LENGTHS {
        for body in [
            &b""[..],
            &[0, 3, 0, 0],
            &80_877_103_u32.to_be_bytes(),
            b"GET / HTTP/1.1\r\n\r\n",
        ] {
            let mut client = RawClient::open(site.address()).await.unwrap();
            client.send(&[&length.to_be_bytes()[..], body].concat()).await.unwrap();
            expect_refusal(&mut client, &format!("a startup of length {length:#x}, {body:?}")).await;
        }
        // In the middle of the login.
        let mut client = RawClient::open(site.address()).await.unwrap();
        client
            .send(&wire::startup(0, &[("user", site.role), ("database", &site.database)]))
            .await
            .unwrap();
        assert_eq!(client.receive().await.unwrap().map(|message| message.tag), Some(b'R'));
        client
            .send(&wire::hostile(b'p', *length, b"SCRAM-SHA-256\0"))
            .await
            .unwrap();
        expect_refusal(&mut client, &format!("a password of length {length:#x}")).await;
    }
    // And inside of a SASLInitialResponse, whose own length lies.
    for inner in LENGTHS
        .iter()
        .chain(&[1000])
        .filter(|inner| **inner > 3 && **inner != 0xffff_ffff)
    {
        let mut client = RawClient::open(site.address()).await.unwrap();
        client
            .send(&wire::startup(0, &[("user", site.role), ("database", &site.database)]))
            .await
            .unwrap();
        client.receive().await.unwrap();
        client
            .send(&wire::password(
                &[b"SCRAM-SHA-256\0", &inner.to_be_bytes()[..], b"n,,n=,r=abc"].concat(),
            ))
            .await
            .unwrap();
        let answer = client.until_closed(Duration::from_secs(1)).await.unwrap();
        let code = answer.first().and_then(Message::sqlstate);
        assert!(
            code.is_none_or(|code| code == "08P01" || code == "28P01"),
            "{}",
            wire::describe(&answer)
        );
    }
    assert!(
        resident(&site).saturating_sub(before) < 4096 * KIB,
        "grown by {} KiB",
        (resident(&site) - before) / KIB
    );
}

#[tokio::test]
async fn lengths_that_lie_after_login() {
    let site = Site::start(Plan::default()).await;
    site.raw().await.rows("select 1").await;
    let before = resident(&site);
    for tag in *b"PBDECSQFHdcfXp" {
        for length in LENGTHS {
            let mut client = site.raw().await;
            client.send(&wire::hostile(tag, *length, b"select 1\0")).await.unwrap();
            expect_refusal(&mut client, &format!("{} of length {length:#x}", char::from(tag))).await;
        }
    }
    let grown = resident(&site).saturating_sub(before);
    assert!(
        grown < 4096 * KIB,
        "grown by {} KiB over {} clients",
        grown / KIB,
        14 * LENGTHS.len()
    );
    assert_eq!(site.raw().await.rows("select 'unharmed'").await, ["unharmed"]);
}

/// A long message is announced and does not come: nothing is allocated for it.
#[tokio::test]
async fn announced_lengths_cost_nothing() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        connections: 2,
        heavy: true,
        ..Plan::default()
    })
    .await;
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(site.raw().await);
    }
    clients[0].rows("select 1").await;
    let before = resident(&site);
    for (number, client) in clients.iter_mut().enumerate() {
        let tag = b"QPBFd"[number % 5];
        client.send(&wire::hostile(tag, 900_000_000, b"select ")).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let grown = resident(&site).saturating_sub(before) / 50;
    assert!(grown <= 64 * KIB, "{} KiB for each announcement", grown / KIB);
    drop(clients);
    assert_eq!(site.raw().await.rows("select 'free'").await, ["free"]);
}

/// Messages whose insides do not fit their length.
#[tokio::test]
async fn messages_that_contradict_themselves() {
    let site = Site::start(Plan {
        connections: 1,
        ..Plan::default()
    })
    .await;
    let bind = |parameters: &[u8]| wire::message(b'B', &[b"\0\0", parameters].concat());
    let bodies: &[(&str, Vec<u8>)] = &[
        ("Query without its end", wire::message(b'Q', b"select 1")),
        ("Query with two ends", wire::message(b'Q', b"select 1\0 and more\0")),
        ("empty Query", wire::message(b'Q', b"")),
        ("Parse without its end", wire::message(b'P', b"name")),
        (
            "Parse with fewer types than said",
            wire::message(b'P', b"\0select 1\0\x00\x05\0\0\0\0"),
        ),
        (
            "Parse with more types than said",
            wire::message(b'P', b"\0select 1\0\x00\x00\0\0\0\0"),
        ),
        ("Bind without its end", wire::message(b'B', b"\0")),
        ("Bind with 65,535 formats", bind(&[0xff, 0xff])),
        ("Bind with 65,535 parameters", bind(&[0, 0, 0xff, 0xff])),
        (
            "Bind with a parameter of 2^31-1 bytes",
            bind(&[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "Bind with a parameter of -2 bytes",
            bind(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe]),
        ),
        ("Describe of nothing", wire::message(b'D', b"")),
        ("Describe without its end", wire::message(b'D', b"Sname")),
        ("Execute without a number", wire::message(b'E', b"\0\0")),
        ("Close of nothing", wire::message(b'C', b"")),
        ("Sync with a body", wire::message(b'S', b"body")),
        ("Flush with a body", wire::message(b'H', b"body")),
        ("FunctionCall cut off", wire::message(b'F', &[0, 0, 0, 177, 0, 1])),
        ("CopyFail without its end", wire::message(b'f', b"why")),
        ("an unknown type", wire::message(b'y', b"")),
        ("a type of zero", wire::message(0, b"")),
        ("a server's message", wire::message(b'Z', b"I")),
    ];
    for (what, bytes) in bodies {
        let mut client = site.raw().await;
        client.send(&[&bytes[..], &wire::sync()].concat()).await.unwrap();
        // Any answer will do, as long as the client is either answered or disconnected, and nobody else is harmed.
        let mut closed = false;
        let started = clock::now();
        loop {
            match tokio::time::timeout(Duration::from_secs(2), client.receive()).await {
                Ok(Ok(Some(message))) if message.tag == b'Z' => break,
                Ok(Ok(Some(_))) => {}
                Ok(_) => {
                    closed = true;
                    break;
                }
                // Stray COPY messages are not answered, only the Sync is.
                Err(_) => panic!("{what}: no answer and still open after {:?}", started.elapsed()),
            }
        }
        drop(client);
        let mut next = site.raw().await;
        assert_eq!(
            next.rows("select 'unharmed'").await,
            ["unharmed"],
            "after {what} (closed: {closed})"
        );
        next.leave().await;
    }
}

/// M6: 10,000 bytes of StartupMessage are enough for everybody.
#[tokio::test]
async fn long_startups_are_refused() {
    let site = Site::start(Plan::default()).await;
    let padding = |total: usize| {
        let base = wire::startup(
            0,
            &[
                ("user", site.role),
                ("database", &site.database),
                ("application_name", ""),
            ],
        )
        .len();
        wire::startup(
            0,
            &[
                ("user", site.role),
                ("database", &site.database),
                ("application_name", &"x".repeat(total - base)),
            ],
        )
    };
    let mut client = RawClient::open(site.address()).await.unwrap();
    client.send(&padding(9_990)).await.unwrap();
    assert_eq!(
        client.receive().await.unwrap().map(|message| message.tag),
        Some(b'R'),
        "9,990 bytes are fine"
    );
    for total in [10_100, 70_000, 1_000_000] {
        let mut client = RawClient::open(site.address()).await.unwrap();
        let _ = client.send(&padding(total)).await;
        let answer = client.until_closed(Duration::from_secs(2)).await.unwrap_or_default();
        assert!(
            answer.iter().all(|message| message.tag == b'E'),
            "{total} bytes: {}",
            wire::describe(&answer)
        );
    }
    // Parameters without end, and a password without end.
    let before = resident(&site);
    let mut client = RawClient::open(site.address()).await.unwrap();
    let mut startup = 100_000_000_u32.to_be_bytes().to_vec();
    startup.extend([0, 3, 0, 0]);
    let _ = client.send(&startup).await;
    for _ in 0..1000 {
        if client.send(&b"key\0value\0".repeat(100)).await.is_err() {
            break;
        }
    }
    assert!(client.until_closed(Duration::from_secs(2)).await.is_ok());
    let mut client = RawClient::open(site.address()).await.unwrap();
    client
        .send(&wire::startup(0, &[("user", site.role), ("database", &site.database)]))
        .await
        .unwrap();
    client.receive().await.unwrap();
    let _ = client.send(&wire::message(b'p', &vec![b'x'; 200_000])).await;
    let answer = client.until_closed(Duration::from_secs(2)).await.unwrap_or_default();
    assert!(!answer.iter().any(|message| message.tag == b'Z'));
    assert!(resident(&site).saturating_sub(before) < 1024 * KIB);
}

/// Half-open logins do not keep others out, and end at the login time limit.
#[tokio::test]
async fn half_open_logins_keep_nobody_out() {
    let site = Site::start(Plan {
        heavy: true,
        ..Plan::default()
    })
    .await;
    let mut half_open = Vec::new();
    for number in 0..100 {
        let mut client = RawClient::open(site.address()).await.unwrap();
        let startup = wire::startup(0, &[("user", site.role), ("database", &site.database)]);
        client.send(&startup[..number % startup.len()]).await.unwrap();
        half_open.push(client);
    }
    for _ in 0..5 {
        assert_eq!(site.raw().await.rows("select 'served'").await, ["served"]);
    }
}

#[tokio::test]
#[ignore = "waits for the login time limit: make nightly"]
async fn half_open_logins_end_in_time() {
    if is_direct() {
        return;
    }
    let site = Site::start(Plan {
        heavy: true,
        tls: Some("prefer"),
        ..Plan::default()
    })
    .await;
    let beginnings = [
        vec![],
        vec![0, 0, 0],
        wire::ssl_request(),
        wire::startup(0, &[("user", site.role), ("database", &site.database)]),
        vec![0x16, 3, 1],
    ];
    for beginning in beginnings {
        let mut client = RawClient::open_with(site.address(), &Security::Clear).await.unwrap();
        client.patience.0 = Duration::from_secs(30);
        client.send(&beginning).await.unwrap();
        let started = clock::now();
        while client.fill().await.is_ok_and(|read| read > 0) {}
        assert!(
            started.elapsed() < Duration::from_secs(17),
            "{beginning:?}: closed after {:?}",
            started.elapsed()
        );
    }
}
