//! The arguments of `db-locks token`.

use clap::{Args, Subcommand};
use db_locks_service::parse_rfc3339;
use db_locks_service::{
    access::{Glob, Role},
    domain::{Tenant, Timestamp},
};

/// What to do with tokens.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Create a token, and print its secret, which is shown nowhere else.
    ///
    /// The database's schema is brought up to date first.
    Create(CreateArgs),
    /// List the tokens.
    List {
        /// Print one JSON document instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Revoke a token: no service accepts it 2 s later.
    Revoke {
        /// Its id.
        id: uuid::Uuid,
    },
}

/// What a token is for, and what it allows.
#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Its name, as lists and the audit log show it.
    #[arg(value_name = "NAME", required_unless_present = "name")]
    pub(super) positional_name: Option<String>,
    /// The same as NAME.
    #[arg(long, conflicts_with = "positional_name")]
    pub(super) name: Option<String>,
    /// What it may do: `read`, `write` or `admin`.
    #[arg(long)]
    pub(super) role: Role,
    /// The only tenant that it may act for. Default: all.
    #[arg(long, value_parser = read_tenant)]
    pub(super) tenant: Option<Tenant>,
    /// A glob that its keys must match, such as `deploy/*`; may be given several times. Default: all keys.
    #[arg(long = "key", alias = "keys", value_name = "GLOB")]
    pub(super) keys: Vec<Glob>,
    /// From when on it is refused, such as `2027-01-31T12:00:00Z`. Default: never.
    #[arg(long, value_name = "TIME", value_parser = read_time)]
    pub(super) expires_at: Option<Timestamp>,
    /// Print one JSON document instead of the secret alone.
    #[arg(long)]
    pub(super) json: bool,
}

fn read_tenant(text: &str) -> Result<Tenant, String> {
    Tenant::new(text).map_err(|error| error.to_string())
}

fn read_time(text: &str) -> Result<Timestamp, &'static str> {
    parse_rfc3339(text).ok_or("must be a time in RFC 3339, such as 2027-01-31T12:00:00Z")
}
