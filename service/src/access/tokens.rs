//! Creates, lists and revokes tokens.

use std::sync::Arc;

use uuid::Builder;

use super::{Identity, Role, Scope, Secret, SecretHash, Token, TokenId};
use crate::{
    Rfc3339,
    domain::Timestamp,
    store::{Page, StoreError, TokenStore},
};

/// The name of the first administrator, whose secret is in a file and not in the database.
pub const FIRST_ADMIN: &str = "bootstrap";
/// The most tokens that a tenant's own administrators can create, so that they cannot fill the database.
const MAX_TOKENS_PER_TENANT: u64 = 10_000;

/// A token that is to be created.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// The name of the token, not empty.
    pub name: String,
    /// The rights that the token gives.
    pub scope: Scope,
    /// The time from which the token is refused; `None`: never.
    pub expires_at: Option<Timestamp>,
}

/// Why a token was not created, shown or revoked.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The token's rights would exceed those of the administrator.
    #[error("the token would allow more than its maker may do")]
    OutOfScope,
    /// The token is an administrator's, and would count longer than the credential of the administrator that creates it.
    #[error("a token with role admin cannot outlive the credential that makes it, which ends at {}", Rfc3339::from(*.0).as_str())]
    Outlives(Timestamp),
    /// There is no such token, or none that the administrator may see.
    #[error("there is no such token")]
    NotFound,
    /// The tenant has as many tokens as it may have.
    #[error("the tenant has {MAX_TOKENS_PER_TENANT} tokens, which is the most; revoke some first")]
    TooMany,
    /// The name is that of the first administrator in audit records.
    #[error("the name {FIRST_ADMIN} is that of the first administrator")]
    ReservedName,
    /// The token would have expired already.
    #[error("the token would have expired already")]
    Expired,
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The system has no randomness.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// The tokens of a database.
#[derive(Clone)]
pub struct Tokens(Arc<dyn TokenStore>);

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// The tokens in a store.
    pub fn new(store: Arc<dyn TokenStore>) -> Self {
        Self(store)
    }

    /// Whether there is any token.
    pub async fn exist(&self) -> Result<bool, StoreError> {
        Ok(!self.0.clone().list_tokens(None, None, 1).await?.items.is_empty())
    }

    /// Creates a token. `by` is the administrator; `None` is for somebody with access to the database itself, who may
    /// create any token.
    pub async fn create(&self, new: NewToken, by: Option<&Identity>) -> Result<(Token, Secret), TokenError> {
        if by.is_some_and(|admin| !new.scope.lies_within(admin)) {
            return Err(TokenError::OutOfScope);
        }
        if let Some(end) = by.and_then(|admin| admin.expires_at)
            && new.scope.role == Role::Admin
            && new.expires_at.is_none_or(|at| at > end)
        {
            return Err(TokenError::Outlives(end));
        }
        if new.name == FIRST_ADMIN {
            return Err(TokenError::ReservedName);
        }
        if let Some(tenant) = by.and_then(|admin| admin.tenant.as_ref())
            && self.0.count_tokens(tenant).await? >= MAX_TOKENS_PER_TENANT
        {
            return Err(TokenError::TooMany);
        }
        let secret = Secret::random()?;
        let created_at = self.0.token_time().await?;
        if new.expires_at.is_some_and(|end| end <= created_at) {
            return Err(TokenError::Expired);
        }
        let token = Token {
            id: new_id(created_at)?,
            name: new.name,
            scope: new.scope,
            created_at,
            expires_at: new.expires_at,
            last_used_at: None,
        };
        self.0.add_token(&token, SecretHash::of(secret.reveal().as_bytes())).await?;
        Ok((token, secret))
    }

    /// One page of the tokens that an administrator may see, the oldest first.
    pub async fn list(
        &self,
        after: Option<TokenId>,
        limit: u32,
        by: Option<&Identity>,
    ) -> Result<Page<Token, TokenId>, StoreError> {
        self.0.clone().list_tokens(by.cloned(), after, limit).await
    }

    /// Revokes a token, and returns it.
    pub async fn revoke(&self, id: TokenId, by: Option<&Identity>) -> Result<Token, TokenError> {
        let token = self.0.get_token(id).await?;
        let token = token.filter(|token| by.is_none_or(|admin| token.scope.lies_within(admin)));
        let token = token.ok_or(TokenError::NotFound)?;
        if self.0.remove_token(id).await? { Ok(token) } else { Err(TokenError::NotFound) }
    }
}

/// Makes a UUID of version 7.
fn new_id(at: Timestamp) -> Result<TokenId, getrandom::Error> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)?;
    let millis = u64::try_from(at.0).unwrap_or_default();
    Ok(TokenId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
}
