//! What a process believes of a client that another one hands over, and what it does not.

use weir_core::settings::{PoolMode, SessionStatePolicy};
use weir_mssql::{
    dialogue::{
        Conversation,
        packed::{Packed, PackedStatement, PackedTransaction},
    },
    session::SourceState,
};

use crate::{
    gateway::{Gateway, init},
    messages::{Calls, batch, batch_in, begin, descriptor, handle},
    model::Kind,
};

/// A client with a setting, two handles and a transaction that no server knows.
fn packed() -> Packed {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.ask(client, &batch("SET ROWCOUNT 2"));
    gateway.send(client, &Calls::new().prepare("VALUE").done());
    assert_eq!(handle(&gateway.receive(client)), 1);
    gateway.send(client, &begin(5));
    assert_ne!(descriptor(&gateway.receive(client)), 0);
    gateway.clients[client].conversation.packed().expect("it is at rest")
}

fn resume(packed: &Packed) -> Result<(), &'static str> {
    Conversation::resume(init(&SourceState::new(), Kind::SqlServer), packed).map(drop)
}

#[test]
fn everything_that_is_its_own_goes_along() {
    let packed = packed();
    assert_eq!(packed.now.settings, [("ROWCOUNT".to_owned(), "2".to_owned())]);
    assert_eq!((packed.now.isolation, packed.login.isolation), (5, 2));
    assert_eq!((packed.last_handle, packed.statements.len()), (1, 1));
    assert!(
        packed
            .transaction
            .is_some_and(|transaction| transaction.descriptor != 0)
    );
    assert_eq!(resume(&packed), Ok(()));
}

#[test]
fn who_is_in_the_middle_of_something_stays() {
    let mut gateway = Gateway::to(Kind::SqlServer, 1);
    let client = gateway.client();
    gateway.send(client, &begin(0));
    let v = descriptor(&gateway.receive(client));
    gateway.ask(client, &batch_in(v, "INSERT one"));
    assert_eq!(
        gateway.clients[client].conversation.packed(),
        None,
        "a transaction at the server"
    );
    let waiting = gateway.client();
    gateway.send(waiting, &batch("PRINT 1"));
    assert_eq!(gateway.clients[waiting].conversation.packed(), None, "it waits");
}

#[test]
fn what_cannot_be_is_not_believed() {
    type Change = fn(&mut Packed);
    let changes: [(&str, Change); 16] = [
        ("text instead of a value", |packed| {
            packed.now.settings[0].1 += "; DROP TABLE t"
        }),
        ("no such option", |packed| {
            packed.login.settings.push(("SHOWPLAN_ALL".into(), "ON".into()))
        }),
        ("isolation level", |packed| packed.now.isolation = 9),
        ("packets too small", |packed| packed.packet_size = 100),
        ("packets too large", |packed| packed.packet_size = u16::MAX),
        ("an old version", |packed| packed.tds_version = 0x7100_0001),
        ("a version inside of TLS", |packed| packed.tds_version = 0x0800_0000),
        ("handle 0", |packed| packed.statements[0].handle = 0),
        ("handle beyond", |packed| packed.statements[0].handle = u32::MAX),
        ("a handle twice", |packed| {
            packed.statements.push(packed.statements[0].clone())
        }),
        ("cut parameters", |packed| packed.statements[0].parameters.truncate(20)),
        ("another call behind", |packed| {
            packed.statements[0].parameters.extend([0xFF, 0xFF, 0xFF, 10, 0, 0, 0])
        }),
        ("one parameter too few", |packed| {
            packed.statements[0].parameters = vec![0, 0, 0x26, 4, 0]
        }),
        ("a server's number", |packed| transaction(packed).descriptor = 7),
        ("a strange value", |packed| packed.asked_values = 4),
        ("a strange reason", |packed| packed.pin_over = Some(200)),
    ];
    for (what, change) in changes {
        let mut packed = packed();
        change(&mut packed);
        assert!(resume(&packed).is_err(), "{what}");
        // And what is written is read, whatever it is.
        assert_eq!(Packed::read(&packed.write().expect("short")), Ok(packed), "{what}");
    }
}

fn transaction(packed: &mut Packed) -> &mut PackedTransaction {
    packed.transaction.as_mut().expect("it is in one")
}

#[test]
fn any_parameters_make_a_statement_or_none() {
    let mut packed = packed();
    let genuine = packed.statements[0].parameters.clone();
    for at in 0..genuine.len() {
        for value in [0, 1, 0x7F, 0xE7, 0xFF] {
            let mut parameters = genuine.clone();
            parameters[at] = value;
            packed.statements = vec![PackedStatement {
                handle: 1,
                is_procedure: at % 2 == 0,
                parameters,
            }];
            let _ = resume(&packed);
        }
    }
}

#[test]
fn where_other_rules_are_declared_it_stays() {
    let shared = SourceState::new();
    let packed = packed();
    let mut elsewhere = init(&shared, Kind::SqlServer);
    elsewhere.session_state = SessionStatePolicy::Reset;
    assert!(Conversation::resume(elsewhere, &packed).is_err());
    let mut elsewhere = init(&shared, Kind::SqlServer);
    elsewhere.pool_mode = PoolMode::Statement;
    assert!(Conversation::resume(elsewhere, &packed).is_err());
}
