//! [`TokenStore`] over SQL.

use std::sync::Arc;

use async_trait::async_trait;
use db_locks_entity::tokens::{Column, Entity, Model};
use sea_orm::{
    ActiveModelTrait, ActiveValue::Set, ColumnTrait, DbErr, EntityTrait, ExprTrait, FromQueryResult,
    IntoActiveModel, QueryFilter, QueryOrder, QueryResult, QuerySelect, QueryTrait, sea_query::Expr,
};

use super::{
    FoundToken, Page, StoreError, TokenStore, TokenTimes, classify::Purpose, page::PageInProgress,
    rows::count, sql_store::SqlStore,
};
use crate::{
    access::{Glob, Identity, KeyPatterns, Scope, SecretHash, Token, TokenId},
    domain::{Tenant, Timestamp},
};

/// The least time between two updates of a token's last use, in milliseconds.
const NOTE_USE_EVERY_MS: i64 = 60_000;

#[async_trait]
impl TokenStore for SqlStore {
    async fn find_tokens(&self, hashes: &[SecretHash]) -> Result<Vec<FoundToken>, StoreError> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let query = Entity::find().expr_as(self.now_expr(), "now").filter(is_one_of(hashes)).into_query();
        let work = async {
            let rows = self.select(self.hot_pool(), &self.tokens, "find_tokens", &query).await?;
            rows.iter().map(read_found).filter_map(Result::transpose).collect()
        };
        self.tokens.run(Purpose::Read, work).await
    }

    async fn token_times(&self, hashes: &[SecretHash]) -> Result<Vec<TokenTimes>, StoreError> {
        if hashes.is_empty() {
            return Ok(Vec::new());
        }
        let query = Entity::find()
            .select_only()
            .columns([Column::Hash, Column::ExpiresAtMs, Column::LastUsedAtMs])
            .expr_as(self.now_expr(), "now")
            .filter(is_one_of(hashes))
            .into_query();
        let work = async {
            let rows = self.select(self.hot_pool(), &self.tokens, "token_times", &query).await?;
            rows.iter().map(read_times).filter_map(Result::transpose).collect()
        };
        self.tokens.run(Purpose::Read, work).await
    }

    async fn get_token(&self, id: TokenId) -> Result<Option<Token>, StoreError> {
        // A change may be decided on this row, or what became of one, and the row may exist on this server only.
        if let Some(replication) = &self.pools.replication {
            replication.wait_until_certain().await?;
        }
        let query = Entity::find().filter(Column::Id.eq(id.0)).into_query();
        let work = async {
            let rows = self.select(self.general_pool(), &self.tokens, "get_token", &query).await?;
            rows.first().map(read_token).transpose().map(Option::flatten)
        };
        self.tokens.run(Purpose::Read, work).await
    }

    async fn list_tokens(
        self: Arc<Self>,
        by: Option<Identity>,
        after: Option<TokenId>,
        limit: u32,
    ) -> Result<Page<Token, TokenId>, StoreError> {
        let tenant = by.as_ref().and_then(|admin| admin.tenant.clone());
        self.read_page(
            tenant.clone(),
            |store| &store.tokens,
            move |store, turn| {
                Box::pin(async move {
                    let mut page = PageInProgress::new(limit);
                    loop {
                        let after = page.last().copied().or(after);
                        let wanted = page.rows_wanted();
                        let query = Entity::find()
                            .apply_if(tenant.as_ref(), |query, tenant| {
                                query.filter(Column::Tenant.eq(tenant.as_str()))
                            })
                            .apply_if(after, |query, after| query.filter(Column::Id.gt(after.0)))
                            .order_by_asc(Column::Id)
                            .limit(wanted)
                            .into_query();
                        let pool = store.general_pool();
                        let rows = store.select(pool, &store.tokens, "list_tokens", &query).await?;
                        let is_last = (rows.len() as u64) < wanted;
                        let mut tokens = Vec::with_capacity(rows.len());
                        for row in &rows {
                            tokens.push((read_token(row)?, TokenId(row.try_get("", "id")?)));
                        }
                        let is_shown =
                            |token: &Token| by.as_ref().is_none_or(|admin| token.scope.lies_within(admin));
                        let item = |(token, id): (Option<Token>, TokenId)| (token.filter(is_shown), id);
                        if !page.extend(tokens, item).await || is_last {
                            return Ok(page.finish());
                        }
                        turn.let_others().await?;
                    }
                })
            },
        )
        .await
    }

    async fn count_tokens(&self, tenant: &Tenant) -> Result<u64, StoreError> {
        let query = Entity::find()
            .select_only()
            .expr(Expr::cust("COUNT(1)"))
            .filter(Column::Tenant.eq(tenant.as_str()))
            .into_query();
        let work = async {
            let rows = self.select(self.general_pool(), &self.tokens, "count_tokens", &query).await?;
            Ok(u64::try_from(count(&rows)?).unwrap_or_default())
        };
        self.tokens.run(Purpose::Read, work).await
    }

    async fn token_time(&self) -> Result<Timestamp, StoreError> {
        self.tokens.run(Purpose::Read, self.read_now(self.general_pool())).await
    }

    async fn add_token(&self, token: &Token, hash: SecretHash) -> Result<(), StoreError> {
        let row = Model {
            id: token.id.0,
            hash: hash.as_bytes().to_vec(),
            name: token.name.clone(),
            tenant: token.scope.tenant.as_ref().map(|tenant| tenant.as_str().to_owned()),
            role: token.scope.role.name().to_owned(),
            key_patterns: token.scope.keys.as_ref().map(write_patterns),
            created_at_ms: token.created_at.0,
            expires_at_ms: token.expires_at.map(|at| at.0),
            last_used_at_ms: None,
        };
        let mut row = row.into_active_model();
        row.id = Set(token.id.0);
        let insert = Entity::insert(row.reset_all()).into_query();
        self.gate.pass()?;
        let (pool, operation, insert) = (self.general_pool(), &self.tokens, &insert);
        let work = self.write("add_token", pool, operation, |db| {
            Box::pin(self.change(db, operation, "add_token", insert))
        });
        self.run_commit(operation, Box::pin(work)).await
    }

    async fn remove_token(&self, id: TokenId) -> Result<bool, StoreError> {
        let delete = Entity::delete_many().filter(Column::Id.eq(id.0)).into_query();
        let left = Entity::find()
            .select_only()
            .expr(Expr::cust("COUNT(1)"))
            .filter(Column::Id.eq(id.0))
            .into_query();
        self.gate.pass()?;
        let (pool, operation, delete, left) = (self.general_pool(), &self.tokens, &delete, &left);
        let work = self.write("remove_token", pool, operation, |db| {
            Box::pin(async move {
                let there = count(&self.select(db, operation, "count_token", left).await?)?;
                self.change(db, operation, "remove_token", delete).await?;
                Ok(there > 0)
            })
        });
        self.run_commit(operation, Box::pin(work)).await
    }

    async fn note_use(&self, ids: &[TokenId]) -> Result<(), StoreError> {
        let is_old = Column::LastUsedAtMs.into_expr().lte(self.now_expr().sub(NOTE_USE_EVERY_MS));
        let update = Entity::update_many()
            .col_expr(Column::LastUsedAtMs, self.now_expr())
            .filter(Column::Id.is_in(ids.iter().map(|id| id.0)))
            .filter(Column::LastUsedAtMs.is_null().or(is_old))
            .into_query();
        self.gate.pass()?;
        let (pool, operation, update) = (self.general_pool(), &self.tokens, &update);
        let work = self.write("note_token_use", pool, operation, |db| {
            Box::pin(self.change(db, operation, "note_token_use", update))
        });
        operation.run(Purpose::Read, work).await
    }
}

