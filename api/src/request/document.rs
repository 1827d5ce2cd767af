//! The parameters that several operations share, in the `OpenAPI` document.

use db_locks_service::{
    Limits,
    access::{MAX_GLOB_CHARS, MAX_GLOBS, Role},
    domain::MAX_REASON_CHARS,
};
use serde_json::json;
use utoipa::{
    IntoParams,
    openapi::{
        Array, KnownFormat, Object, ObjectBuilder, RefOr, Required, Schema, SchemaFormat, Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::ArrayItems,
    },
};

use super::{
    named_fields::MAX_SEMAPHORE_SIZE,
    query::{DEFAULT_LIMIT, MAX_LIMIT},
    target::TENANT_HEADER,
    wait::MAX_REFRESH_PERIOD_MS,
};

/// The pattern of owners and data, which contain no U+0000.
const NO_NUL: &str = r"^[^\u0000]*$";
/// The pattern of parts of keys, which contain no control characters.
const NO_CONTROLS: &str = r"^[^\u0000-\u001F\u007F-\u009F]*$";
/// The pattern of keys, which are not `.` or `..` either.
const KEY_PATTERN: &str = r"^(?!\.{1,2}$)[^\u0000-\u001F\u007F-\u009F]+$";

/// The pattern of globs: no control characters, and each backslash is followed by the character that it quotes.
const GLOB_PATTERN: &str = r"^(?:[^\\\u0000-\u001F\u007F-\u009F]|\\[^\u0000-\u001F\u007F-\u009F])+$";

/// The pattern of tenants.
const TENANT_PATTERN: &str = "^[A-Za-z0-9._-]+$";

/// The key of a lock in the path.
pub(crate) struct LockKeyParam;

impl IntoParams for LockKeyParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![key_of("lock", "deploy")]
    }
}

/// The key of a semaphore in the path. Its example differs from that of a lock, since a key is only one of them.
pub(crate) struct SemaphoreKeyParam;

impl IntoParams for SemaphoreKeyParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![key_of("semaphore", "workers")]
    }
}

fn key_of(of: &str, example: &str) -> Parameter {
    let schema = text().min_length(Some(1)).max_length(Some(255)).pattern(Some(KEY_PATTERN));
    let description = format!(
        "The key of the {of}, as one percent-encoded path segment (a `/` as `%2F`). A key has 1 to 255 characters, \
         contains no control characters, and is not `.` or `..`. Keys are compared byte for byte."
    );
    let key = ParameterBuilder::new()
        .name("key")
        .parameter_in(ParameterIn::Path)
        .required(Required::True)
        .description(Some(description))
        .schema(Some(schema))
        .example(Some(json!(example)));
    key.build()
}

/// The header that names the tenant.
pub(crate) struct TenantParam;

impl IntoParams for TenantParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = text().min_length(Some(1)).max_length(Some(64)).pattern(Some(TENANT_PATTERN));
        let tenant = ParameterBuilder::new()
            .name(TENANT_HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some(
                "The tenant of the keys. Tenants never see each other's keys. The default is `default`.",
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
        let description = format!("The largest number of items on a page. The default is {DEFAULT_LIMIT}.");
        let limit = query("limit", &description).schema(Some(limit));
        let cursor = text().min_length(Some(2)).pattern(Some("^([0-9a-f]{2})+$"));
        let cursor = query("cursor", "The `next_cursor` of the previous page.").schema(Some(cursor));
        vec![limit.build(), cursor.build()]
    }
}

/// The parameter `prefix` of the lists of keys.
pub(crate) struct PrefixParam;

impl IntoParams for PrefixParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let schema = text().max_length(Some(255)).pattern(Some(NO_CONTROLS));
        let prefix = query("prefix", "Lists only keys that start with this text. There are no wildcards.")
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

/// The parameters `owner` and `locked` of the list of locks.
pub(crate) struct LockFilterParams;

impl IntoParams for LockFilterParams {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let owner = query("owner", "Lists only locks with an active grant of this owner.");
        let owner = owner.schema(Some(field("owner")));
        let description = "True lists only locks that are held; false lists only locks that are free, including expired ones.";
        let locked = query("locked", description).schema(Some(Object::with_type(Type::Boolean)));
        vec![owner.build(), locked.build()]
    }
}

