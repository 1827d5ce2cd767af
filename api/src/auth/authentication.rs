//! Identifies callers by their credentials.

use std::{
    net::IpAddr,
    num::NonZeroU32,
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use axum::http::{HeaderMap, Method, request::Parts};
use db_locks_service::{
    access::{FIRST_ADMIN, Identity, Role, Secret, SecretHash, TokenCache, TokenCheck, TokenId, credential},
    store::TokenStore,
};
use jsonwebtoken::get_current_timestamp;

use super::{
    access_rule::AccessRule,
    bearer::Bearer,
    certificate::ClientCertificate,
    jwks::KeysError,
    jwt::{Jwts, Refused},
    rate_limit::{self, RateLimit},
    rules::Rules,
};
use crate::problem::{Problem, ProblemKind};

/// The client may connect again, and does so by itself if it is a browser or a proxy that knows 421.
const REPLACED: &str =
    "The trusted authorities of client certificates changed after this connection began. Connect again.";

/// The caller may send the request again.
const OTHER_RIGHTS: &str = "The rights of the credential changed before the whole request had arrived.";

/// Options of authentication: the extra routes to protect, and the rate limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct AuthenticationOptions {
    /// Whether `/metrics` needs a credential.
    pub protect_metrics: bool,
    /// Whether the OpenAPI documents and Swagger UI need a credential.
    pub protect_documents: bool,
    /// The most requests per second of each credential; `None` for no limit.
    pub max_requests_per_second: Option<NonZeroU32>,
}

/// Identifies callers. Exists only if authentication is on.
#[derive(Debug)]
pub struct Authentication {
    options: AuthenticationOptions,
    tokens: TokenCache,
    rate_limit: Option<RateLimit>,
    /// The first administrator's secret, which is not in the database.
    bootstrap: RwLock<Option<BootstrapSecret>>,
    first_admin: Arc<Identity>,
    /// The current rules for JWTs and certificates, if any are configured.
    jwts: RwLock<Option<Arc<Jwts>>>,
}

/// The secret of the first administrator.
#[derive(Debug, Clone, Copy)]
struct BootstrapSecret {
    hash: SecretHash,
    /// The length of the secret, in bytes.
    length: usize,
}

/// The result of checking a request's credential without I/O.
#[derive(Debug)]
pub(crate) enum CredentialCheck {
    /// The route needs no credential.
    Open,
    /// The credential belongs to this identity.
    Known(Arc<Identity>),
    /// The credential is refused.
    Refused(Problem),
    /// The credential has to be looked up.
    LookUp(CredentialLookup),
}

/// A credential to look up.
#[derive(Debug)]
pub(crate) enum CredentialLookup {
    /// A token, by its hash.
    Token(SecretHash),
    /// A JWT.
    Jwt { token: Arc<str>, hash: SecretHash },
}

impl Authentication {
    /// Authentication with the tokens of this store.
    pub fn new(store: Arc<dyn TokenStore>, options: AuthenticationOptions) -> Self {
        let first_admin = Identity {
            who: format!("token:{FIRST_ADMIN}").into(),
            credential: credential(FIRST_ADMIN),
            tenant: None,
            role: Role::Admin,
            keys: None,
            owner: None,
            expires_at: None,
        };
        Self {
            rate_limit: options.max_requests_per_second.map(RateLimit::new),
            options,
            tokens: TokenCache::start(store),
            bootstrap: RwLock::default(),
            first_admin: Arc::new(first_admin),
            jwts: RwLock::default(),
        }
    }

    /// Sets the secret of the first administrator, in place of an earlier one. With `None` there is no first administrator.
    pub fn set_bootstrap_secret(&self, secret: Option<&str>) {
        let secret = secret
            .map(|secret| BootstrapSecret { hash: SecretHash::of(secret.as_bytes()), length: secret.len() });
        *self.bootstrap.write().unwrap_or_else(PoisonError::into_inner) = secret;
    }

    /// Replaces the rules, and reads the key files that they name.
    ///
    /// # Errors
    /// If a key file cannot be used.
    pub fn set_rules(&self, rules: Rules) -> Result<(), KeysError> {
        let jwts = Arc::new(Jwts::new(rules, self.jwts().as_deref())?);
        *self.jwts.write().unwrap_or_else(PoisonError::into_inner) = Some(jwts);
        Ok(())
    }

