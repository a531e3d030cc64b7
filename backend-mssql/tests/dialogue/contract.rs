//! The contract that every backend keeps, with recorded exchanges of this one.

use std::sync::Arc;

use weir_core::testing::contract::{Exchange, check};
use weir_mssql::{dialogue::Conversation, session::SourceState};

use crate::{
    gateway::{init, session},
    messages::{Calls, batch, batch_in},
    model::{Kind, Model},
};

fn exchange(model: &mut Model, client: Vec<u8>) -> Exchange {
    model.send(&client);
    Exchange {
        client,
        server: model.receive(),
        in_transaction: model.in_transaction(),
    }
}

#[test]
fn the_contract_is_kept() {
    let mut model = Model::new(Kind::SqlServer, 1);
    let long = "x".repeat(2_000);
    let exchanges: Vec<Exchange> = [
        batch("PRINT a"),
        batch("SET NOCOUNT ON"),
        Calls::new().sql("PRINT b").done(),
        batch(&format!("PRINT {long}")),
        batch("SELECT long 200"),
        batch("RAISERROR"),
        batch("BEGIN TRAN; INSERT a"),
        batch_in(1001, "INSERT b"),
        batch_in(1001, "COMMIT"),
    ]
    .into_iter()
    .map(|request| exchange(&mut model, request))
    .collect();
    assert!(exchanges[6].in_transaction && !exchanges[8].in_transaction);
    let shared: Arc<SourceState> = SourceState::new();
    check(
        || {
            let model = Model::new(Kind::SqlServer, 1);
            (
                Conversation::new(init(&shared, Kind::SqlServer)),
                session(&shared, &model),
            )
        },
        &exchanges,
    );
}
