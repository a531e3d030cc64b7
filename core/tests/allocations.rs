//! M8: lending a connection and taking it back allocates nothing.

use weir_core::{
    settings::{PoolSettings, Timeouts},
    testing::gateway::Gateway,
};

#[test]
fn lending_a_warm_connection_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for the test");
    let _context = runtime.enter();
    let gateway = Gateway::new(PoolSettings::default(), Timeouts::default());
    let pool = gateway.source.parts().primary.clone();
    let first = runtime
        .block_on(pool.acquire((), None))
        .expect("the toy's database lets everybody in");
    first.finish();
    let lend = || pool.try_acquire(&()).expect("the connection is back").finish();
    lend();
    let counted = allocation_counter::measure(|| (0..1000).for_each(|_| lend()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
