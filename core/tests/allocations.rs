//! M8: lending a connection and taking it back allocates nothing, and neither does waiting for it.

use std::{
    future::Future,
    pin::pin,
    task::{Context, Poll, Waker},
};

use weir_core::{
    settings::{PoolSettings, Timeouts},
    testing::gateway::Gateway,
};

#[test]
fn lending_a_warm_connection_and_waiting_for_it_allocates_nothing() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime for the test");
    let _context = runtime.enter();
    let gateway = Gateway::new(
        PoolSettings {
            max_connections: 1,
            ..PoolSettings::default()
        },
        Timeouts::default(),
    );
    let pool = gateway.source.parts().primary.clone();
    let first = runtime
        .block_on(pool.acquire((), None))
        .expect("the toy's database lets everybody in");
    first.finish();
    let lend = || pool.try_acquire(&()).expect("the connection is back").finish();
    lend();
    let counted = allocation_counter::measure(|| (0..1000).for_each(|_| lend()));
    assert_eq!(counted.count_total, 0, "{counted:?}");

    let mut held = pool.try_acquire(&());
    let mut wait = || {
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = pin!(pool.acquire((), None));
        assert!(
            waits.as_mut().poll(&mut context).is_pending(),
            "somebody has the only one"
        );
        held.take().expect("it was lent").finish();
        match waits.as_mut().poll(&mut context) {
            Poll::Ready(lease) => held = lease.ok(),
            Poll::Pending => panic!("a connection that came back to a queue of one is not idle"),
        }
    };
    wait();
    let counted = allocation_counter::measure(|| (0..1000).for_each(|_| wait()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
