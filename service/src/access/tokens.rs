//! Creates, lists and revokes tokens.
//!
//! A replica makes one change at a time, since on SQLite the batches wait for it. The tenants take turns.

use std::{sync::Arc, time::Duration};

use tokio::{task::yield_now, time::timeout};
use uuid::Builder;

use super::{Identity, Role, Scope, Secret, SecretHash, Token, TokenId};
use crate::{
    Rfc3339,
    apart::run_apart,
    domain::{Tenant, Timestamp},
    one_at_a_time::{Line, OneAtATime},
    store::{Page, StoreError, TokenStore},
    unavailable::Unavailable,
};

/// The name of the first administrator, whose secret is in a file and not in the database.
pub const FIRST_ADMIN: &str = "bootstrap";
/// The most tokens that a tenant's own administrators can create, so that they cannot fill the database.
const MAX_TOKENS_PER_TENANT: u64 = 10_000;
/// The number of waiting changes from which on tenants with their share of them are refused.
const MOST_WAITING: usize = 1_000;
/// How long a change waits for its turn. The administrator's token was valid at most 1.6 s before its request, whose body may have taken
/// another 0.2 s, and nothing may begin 2 s after its revocation.
const WAIT: Duration = Duration::from_millis(200);

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

impl NewToken {
    /// Checks that the token would be within the limits of the administrator who creates it.
    fn check_limits(&self, admin: &Identity) -> Result<(), TokenError> {
        if !self.scope.lies_within(admin) {
            return Err(TokenError::OutOfScope);
        }
        match admin.expires_at {
            Some(end) if self.scope.role == Role::Admin && self.expires_at.is_none_or(|at| at > end) => {
                Err(TokenError::Outlives(end))
            }
            _ => Ok(()),
        }
    }
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
    /// The change could not begin.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The system has no randomness.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// The tokens of a database.
#[derive(Clone)]
pub struct Tokens {
    store: Arc<dyn TokenStore>,
    /// The turns of changes, by the tenants of administrators; `None` for administrators of all tenants.
    changes: Arc<OneAtATime<Line<Option<Tenant>>>>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    /// The tokens in a store.
    pub fn new(store: Arc<dyn TokenStore>) -> Self {
        Self { store, changes: Arc::new(OneAtATime::new(Line::new(MOST_WAITING))) }
    }

    /// Whether there is any token.
    pub async fn exist(&self) -> Result<bool, StoreError> {
        Ok(!self.store.clone().list_tokens(None, None, 1).await?.items.is_empty())
    }

    /// Creates a token. `by` is the administrator; `None` is for somebody with access to the database itself, who may
    /// create any token. `created` is called for the new token, even if the caller has given up meanwhile.
    pub async fn create(
        &self,
        new: NewToken,
        by: Option<&Identity>,
        created: impl FnOnce(&Token) + Send + 'static,
    ) -> Result<(Token, Secret), TokenError> {
        if new.name == FIRST_ADMIN {
            return Err(TokenError::ReservedName);
        }
        let admin = by.cloned();
        self.change(by, |store| async move {
            if let Some(admin) = admin {
                // To compare patterns can take milliseconds, so this waits for its turn, and lets others go on before.
                yield_now().await;
                new.check_limits(&admin)?;
                if let Some(tenant) = &admin.tenant
                    && store.count_tokens(tenant).await? >= MAX_TOKENS_PER_TENANT
                {
                    return Err(TokenError::TooMany);
                }
            }
            let (token, secret) = add(&*store, new).await?;
            created(&token);
            Ok((token, secret))
        })
        .await
    }

    /// One page of the tokens that an administrator may see, the oldest first.
    pub async fn list(
        &self,
        after: Option<TokenId>,
        limit: u32,
        by: Option<&Identity>,
    ) -> Result<Page<Token, TokenId>, StoreError> {
        self.store.clone().list_tokens(by.cloned(), after, limit).await
    }

    /// Revokes a token, and returns it. `revoked` is called for it, even if the caller has given up meanwhile.
    pub async fn revoke(
        &self,
        id: TokenId,
        by: Option<&Identity>,
        revoked: impl FnOnce(&Token) + Send + 'static,
    ) -> Result<Token, TokenError> {
        let admin = by.cloned();
        self.change(by, move |store| async move {
            let token = store.get_token(id).await?;
            let may_see = |token: &Token| admin.is_none_or(|admin| token.scope.lies_within(&admin));
            let token = token.filter(may_see).ok_or(TokenError::NotFound)?;
            match store.remove_token(id).await {
                Ok(true) => {}
                Ok(false) => return Err(TokenError::NotFound),
                // The answer was lost. What was revoked all the same has to be recorded now: a repeat finds nothing.
                Err(StoreError::Unknown(_)) if matches!(store.get_token(id).await, Ok(None)) => {}
                Err(error) => return Err(error.into()),
            }
            revoked(&token);
            Ok(token)
        })
        .await
    }

    /// Makes a change when it is the turn of the administrator's tenant. If the caller gives up, a change that waits is dropped, and one
    /// that has begun goes on to its end.
    async fn change<T, C>(
        &self,
        by: Option<&Identity>,
        change: impl FnOnce(Arc<dyn TokenStore>) -> C + Send + 'static,
    ) -> Result<T, TokenError>
    where
        T: Send + 'static,
        C: Future<Output = Result<T, TokenError>> + Send,
    {
        let Self { store, changes } = self.clone();
        let tenant = by.and_then(|admin| admin.tenant.clone());
        let changed = run_apart(|caller| async move {
            let turn = caller.unless_gone(timeout(WAIT, changes.take(&tenant))).await;
            let _turn = turn.map_err(|_| Unavailable::Overloaded)??;
            change(store).await
        });
        changed.await?
    }
}

/// Adds a token with a new secret.
async fn add(store: &dyn TokenStore, new: NewToken) -> Result<(Token, Secret), TokenError> {
    let secret = Secret::random()?;
    let created_at = store.token_time().await?;
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
    match store.add_token(&token, SecretHash::of(secret.reveal().as_bytes())).await {
        // The answer was lost, and the token may be there all the same.
        Err(StoreError::Unknown(_)) if matches!(store.get_token(token.id).await, Ok(Some(_))) => {}
        added => added?,
    }
    Ok((token, secret))
}

/// Makes a UUID of version 7.
fn new_id(at: Timestamp) -> Result<TokenId, getrandom::Error> {
    let mut random = [0; 10];
    getrandom::fill(&mut random)?;
    let millis = u64::try_from(at.0).unwrap_or_default();
    Ok(TokenId(Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
}

#[cfg(test)]
mod tests;
