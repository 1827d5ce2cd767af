use async_trait::async_trait;

use super::*;
use crate::{
    access::{Role, Scope, Token},
    domain::{Tenant, Timestamp},
    store::{FoundToken, Page},
};

/// A database with the token of one secret.
struct OneToken;

const SECRET: &[u8] = b"the secret";

fn token() -> Token {
    Token {
        id: TokenId(uuid::Uuid::nil()),
        name: "one".to_owned(),
        scope: Scope { tenant: None, role: Role::Write, keys: None },
        created_at: Timestamp(0),
        expires_at: None,
        last_used_at: None,
    }
}

#[async_trait]
impl TokenStore for OneToken {
    async fn find_tokens(&self, hashes: &[SecretHash]) -> Result<Vec<FoundToken>, StoreError> {
        let hash = SecretHash::of(SECRET);
        let found = hashes.contains(&hash).then(|| FoundToken { hash, token: token(), now: Timestamp(0) });
        Ok(found.into_iter().collect())
    }

    async fn get_token(&self, _: TokenId) -> Result<Option<Token>, StoreError> {
        unreachable!("a cache looks up by hash")
    }

    async fn list_tokens(
        self: Arc<Self>,
        _: Option<Identity>,
        _: Option<TokenId>,
        _: u32,
    ) -> Result<Page<Token, TokenId>, StoreError> {
        unreachable!("a cache lists nothing")
    }

    async fn count_tokens(&self, _: &Tenant) -> Result<u64, StoreError> {
        unreachable!("a cache counts nothing")
    }

    async fn token_time(&self) -> Result<Timestamp, StoreError> {
        Ok(Timestamp(0))
    }

    async fn add_token(&self, _: &Token, _: SecretHash) -> Result<(), StoreError> {
        unreachable!("a cache adds nothing")
    }

    async fn remove_token(&self, _: TokenId) -> Result<bool, StoreError> {
        unreachable!("a cache removes nothing")
    }

    async fn note_use(&self, _: &[TokenId]) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Guards heartbeats against callers that invent tokens, for which no credential is needed: more than can be looked up
/// at a time.
#[tokio::test(start_paused = true)]
async fn a_token_that_was_valid_is_looked_up_before_invented_ones() {
    let cache = Arc::new(TokenCache::start(Arc::new(OneToken)));
    let hash = SecretHash::of(SECRET);
    assert!(cache.look_up(hash).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(
        matches!(cache.check(&hash), TokenCheck::LookUp),
        "what the database said an hour ago does not count"
    );
    let made_up: Vec<_> = (0..2 * MOST_WAITING)
        .map(|number| {
            let (cache, hash) = (cache.clone(), SecretHash::of(&number.to_be_bytes()));
            tokio::spawn(async move { cache.look_up(hash).await })
        })
        .collect();
    tokio::task::yield_now().await;
    let began = Instant::now();
    assert!(cache.look_up(hash).await.unwrap().is_some());
    assert!(began.elapsed() <= 2 * GATHER_FOR, "{:?}", began.elapsed());
    let mut refused = 0;
    for lookup in made_up {
        match lookup.await.unwrap() {
            Ok(found) => assert!(found.is_none()),
            Err(error) => {
                assert_eq!(error, Unavailable::Overloaded);
                refused += 1;
            }
        }
    }
    assert!(refused > 0, "there were more of them than may wait");
}
