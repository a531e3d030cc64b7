//! What the sessions did, for tests to look at.

use parking_lot::Mutex;

/// One session, from login to end.
#[derive(Clone, Debug, Default)]
pub struct SessionRecord {
    /// Its number, as `@@SPID` says it.
    pub spid: u16,
    /// Whether it still is logged in.
    pub open: bool,
    /// Who logged in.
    pub login: String,
    /// Where it logged in to.
    pub database: String,
    /// What the client calls the server.
    pub server: String,
    /// What the client calls itself.
    pub application: String,
    /// The client's library.
    pub library: String,
    /// As asked in LOGIN7, `0x7400_0004`.
    pub tds_version: u32,
    /// As agreed.
    pub packet_size: u16,
    /// `none`, `login`, `full`, `strict`.
    pub encryption: &'static str,
    /// Ids of the feature extensions it asked for.
    pub features: Vec<u8>,
    /// Whether LOGIN7 said `ApplicationIntent=ReadOnly`.
    pub read_only_intent: bool,
    /// What it asked since.
    pub requests: Vec<RequestRecord>,
    /// Isolation level as `sys.dm_exec_sessions` numbers it: 1 read uncommitted to 5 snapshot.
    pub isolation: u8,
    /// `@@TRANCOUNT` after its last request.
    pub transaction_count: u32,
}

/// What kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// SQL text.
    Batch,
    /// A call.
    Rpc,
    /// Begin, commit, roll back.
    Transaction,
    /// Rows of a bulk load.
    Bulk,
    /// Attention.
    Attention,
}

/// One request.
#[derive(Clone, Debug)]
pub struct RequestRecord {
    /// What kind.
    pub kind: RequestKind,
    /// The batch; the procedures' names and the statement; `begin`, `commit`, `rollback`.
    pub text: String,
    /// Whether the status had the RESETCONNECTION bit.
    pub reset: bool,
    /// Whether the status had the bit of a reset that keeps the transaction.
    pub reset_keeping_transaction: bool,
    /// Of ALL_HEADERS.
    pub descriptor: u64,
    /// Of a call, OptionFlags of its first procedure: 2 asks for rows without column metadata.
    pub options: u16,
    /// How many packets it came in.
    pub packets: usize,
}

#[derive(Debug, Default)]
pub(crate) struct Observed(Mutex<Record>);

#[derive(Debug, Default)]
struct Record {
    sessions: Vec<SessionRecord>,
    order: Vec<(u16, RequestRecord)>,
    most: usize,
}

impl Observed {
    pub(crate) fn opened(&self, session: SessionRecord) {
        let mut record = self.0.lock();
        record.sessions.push(session);
        let open = record.sessions.iter().filter(|session| session.open).count();
        record.most = record.most.max(open);
    }

    pub(crate) fn change(&self, spid: u16, change: impl FnOnce(&mut SessionRecord)) {
        if let Some(session) = self
            .0
            .lock()
            .sessions
            .iter_mut()
            .rev()
            .find(|session| session.spid == spid)
        {
            change(session);
        }
    }

    pub(crate) fn requested(&self, spid: u16, request: RequestRecord) {
        self.change(spid, |session| session.requests.push(request.clone()));
        self.0.lock().order.push((spid, request));
    }

    pub(crate) fn sessions(&self) -> Vec<SessionRecord> {
        self.0.lock().sessions.clone()
    }

    pub(crate) fn requests(&self) -> Vec<(u16, RequestRecord)> {
        self.0.lock().order.clone()
    }

    pub(crate) fn most(&self) -> usize {
        self.0.lock().most
    }

    pub(crate) fn forget(&self) {
        let mut record = self.0.lock();
        record.order.clear();
        record.sessions.retain(|session| session.open);
        for session in &mut record.sessions {
            session.requests.clear();
        }
        record.most = record.sessions.len();
    }
}
