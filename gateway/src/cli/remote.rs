//! Flags of the commands that talk to a running gateway over its HTTP interface.

use clap::Args;

/// Where the gateway is, and what lets one in.
#[derive(Clone, Debug, Args)]
pub(crate) struct Remote {
    /// The HTTP interface of the gateway
    #[arg(
        long,
        value_name = "URL",
        env = "HASURA_GRAPHQL_ENDPOINT",
        default_value = "http://localhost:8080",
        global = true,
        help_heading = "Gateway"
    )]
    pub(crate) endpoint: String,
    /// Its admin secret; better in the variable, because everybody on the machine can see command lines
    #[arg(
        long,
        value_name = "SECRET",
        env = "HASURA_GRAPHQL_ADMIN_SECRET",
        hide_env_values = true,
        global = true,
        help_heading = "Gateway"
    )]
    pub(crate) admin_secret: Option<Hidden>,
}

/// A text that is not shown where arguments are.
#[derive(Clone)]
pub(crate) struct Hidden(pub(crate) String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl std::str::FromStr for Hidden {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Hidden(text.to_owned()))
    }
}
