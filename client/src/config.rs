//! The settings of a client.

/// Settings of a client.
///
/// ```
/// use db_locks::LocksConfig;
///
/// let config = LocksConfig::new("http://locks-1:8080,http://locks-2:8080").with_owner("ci-42").with_tenant("acme");
/// ```
#[derive(Clone)]
pub struct LocksConfig {
    pub(crate) urls: String,
    pub(crate) owner: Option<String>,
    pub(crate) tenant: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) authority: Option<Vec<u8>>,
    #[cfg(feature = "http2")]
    pub(crate) knows_http2: bool,
    pub(crate) migrate: bool,
}

impl LocksConfig {
    /// Settings for the service at `url`. Several URLs are separated by commas; those that do not answer are skipped.
    pub fn new(urls: impl Into<String>) -> Self {
        Self {
            urls: urls.into(),
            owner: None,
            tenant: None,
            token: None,
            authority: None,
            #[cfg(feature = "http2")]
            knows_http2: false,
            migrate: true,
        }
    }

    /// Whether the URL is that of a database and not of a service.
    #[cfg(feature = "embedded")]
    pub(crate) fn names_a_database(&self) -> bool {
        let scheme = self.urls.split(':').next().unwrap_or_default().to_ascii_lowercase();
        matches!(scheme.as_str(), "sqlite" | "postgres" | "postgresql" | "mysql" | "mariadb")
    }

    /// Sets whether the engine migrates the schema of the database at the URL before it starts. Default: true. With false an
    /// outdated schema is an error.
    #[must_use]
    pub fn with_migrations(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Sets the owner of the locks, which others can see. Default: the service's name for a caller without one.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// Sets the tenant that owns the keys.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// Adds the certificate (PEM) of an authority to those that the system trusts.
    #[must_use]
    pub fn with_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// Sets whether to use HTTP/2 with prior knowledge for `http://` URLs, so that calls share connections as they do over
    /// `https://`. Default: false, since a proxy in between may not support it.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn with_http2_prior_knowledge(mut self, knows_http2: bool) -> Self {
        self.knows_http2 = knows_http2;
        self
    }

    /// Sets the secret that is sent as bearer token. It is never shown.
    #[must_use]
    pub fn with_token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }
}

impl std::fmt::Debug for LocksConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // URLs may hold a password, and the token is one.
        f.debug_struct("LocksConfig")
            .field("owner", &self.owner)
            .field("tenant", &self.tenant)
            .finish_non_exhaustive()
    }
}
