//! Every bound of this crate, with its reason.

/// Redirections followed by one probe. Azure SQL sends one, from its gateway to the node; a second is a loop.
pub const MAX_REDIRECTIONS: u32 = 1;

/// Characters kept of a name or text that the server reports about itself. `@@VERSION` has about 250.
pub const MAX_REPORTED: usize = 512;

/// Bytes of a LOGIN7 message: the protocol's own bound (128 KiB less one). It arrives before anybody is known.
pub const MAX_LOGIN7: usize = 131_071;

/// UTF-16 units of a name or password in LOGIN7, and of the one text that may be longer, a file's path. The protocol's.
pub const MAX_LOGIN_TEXT: usize = 128;

/// See [`MAX_LOGIN_TEXT`].
pub const MAX_LOGIN_FILE: usize = 260;

/// Feature extensions of one login. 16 ids are known; drivers send up to 9.
pub const MAX_FEATURES: usize = 64;

/// Bytes that are said about one feature. Access tokens have a few KiB, and a server's initial session state tens of KiB.
pub const MAX_FEATURE_DATA: usize = 1024 * 1024;

/// Bytes of a PRELOGIN message. Real ones have less than 200.
pub const MAX_PRELOGIN: usize = 4 * 1024;

/// Options of a PRELOGIN message; 8 are known.
pub const MAX_PRELOGIN_OPTIONS: usize = 32;

/// Bytes of one option: an instance's name is the longest.
pub const MAX_PRELOGIN_OPTION: usize = 512;

/// UTF-16 units of the text of an error of our own: SQL Server's own bound for a message.
pub const MAX_OWN_MESSAGE: u16 = 2047;

/// Bytes of something that is only understood when all of it is there: the description of one column, an error, one
/// parameter's head. The longest legal one is a column of a user type or an encryption key, with nearly 200 KiB of names.
pub const MAX_ELEMENT: usize = 256 * 1024;

/// Bytes of a SESSIONSTATE token. SQL Server sends the values of some settings: less than 1 KiB.
pub const MAX_SESSION_STATE: usize = 1024 * 1024;

/// Bytes of a token that is handed out whole. The longest are access tokens and the first session state.
pub const MAX_TOKEN: usize = MAX_SESSION_STATE + 16;

/// Kinds of COMPUTE rows in one response; servers since 2012 have none.
pub const MAX_ALTERNATES: usize = 64;

/// Columns for whose kinds memory stays between responses, on every server connection.
pub const KEPT_COLUMNS: usize = 1024;

/// Bytes of ALL_HEADERS. Without a query notification 22, with trace activity 48; a notification's texts are short.
pub const MAX_ALL_HEADERS: usize = 64 * 1024;

/// Bytes of a parameter whose text is looked at: statements of prepared handles have to be kept to prepare them
/// elsewhere. Longer ones stream by.
pub const MAX_TEXT: usize = weir_core::limits::MAX_PEEK;

/// How many parameters of a call are looked at for texts: those of the well-known procedures are among the first four.
pub const MAX_TEXT_PARAMETERS: u32 = 4;

/// Columns of a table-valued parameter; SQL Server takes 1,024.
pub const MAX_TABLE_COLUMNS: usize = 4096;

/// Characters kept of one word or constant of a text. The longest that is of use is a CONTEXT_INFO constant, 258.
pub const MAX_WORD: usize = 300;

/// Bytes of a batch that are looked at for what it does to its session (TDS 6.3). A longer one counts as not understood
/// and ties its client.
pub const MAX_CLASSIFIED: usize = 1024 * 1024;

/// Settings that one batch may change; the drivers that set most at once change about 20.
pub const MAX_CHANGES: usize = 64;

/// Parts of a session's state that a server may report in SESSIONSTATE. StateId is a byte.
pub const MAX_STATES: usize = 256;

/// Bytes kept of all the states that a server reports about one session; beyond it nothing is concluded from them.
pub const MAX_STATE_BYTES: usize = 64 * 1024;

/// Prepared statements of one client. A driver that never releases them is told so, not fed.
pub const MAX_CLIENT_STATEMENTS: usize = 10_000;

/// Bytes of the parameters and the text of a prepared statement that are kept to prepare it elsewhere. A longer one stays
/// on its server connection, with its client.
pub const MAX_STATEMENT: usize = 256 * 1024;

/// Statements executed by one request that are prepared ahead of it, each in a request of its own. Those beyond it are
/// prepared by the calls themselves.
pub const MAX_PREPARED_AHEAD: usize = 16;

/// Bytes of a batch that is read for the handles which it releases. One driver releases about ten in one.
pub const MAX_RELEASING_TEXT: usize = 16 * 1024;

/// Bytes of a statement that are shown as the reason why a client keeps its server connection: enough to recognize it.
pub const MAX_SHOWN_STATEMENT: usize = 200;

/// Bytes of a request's text that are kept for that: comments may stand in front of what is shown.
pub const MAX_SHOWN_TEXT: usize = 1024;

/// Requests that are remembered for that while a client holds a server connection.
pub const MAX_SUSPECTS: usize = 4;

/// Commands in one message to the console.
pub const MAX_CONSOLE_COMMANDS: usize = 64;

/// Bytes of an instance's name: MC-SQLR's own bound.
pub const MAX_INSTANCE_NAME: usize = 32;

/// Bytes of a browser's answer about one instance: MC-SQLR's own bound.
pub const MAX_BROWSER_ANSWER: usize = 1024;

/// Addresses of a host whose browsers are asked.
pub const MAX_BROWSER_ADDRESSES: usize = 16;

/// Bytes of a request that are kept until it is known that the server still had its prepared statement (TDS 7.2).
pub const MAX_KEPT_REQUEST: usize = 64 * 1024;

/// Users of an endpoint of whom it is kept whether they ask for `@@IDENTITY` and its like, 100 bytes each.
pub const MAX_ASKING_USERS: usize = 10_000;

/// Server connections that may be lost before a request could be sent on them, until its client is told.
pub const MAX_LOST_IN_ADOPTION: u8 = 3;

/// Bytes of an answer to a request of the gateway's own (settings, begin, probe); they are about a hundred.
pub const MAX_OWN_ANSWER: usize = 256 * 1024;