    fn jwts(&self) -> Option<Arc<Jwts>> {
        self.jwts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Removes a revoked token from the cache.
    pub(crate) fn forget(&self, id: TokenId) {
        self.tokens.forget(id);
    }

    /// Checks the credential of a request with these headers to a route.
    pub(crate) fn check(
        &self,
        route: &str,
        rule: AccessRule,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> CredentialCheck {
        let is_open = match rule {
            AccessRule::Open => true,
            AccessRule::Metrics => !self.options.protect_metrics,
            AccessRule::Documents => !self.options.protect_documents,
            AccessRule::Role(_) => false,
        };
        if is_open {
            return CredentialCheck::Open;
        }
        match Bearer::of(headers, rule.takes_basic(route)) {
            Bearer::None => match certificate {
                Some(certificate) => self.check_certificate(certificate),
                None => CredentialCheck::Refused(Problem::unauthorized(false)),
            },
            Bearer::Malformed => CredentialCheck::Refused(Problem::unauthorized(true)),
            Bearer::Token(token) => self.check_token(&token),
        }
    }

    /// Checks the credential of a request again, which was admitted some time ago. `client` is the client's address without what it
    /// can choose itself.
    ///
    /// # Errors
    /// If the credential has ended, or has other rights than before.
    pub(crate) async fn check_again(&self, parts: &Parts, client: Option<IpAddr>) -> Result<(), Problem> {
        let extensions = &parts.extensions;
        let (Some(before), Some(rule)) = (extensions.get::<Arc<Identity>>(), extensions.get::<AccessRule>())
        else {
            return Ok(());
        };
        let certificate = extensions.get::<Arc<ClientCertificate>>().map(Arc::as_ref);
        let now = match self.check(parts.uri.path(), *rule, &parts.headers, certificate) {
            CredentialCheck::Open => return Ok(()),
            CredentialCheck::Known(now) => now,
            CredentialCheck::Refused(problem) => return Err(problem),
            CredentialCheck::LookUp(lookup) => self.look_up(lookup, client).await?,
        };
        let is_as_before = (now.role, &now.tenant, &now.keys) == (before.role, &before.tenant, &before.keys);
        if is_as_before { Ok(()) } else { Err(Problem::forbidden(OTHER_RIGHTS)) }
    }

    fn check_token(&self, token: &str) -> CredentialCheck {
        let bootstrap = *self.bootstrap.read().unwrap_or_else(PoisonError::into_inner);
        let bootstrap = bootstrap.filter(|bootstrap| bootstrap.length == token.len());
        let jwts = if Jwts::has_jwt_form(token) { self.jwts() } else { None };
        if bootstrap.is_none() && jwts.is_none() && token.len() != Secret::LENGTH {
            // It is no token of ours. Hashing kilobytes of it would take time from others.
            return CredentialCheck::Refused(Problem::unauthorized(true));
        }
        let hash = SecretHash::of(token.as_bytes());
        if bootstrap.is_some_and(|bootstrap| bootstrap.hash == hash) {
            return CredentialCheck::Known(Arc::clone(&self.first_admin));
        }
        if let Some(jwts) = jwts {
            return match jwts.checked(&hash) {
                Some(identity) => CredentialCheck::Known(identity),
                None => CredentialCheck::LookUp(CredentialLookup::Jwt { token: token.into(), hash }),
            };
        }
        match self.tokens.check(&hash) {
            TokenCheck::Known(identity) => CredentialCheck::Known(identity),
            TokenCheck::Unknown => CredentialCheck::Refused(Problem::unauthorized(true)),
            TokenCheck::LookUp => CredentialCheck::LookUp(CredentialLookup::Token(hash)),
        }
    }

    fn check_certificate(&self, certificate: &ClientCertificate) -> CredentialCheck {
        if certificate.is_expired(get_current_timestamp()) {
            return CredentialCheck::Refused(Problem::unauthorized(true));
        }
        if certificate.authorities().are_replaced() {
            return CredentialCheck::Refused(Problem::new(ProblemKind::MisdirectedRequest, REPLACED));
        }
        match self.jwts().and_then(|jwts| certificate.identity(&jwts)) {
            Some(identity) => CredentialCheck::Known(identity),
            None => CredentialCheck::Refused(Problem::forbidden("No rule matches the client certificate.")),
        }
    }

    /// Counts a request of this caller. Returns the refusal if the caller exceeded its rate limit.
    pub(crate) fn count(&self, identity: &Identity, route: &str, method: &Method) -> Option<Problem> {
        let limit = self.rate_limit.as_ref()?;
        let is_never_refused = rate_limit::is_never_refused(route, method);
        let counted = limit.count(identity.credential, is_never_refused, Instant::now());
        counted.err().map(Problem::too_many_requests)
    }

    /// Looks a credential up for a client, whose address comes without what it can choose itself.
    pub(crate) async fn look_up(
        &self,
        lookup: CredentialLookup,
        client: Option<IpAddr>,
    ) -> Result<Arc<Identity>, Problem> {
        match lookup {
            CredentialLookup::Token(hash) => {
                let found = self.tokens.look_up(hash, client).await?;
                found.ok_or_else(|| Problem::unauthorized(true))
            }
            CredentialLookup::Jwt { token, hash } => {
                let checked = self.check_jwt(token, hash, client).await;
                checked.map_err(|refused| match refused {
                    Refused::Unchecked(reason) => reason.into(),
                    Refused::Invalid => Problem::unauthorized(true),
                    Refused::NoRule => Problem::forbidden("No rule matches the claims of the token."),
                })
            }
        }
    }

    /// Checks a JWT by the current rules.
    async fn check_jwt(
        &self,
        token: Arc<str>,
        hash: SecretHash,
        client: Option<IpAddr>,
    ) -> Result<Arc<Identity>, Refused> {
        loop {
            let jwts = self.jwts().ok_or(Refused::Invalid)?;
            let checked = Arc::clone(&jwts).check(Arc::clone(&token), hash, client).await;
            // Not by rules that were replaced while the token waited for its check.
            if self.jwts().is_some_and(|now| Arc::ptr_eq(&now, &jwts)) {
                return checked;
            }
        }
    }
}
