//! The bytes of TDS 7.1 to 8.0: packets, and one file per message or token that we look into. Everything else is a
//! length.
//!
//! Pure: slices in, values or bytes out. Invariants: no length is believed before it is checked, none is ever allocated;
//! nothing here panics, whatever the input; whatever streams, streams, and gives the same however it is cut. Must not
//! know what a message means for a session or a client.

pub mod all_headers;
pub mod assemble;
pub mod batch;
pub mod browser;
pub mod column_metadata;
pub mod data_classification;
pub mod done;
mod element;
pub mod env_change;
pub mod feature_ext;
pub mod login7;
pub mod login_ack;
pub mod message;
pub mod packet;
pub mod prelogin;
pub mod read;
pub mod reframe;
pub mod return_value;
pub mod rpc;
pub mod session_state;
pub mod token;
pub mod transaction_request;
pub mod type_info;
pub mod utf16;
mod value;
pub mod version;
pub mod walker;

pub use version::TdsVersion;
