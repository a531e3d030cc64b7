//! Every bound of this crate, with its reason.

/// Redirections followed by one probe. Azure SQL sends one, from its gateway to the node; a second is a loop.
pub const MAX_REDIRECTIONS: u32 = 1;

/// Characters kept of a name or text that the server reports about itself. `@@VERSION` has about 250.
pub const MAX_REPORTED: usize = 512;
