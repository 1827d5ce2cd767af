//! Rows after a position in the order of a primary key.
//!
//! The rows after a position are several ranges of the key, such as the later keys of a tenant, and all later tenants.
//! Each range is a statement of its own. If they were one condition, with OR, some servers would begin to read at the
//! first key of the tenant or of the table.

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryResult, QuerySelect, QueryTrait, Select,
};

use super::sql_store::SqlStore;
use crate::domain::KeyId;

/// The ranges after a key, in their order. `None` is the beginning.
pub(super) fn after_key(
    tenant: impl ColumnTrait,
    key: impl ColumnTrait,
    after: Option<&KeyId>,
) -> Vec<Condition> {
    let Some(id) = after else { return vec![Condition::all()] };
    let of_tenant = Condition::all().add(tenant.eq(id.tenant.as_str())).add(key.gt(id.key.as_str()));
    vec![of_tenant, Condition::all().add(tenant.gt(id.tenant.as_str()))]
}

impl SqlStore {
    /// The next rows of the sweeper, at most `limit`. The query has the order of the primary key.
    pub(super) async fn select_after<E: EntityTrait>(
        &self,
        name: &str,
        query: &Select<E>,
        ranges: Vec<Condition>,
        limit: u32,
    ) -> Result<Vec<QueryResult>, DbErr> {
        let mut rows = Vec::new();
        for range in ranges {
            let left = (limit as usize).saturating_sub(rows.len());
            if left == 0 {
                break;
            }
            let query = query.clone().filter(range).limit(left as u64).into_query();
            rows.extend(self.select(self.general_pool(), &self.sweep, name, &query).await?);
        }
        Ok(rows)
    }
}
