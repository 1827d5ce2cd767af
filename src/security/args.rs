//! The settings for authentication and TLS.

use std::{num::NonZeroU32, path::PathBuf};

use clap::{ArgAction, Args, ValueEnum, builder::BoolishValueParser};

/// The settings for authentication and TLS.
#[derive(Debug, Args)]
pub(crate) struct SecurityArgs {
    /// Whether requests need a credential. Default: `none` on loopback addresses. On other addresses it must be `required`, unless
    /// `--insecure` is given.
    #[arg(long, env = "DB_LOCKS_AUTH")]
    auth: Option<AuthMode>,

    /// Serve without authentication on addresses that other machines can reach.
    #[arg(long, env = "DB_LOCKS_INSECURE", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) insecure: bool,

    /// A file with the secret of a first administrator of all tenants, at least 32 characters. Another secret in the
    /// file replaces it within 5 s, and it ends within 5 s after the file was removed or became invalid. It is not stored elsewhere.
    #[arg(long, env = "DB_LOCKS_BOOTSTRAP_TOKEN_FILE")]
    pub(super) bootstrap_token_file: Option<PathBuf>,

    /// A TOML file with rules that map claims of JWTs and client certificates to tenant, role and keys. Reread when it changes.
    #[arg(long, env = "DB_LOCKS_AUTH_RULES")]
    pub(super) auth_rules: Option<PathBuf>,

    /// The service's certificate with its chain, as PEM. With it connections use TLS. Reread when it changes.
    #[arg(long, env = "DB_LOCKS_TLS_CERT")]
    pub(super) tls_cert: Option<PathBuf>,

    /// The private key of the certificate, as PEM.
    #[arg(long, env = "DB_LOCKS_TLS_KEY")]
    pub(super) tls_key: Option<PathBuf>,

    /// The authorities whose client certificates are trusted, as PEM. Clients may present a certificate, but need not.
    #[arg(long, env = "DB_LOCKS_TLS_CLIENT_CA")]
    pub(super) tls_client_ca: Option<PathBuf>,

    /// Whether `/metrics` needs a credential, if requests do.
    #[arg(long, env = "DB_LOCKS_PROTECT_METRICS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) protect_metrics: bool,

    /// Whether Swagger UI, the OpenAPI document and `/problems` need a credential, if requests do.
    #[arg(long, env = "DB_LOCKS_PROTECT_DOCS", action = ArgAction::SetTrue, value_parser = BoolishValueParser::new())]
    pub(super) protect_docs: bool,

    /// The most requests per second of each credential to this process, if requests need one. Heartbeats and releases count, but
    /// are never refused. Default: no limit.
    #[arg(long, env = "DB_LOCKS_MAX_REQUESTS_PER_SECOND")]
    pub(super) max_requests_per_second: Option<NonZeroU32>,
}

/// Whether requests need a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthMode {
    /// Every client may do everything.
    None,
    /// Every request needs a credential.
    Required,
}

impl SecurityArgs {
    /// Whether connections use TLS.
    pub(crate) fn speaks_tls(&self) -> bool {
        self.tls_cert.is_some()
    }

    /// Whether requests need a credential.
    pub(super) fn mode(&self) -> AuthMode {
        self.auth.unwrap_or(AuthMode::None)
    }
}
