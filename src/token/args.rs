//! The arguments of `db-locks token`.

use clap::{Args, Subcommand};
use db_locks_service::parse_rfc3339;
use db_locks_service::{
    access::{Glob, Role},
    domain::{Tenant, Timestamp},
};

/// The commands for tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token, and print its secret. The secret is shown only here.
    ///
    /// The database's schema is brought up to date first.
    Create(CreateArgs),
    /// List the tokens.
    List {
        /// Print one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token. After 2 s no service accepts it.
    Revoke {
        /// The id of the token.
        id: uuid::Uuid,
    },
}

/// The name and the rights of a token.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The name of the token, as lists and the audit log show it.
    #[arg(value_name = "NAME", required_unless_present = "name")]
    pub(super) positional_name: Option<String>,
    /// The same as NAME.
    #[arg(long, conflicts_with = "positional_name")]
    pub(super) name: Option<String>,
    /// The role of the token: `read`, `write` or `admin`.
    #[arg(long)]
    pub(super) role: Role,
    /// The only tenant that the token may use. Default: all tenants.
    #[arg(long, value_parser = read_tenant)]
    pub(super) tenant: Option<Tenant>,
    /// A glob of the keys that the token may use, such as `deploy/*`. May be given several times. Default: all keys.
    #[arg(long = "key", alias = "keys", value_name = "GLOB")]
    pub(super) keys: Vec<Glob>,
    /// The time from which the token is rejected, such as `2027-01-31T12:00:00Z`. Default: never.
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    pub(super) expires_at: Option<Timestamp>,
    /// Print one JSON document instead of only the secret.
    #[arg(long)]
    pub(super) json: bool,
}

fn read_tenant(text: &str) -> Result<Tenant, String> {
    Tenant::new(text).map_err(|error| error.to_string())
}

fn read_time(text: &str) -> Result<Timestamp, &'static str> {
    parse_rfc3339(text).ok_or("must be a time in RFC 3339, such as 2027-01-31T12:00:00Z")
}
