//! Parameters that several operations share, in the `OpenAPI` document.

use db_locks_service::Limits;
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::{
        Object, ObjectBuilder, RefOr, Required, Schema, Type,
        path::{Parameter, ParameterBuilder, ParameterIn},
    },
};

use super::{
    query::{DEFAULT_LIMIT, MAX_LIMIT},
    target::TENANT_HEADER,
};

/// What keys are made of: no control characters.
const NO_CONTROLS: &str = r"^[^\u0000-\u001F\u007F-\u009F]*$";
/// A key is not `.` or `..` either.
const KEY_PATTERN: &str = r"^(?!\.{1,2}$)[^\u0000-\u001F\u007F-\u009F]+$";

/// The key in the path, with the key that the examples use: locks and semaphores need different ones.
pub(crate) struct KeyParam<const SEMAPHORE: bool>;

impl<const SEMAPHORE: bool> IntoParams for KeyParam<SEMAPHORE> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = text().min_length(Some(1)).max_length(Some(255)).pattern(Some(KEY_PATTERN));
        let (of, example) = if SEMAPHORE { ("semaphore", "workers") } else { ("lock", "deploy") };
        let description = format!(
            "The key of the {of}: one path segment, percent-encoded (a `/` as `%2F`), 1 to 255 characters, no control \
             characters, not `.` or `..`, compared byte for byte."
        );
        let key = ParameterBuilder::new()
            .name("key")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(description))
            .schema(Some(schema))
            .example(Some(json!(example)));
        vec![key.build()]
    }
}

/// The header that names the tenant.
pub(crate) struct TenantParam;

impl IntoParams for TenantParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = text().min_length(Some(1)).max_length(Some(64)).pattern(Some("^[A-Za-z0-9._-]+$"));
        let tenant = ParameterBuilder::new()
            .name(TENANT_HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "Whose keys these are. Tenants never see each other's keys. Left out, it is `default`.",
            ))
            .schema(Some(schema));
        vec![tenant.build()]
    }
}

/// The parameters of every list.
pub(crate) struct LimitParams;

impl IntoParams for LimitParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let limit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).maximum(Some(MAX_LIMIT));
        let description = format!("How many items a page may have. Left out, it is {DEFAULT_LIMIT}.");
        let limit = query("limit", &description).schema(Some(limit));
        let cursor = text().min_length(Some(2)).pattern(Some("^([0-9a-f]{2})+$"));
        let cursor = query("cursor", "The `next_cursor` of the page before.").schema(Some(cursor));
        vec![limit.build(), cursor.build()]
    }
}

/// The parameter `prefix` of the lists of keys.
pub(crate) struct PrefixParam;

impl IntoParams for PrefixParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = text().max_length(Some(255)).pattern(Some(NO_CONTROLS));
        let prefix = query("prefix", "Only keys that start with this text; there are no wildcards.")
            .schema(Some(schema));
        vec![prefix.build()]
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn query(name: &str, description: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .required(Required::False)
        .description(Some(description))
}

/// Writes the configured maxima into the fields of a body's schema.
pub(crate) fn add_body_limits(schema: &mut Object, limits: &Limits) {
    for (name, most) in [
        ("lease_duration_ms", limits.max_lease_ms),
        ("wait_ms", limits.max_wait_ms),
        ("additional_time_to_wait_for_lock_ms", limits.max_wait_ms),
    ] {
        if let Some(RefOr::T(Schema::Object(field))) = schema.properties.get_mut(name) {
            field.maximum = Some(most.into());
        }
    }
}
