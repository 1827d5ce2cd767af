//! The settings of security.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};

/// Who may ask.
#[derive(Debug, Args)]
pub(crate) struct SecurityArgs {
    /// Whether requests need a credential. Default: `none` on loopback addresses; on any other it has to be `required`,
    /// unless `--insecure` is given.
    #[arg(long, env = "DB_LOCKS_AUTH")]
    auth: Option<AuthMode>,

    /// Let everybody in who can connect, on addresses beyond this machine too.
    #[arg(long, env = "DB_LOCKS_INSECURE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) insecure: bool,

    /// A file with the secret of a first administrator of all tenants, at least 32 characters. It counts as long as the file
    /// has it, and is stored nowhere.
    #[arg(long, env = "DB_LOCKS_BOOTSTRAP_TOKEN_FILE")]
    pub(super) bootstrap_token_file: Option<PathBuf>,

    /// A TOML file that maps claims of JWTs and client certificates to tenant, role and keys. Read again when it changes.
    #[arg(long, env = "DB_LOCKS_AUTH_RULES")]
    pub(super) auth_rules: Option<PathBuf>,

    /// The certificate that the service shows, with its chain, as PEM: connections are TLS then. Read again when it changes.
    #[arg(long, env = "DB_LOCKS_TLS_CERT")]
    pub(super) tls_cert: Option<PathBuf>,

    /// The key of the certificate, as PEM.
    #[arg(long, env = "DB_LOCKS_TLS_KEY")]
    pub(super) tls_key: Option<PathBuf>,

    /// The authorities whose client certificates count, as PEM. Clients are asked for a certificate, and may have none.
    #[arg(long, env = "DB_LOCKS_TLS_CLIENT_CA")]
    pub(super) tls_client_ca: Option<PathBuf>,

    /// Whether `/metrics` needs a credential too, where requests do.
    #[arg(long, env = "DB_LOCKS_PROTECT_METRICS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) protect_metrics: bool,

    /// Whether Swagger UI, the OpenAPI document and `/problems` need a credential too, where requests do.
    #[arg(long, env = "DB_LOCKS_PROTECT_DOCS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) protect_docs: bool,

    /// How many requests a second each credential may send to this process, where requests need one. Heartbeats and releases
    /// count, and are never refused. Without it there is no limit.
    #[arg(long, env = "DB_LOCKS_MAX_REQUESTS_PER_SECOND")]
    pub(super) max_requests_per_second: Option<NonZeroU32>,
}

/// Whether requests need a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthMode {
    /// Everybody may do everything.
    None,
    /// Each needs one.
    Required,
}

impl SecurityArgs {
    /// Whether connections are TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Whether requests need a credential.
    pub(super) fn mode(&self) -> AuthMode {
        self.auth.unwrap_or(AuthMode::None)
    }
}