/// The parameter `lease_duration_ms` of the lock of a state.
pub(crate) struct LeaseParam;

impl IntoParams for LeaseParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let mut schema = Object::with_type(Type::Integer);
        constrain("lease_duration_ms", &mut schema, &Limits::default());
        let description = "The lease, in milliseconds. The default is the longest lease that is configured.";
        vec![query("lease_duration_ms", description).schema(Some(schema)).build()]
    }
}

/// The parameter `version` of the deletion of a lock, with the version that the examples use.
pub(crate) struct VersionParam;

impl IntoParams for VersionParam {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description =
            "The version of the grant. Required while the lock is held, ignored while it is free.";
        let version = query("version", description).schema(Some(field("version")));
        vec![version.example(Some(json!("0199a3c0-5f0e-4c1d-9a57-3f1f6a1c7d42"))).build()]
    }
}

/// The schema of a text that has the same meaning as the body's field of this name.
fn field(name: &str) -> Object {
    let mut field = Object::with_type(Type::String);
    constrain(name, &mut field, &Limits::default());
    field
}

/// Writes the allowed values of the fields into a body's schema.
pub(crate) fn constrain_body(schema: &mut Object, limits: &Limits) {
    for (name, field) in &mut schema.properties {
        match field {
            RefOr::T(Schema::Object(field)) => constrain(name, field, limits),
            RefOr::T(Schema::Array(list)) if name == "keys" => constrain_globs(list),
            _ => {}
        }
    }
}

/// Writes the pattern of globs into the schema of a list of them.
fn constrain_globs(list: &mut Array) {
    (list.min_items, list.max_items) = (Some(1), Some(MAX_GLOBS));
    let glob = text().min_length(Some(1)).max_length(Some(MAX_GLOB_CHARS)).pattern(Some(GLOB_PATTERN));
    list.items = ArrayItems::RefOrSchema(Box::new(glob.into()));
}

/// Writes the allowed values into an operation's parameters.
pub(crate) fn constrain_parameters(operation: &mut Operation, limits: &Limits) {
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(Parameter { name, schema: Some(RefOr::T(Schema::Object(schema))), .. }) = parameter
            && name == "lease_duration_ms"
        {
            constrain(name, schema, limits);
        }
    }
}

/// Writes the allowed values into a field's schema. A name means the same in every body.
fn constrain(name: &str, field: &mut Object, limits: &Limits) {
    let range = match name {
        "lease_duration_ms" => (1, limits.max_lease_ms),
        "wait_ms" | "additional_time_to_wait_for_lock_ms" => (0, limits.max_wait_ms),
        "refresh_period_ms" => (1, MAX_REFRESH_PERIOD_MS),
        "max_size" => (1, MAX_SEMAPHORE_SIZE),
        "owner" | "name" => {
            (field.min_length, field.max_length) = (Some(1), Some(255));
            field.pattern = Some(NO_NUL.to_owned());
            return;
        }
        "role" => {
            field.enum_values = Some(Role::ALL.map(|role| json!(role.name())).to_vec());
            return;
        }
        "tenant" => {
            (field.min_length, field.max_length) = (Some(1), Some(64));
            field.pattern = Some(TENANT_PATTERN.to_owned());
            return;
        }
        "expires_at" => {
            field.format = Some(SchemaFormat::KnownFormat(KnownFormat::DateTime));
            return;
        }
        "data" => {
            field.max_length = Some(32 * 1024);
            field.pattern = Some(NO_NUL.to_owned());
            return;
        }
        "reason" => {
            field.max_length = Some(MAX_REASON_CHARS);
            field.pattern = Some(NO_NUL.to_owned());
            return;
        }
        "version" => {
            field.format = Some(SchemaFormat::Custom("uuid".to_owned()));
            return;
        }
        _ => return,
    };
    (field.minimum, field.maximum) = (Some(range.0.into()), Some(range.1.into()));
}