/// The condition that a token has one of these hashes.
fn is_one_of(hashes: &[SecretHash]) -> Expr {
    // Padding makes few different numbers of hashes, and so few different statements.
    let padding = std::iter::repeat_n(hashes.last(), hashes.len().next_power_of_two() - hashes.len());
    let hashes = hashes.iter().chain(padding.flatten());
    Column::Hash.is_in(hashes.map(|hash| hash.as_bytes().to_vec()))
}

fn read_times(row: &QueryResult) -> Result<Option<TokenTimes>, DbErr> {
    let hash: Vec<u8> = row.try_get("", "hash")?;
    let time = |column| Ok::<_, DbErr>(row.try_get::<Option<i64>>("", column)?.map(Timestamp));
    let (expires_at, last_used_at) = (time("expires_at_ms")?, time("last_used_at_ms")?);
    let now = Timestamp(row.try_get("", "now")?);
    Ok(SecretHash::stored(&hash).map(|hash| TokenTimes { hash, expires_at, last_used_at, now }))
}

fn read_found(row: &QueryResult) -> Result<Option<FoundToken>, DbErr> {
    let hash: Vec<u8> = row.try_get("", "hash")?;
    let now = Timestamp(row.try_get("", "now")?);
    let found = read_token(row)?.zip(SecretHash::stored(&hash));
    Ok(found.map(|(token, hash)| FoundToken { hash, token, now }))
}

/// Reads a token; `None` if its row cannot be read. Such a token counts as unknown.
fn read_token(row: &QueryResult) -> Result<Option<Token>, DbErr> {
    let row = Model::from_query_result(row, "")?;
    let token = token_of(&row);
    if token.is_none() {
        tracing::error!(id = %row.id, "a token in the database cannot be read; it is refused");
    }
    Ok(token)
}

fn token_of(row: &Model) -> Option<Token> {
    let tenant = row.tenant.as_deref().map(Tenant::new).transpose().ok()?;
    let keys = match row.key_patterns.as_deref() {
        Some(text) => Some(read_patterns(text)?),
        None => None,
    };
    Some(Token {
        id: TokenId(row.id),
        name: row.name.clone(),
        scope: Scope { tenant, role: row.role.parse().ok()?, keys },
        created_at: Timestamp(row.created_at_ms),
        expires_at: row.expires_at_ms.map(Timestamp),
        last_used_at: row.last_used_at_ms.map(Timestamp),
    })
}

fn write_patterns(patterns: &KeyPatterns) -> String {
    let globs: Vec<_> = patterns.globs().iter().map(Glob::as_str).collect();
    serde_json::Value::from(globs).to_string()
}

fn read_patterns(text: &str) -> Option<KeyPatterns> {
    let globs: Vec<String> = serde_json::from_str(text).ok()?;
    let globs: Result<Vec<Glob>, _> = globs.iter().map(|glob| glob.parse()).collect();
    KeyPatterns::new(globs.ok()?).ok()
}
