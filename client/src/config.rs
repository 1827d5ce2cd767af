//! How to reach the service, and as whom.

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
    /// The service at this URL; several are separated by commas, and those that do not answer are passed over.
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

    /// Where the URL is a database's: whether its schema is brought up to date before the engine starts on it. Default: true.
    /// Otherwise it has to be up to date.
    #[must_use]
    pub fn with_migrations(mut self, migrate: bool) -> Self {
        self.migrate = migrate;
        self
    }

    /// Who holds the locks, shown to others. Default: what the service calls a caller without a name.
    #[must_use]
    pub fn with_owner(mut self, owner: impl Into<String>) -> Self {
        self.owner = Some(owner.into());
        self
    }

    /// The tenant whose keys are meant.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl Into<String>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The certificate (PEM) of an authority that is trusted beside those of the system.
    #[must_use]
    pub fn with_authority(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authority = Some(pem.into());
        self
    }

    /// Whether `http://` URLs are spoken to in HTTP/2 without asking, so that calls share connections there as they do over
    /// `https://`. Default: false, since a proxy in between may not know it.
    #[cfg(feature = "http2")]
    #[must_use]
    pub fn with_http2_prior_knowledge(mut self, knows_http2: bool) -> Self {
        self.knows_http2 = knows_http2;
        self
    }

    /// The secret that is sent as bearer token. Never shown.
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
