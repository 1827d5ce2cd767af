//! A database of tokens for tests, which counts what it is asked for.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use async_trait::async_trait;

use crate::{
    access::{Identity, KeyPatterns, Role, Scope, SecretHash, Token, TokenId},
    domain::{Tenant, Timestamp},
    store::{FoundToken, Page, StoreError, TokenStore, TokenTimes},
};

/// How long a query takes.
pub(super) const QUERY: Duration = Duration::from_millis(10);

/// A database with some tokens.
#[derive(Default)]
pub(super) struct Database {
    tokens: Mutex<HashMap<SecretHash, Token>>,
    /// The hashes of each query for whole tokens.
    asked: Mutex<Vec<Vec<SecretHash>>>,
    /// The number of queries for the times of tokens.
    asked_for_times: AtomicUsize,
}

impl Database {
    /// Adds so many tokens of a tenant, and returns the hashes of their secrets.
    pub(super) fn add(&self, tenant: &str, number: u128) -> Vec<SecretHash> {
        let mut tokens = self.tokens.lock().unwrap();
        let mut hashes = Vec::new();
        for number in 0..number {
            let hash = SecretHash::of(format!("{tenant} {number}").as_bytes());
            tokens.insert(hash, token(tenant, number, None));
            hashes.push(hash);
        }
        hashes
    }

    /// Revokes a token.
    pub(super) fn revoke(&self, hash: &SecretHash) {
        self.tokens.lock().unwrap().remove(hash);
    }

    /// The number of queries for the times of tokens so far.
    pub(super) fn asked_for_times(&self) -> usize {
        self.asked_for_times.load(Relaxed)
    }

    /// The hashes of each query for whole tokens so far.
    pub(super) fn asked(&self) -> Vec<Vec<SecretHash>> {
        self.asked.lock().unwrap().clone()
    }
}

/// A token of a tenant. Its id is the number.
pub(super) fn token(tenant: &str, number: u128, keys: Option<KeyPatterns>) -> Token {
    Token {
        id: TokenId(uuid::Uuid::from_u128(number)),
        name: format!("{tenant} {number}"),
        scope: Scope { tenant: Some(Tenant::trusted(tenant)), role: Role::Write, keys },
        created_at: Timestamp(0),
        expires_at: None,
        last_used_at: None,
    }
}

#[async_trait]
impl TokenStore for Database {
    async fn find_tokens(&self, hashes: &[SecretHash]) -> Result<Vec<FoundToken>, StoreError> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        self.asked.lock().unwrap().push(hashes.to_vec());
        let found = {
            let tokens = self.tokens.lock().unwrap();
            let of_hash = |hash: &SecretHash| {
                let token = tokens.get(hash)?.clone();
                Some(FoundToken { hash: *hash, token, now: Timestamp(0) })
            };
            hashes.iter().filter_map(of_hash).collect()
        };
        tokio::time::sleep(QUERY).await;
        Ok(found)
    }

    async fn token_times(&self, hashes: &[SecretHash]) -> Result<Vec<TokenTimes>, StoreError> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        self.asked_for_times.fetch_add(1, Relaxed);
        let found = {
            let tokens = self.tokens.lock().unwrap();
            let times = |hash| TokenTimes { hash, expires_at: None, last_used_at: None, now: Timestamp(0) };
            hashes.iter().filter(|hash| tokens.contains_key(hash)).copied().map(times).collect()
        };
        tokio::time::sleep(QUERY).await;
        Ok(found)
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
