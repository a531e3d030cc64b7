//! Watches `pg_stat_activity`: how many server connections there really are.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

/// Samples the number of connections to one database, until stopped.
#[derive(Debug)]
pub struct Sampler {
    most: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Sampler {
    /// Counts the client backends of `database`, `admin`'s own excepted, every 50 ms.
    pub fn start(admin: tokio_postgres::Client, database: &str) -> Sampler {
        let (most, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let database = database.to_owned();
        let task = tokio::spawn({
            let (most, stop) = (most.clone(), stop.clone());
            async move {
                while !stop.load(Ordering::Relaxed) {
                    most.fetch_max(count(&admin, &database).await, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        Sampler { most, stop, task }
    }

    /// The most seen so far.
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// Ends the sampling; the most that was ever seen.
    pub async fn stop(self) -> u32 {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.task.await;
        self.most.load(Ordering::Relaxed)
    }
}

/// Client backends of `database` at this moment, `admin`'s own excepted.
pub async fn count(admin: &tokio_postgres::Client, database: &str) -> u32 {
    const SQL: &str = "SELECT count(*) FROM pg_catalog.pg_stat_activity \
                       WHERE datname = $1 AND backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()";
    let row = admin
        .query_one(SQL, &[&database])
        .await
        .expect("pg_stat_activity can be read");
    u32::try_from(row.get::<_, i64>(0)).expect("a count fits")
}
