//! What is known of a server connection, and what the connections and clients of a source share.

pub mod init;
pub mod source_state;

pub use init::{ConversationInit, Features, Notices, SessionInit, Tracker};
pub use source_state::SourceState;
