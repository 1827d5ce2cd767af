//! The `OpenAPI` document: the attributes of the handlers, and the parts that are the same for all operations.

mod everywhere;
mod ordered;
#[cfg(test)]
mod tests;

use db_locks_service::Limits;
use serde_json::{Value, json};
use utoipa::openapi::{
    Info, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Required, Schema,
    ServerBuilder,
    link::LinkBuilder,
    path::Operation,
    schema::{AdditionalProperties, Components},
    security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    tag::{Tag, TagBuilder},
};

pub(crate) use self::ordered::ordered_document;
use crate::{
    problem::add_problem_schemas,
    request::{constrain_body, constrain_parameters},
};

/// The name of the security scheme.
const BEARER: &str = "bearer";

const DESCRIPTION: &str = "\
A lock service over the database you already run. Take a mutex or a permit of a semaphore by name, keep it with \
heartbeats, and release it. Protect what you write with its fencing token.

A grant is valid for the `expires_in_ms` of its answer. Count them on your own monotonic clock, from the moment when you \
sent the request. Each request body is one JSON object. A member that is `null` counts as absent, and unknown members are \
rejected. Errors are problem documents (RFC 9457). The `type` of a problem is the address of its explanation.";

/// The only object that may have members that are not listed: they are Terraform's.
const OPEN_SCHEMA: &str = "TerraformLockInfo";

/// A tree of the document as YAML.
///
/// # Panics
///
/// If it cannot be written, which a test would have shown.
pub(crate) fn yaml(tree: &yaml_serde::Value) -> String {
    yaml_serde::to_string(tree).expect("a tree of YAML values can be written")
}

/// The part of the document that describes the service as a whole.
///
/// Viewers show the operations by tag, then in the document's order, which is the order of the routes. The first
/// example of each operation works on an empty database if they are sent from top to bottom. So deletion comes after
/// all operations that need a lock or semaphore.
pub(crate) fn base() -> OpenApi {
    let tags = [
        ("locks", "Locks (mutexes): one holder at a time."),
        ("semaphores", "Semaphores: as many holders at a time as there are permits."),
        ("deletion", "Delete locks and semaphores that are no longer needed."),
        ("terraform", "Locks for the state of Terraform and OpenTofu, as their `http` backend uses them."),
        ("tokens", "Bearer tokens, for administrators."),
        ("operating", "For the operators of the service."),
    ];
    let here = ServerBuilder::new().url("/").description(Some("The service that sent this document."));
    OpenApiBuilder::new()
        .info(info())
        .servers(Some([here.build()]))
        // Without authentication no credential is needed.
        .security(Some([SecurityRequirement::default(), bearer()]))
        .tags(Some(tags.map(|(name, description)| tag(name, description))))
        .build()
}

/// The scheme of [`add_security`], without scopes.
fn bearer() -> SecurityRequirement {
    SecurityRequirement::new::<_, _, &str>(BEARER, [])
}

fn add_security(components: &mut Components) {
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some(
        "A token that `db-locks token create` or POST /tokens created, or a JWT of an issuer that the service trusts. \
         Required if the service runs with DB_LOCKS_AUTH=required."
            .to_owned(),
    );
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
}

fn info() -> Info {
    InfoBuilder::new()
        .title("db-locks")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(DESCRIPTION))
        .license(Some(LicenseBuilder::new().name("MIT").identifier(Some("MIT")).build()))
        .build()
}

fn tag(name: &str, description: &str) -> Tag {
    TagBuilder::new().name(name).description(Some(description)).build()
}

/// Adds the parts that are the same for all operations, and the limits.
pub(crate) fn complete(document: &mut OpenApi, limits: &Limits) {
    let components = document.components.get_or_insert_default();
    add_problem_schemas(components);
    everywhere::add_components(components);
    add_security(components);
    for (name, schema) in &mut components.schemas {
        state_whether_closed(schema, name != OPEN_SCHEMA);
    }
    for operation in document.paths.paths.values_mut().flat_map(operations_of) {
        everywhere::add_to(operation);
        add_links(operation);
        constrain_parameters(operation, limits);
        complete_body(operation, components, limits);
    }
}

/// The operations of a document by path and method, with the statuses that they can answer.
pub(crate) fn documented_answers(
    document: &OpenApi,
) -> impl Iterator<Item = (&str, &'static str, Vec<&str>)> {
    document.paths.paths.iter().flat_map(|(path, item)| {
        let methods =
            [("GET", &item.get), ("PUT", &item.put), ("POST", &item.post), ("DELETE", &item.delete)];
        let there = methods.into_iter().filter_map(|(method, operation)| Some((method, operation.as_ref()?)));
        there.map(move |(method, operation)| {
            // 405 is the answer to other methods than this.
            let statuses = operation.responses.responses.keys().map(String::as_str);
            (path.as_str(), method, statuses.filter(|status| *status != "405").collect())
        })
    })
}

fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// States whether an object may have members that are not listed, in requests and in answers.
fn state_whether_closed(schema: &mut RefOr<Schema>, closed: bool) {
    if let RefOr::T(Schema::Object(object)) = schema
        && !object.properties.is_empty()
    {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(!closed)));
    }
}

/// Adds links from a grant to its heartbeat and release.
fn add_links(operation: &mut Operation) {
    let Some(resource) = operation.operation_id.as_ref().and_then(|id| id.strip_prefix("acquire_")) else {
        return;
    };
    let Some(RefOr::T(granted)) = operation.responses.responses.get_mut("200") else { return };
    for verb in ["heartbeat", "release"] {
        let link = LinkBuilder::new()
            .operation_id(format!("{verb}_{resource}"))
            .parameter("key", "$request.path.key")
            .request_body(Some(json!({"version": "$response.body#/version"})))
            .description("Send the version of the grant.");
        granted.links.insert(verb.to_owned(), link.build().into());
    }
}

/// Writes the limits into an operation's body and its examples. A body without required fields may be left out.
fn complete_body(operation: &mut Operation, components: &mut Components, limits: &Limits) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(name) = content.schema.as_ref().and_then(schema_name) else { continue };
        let is_optional = matches!(&content.schema, Some(RefOr::T(Schema::OneOf(_))));
        let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(&name) else { continue };
        constrain_body(schema, limits);
        let may_be_empty = schema.required.is_empty() || is_optional;
        body.required = Some(if may_be_empty { Required::False } else { Required::True });
        content.schema = Some(Ref::from_schema_name(name).into());
        for example in content.examples.values_mut() {
            if let RefOr::T(example) = example {
                example.value.as_mut().into_iter().for_each(|value| limit_example(value, limits));
            }
        }
        content.example.as_mut().into_iter().for_each(|value| limit_example(value, limits));
    }
}

/// The name of the schema to which a reference, possibly a nullable one, refers.
fn schema_name(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
        RefOr::T(Schema::OneOf(one_of)) => one_of.items.iter().find_map(schema_name),
        RefOr::T(_) => None,
    }
}

/// Lowers the values of an example to the limits, since examples have to work under narrow limits too.
fn limit_example(example: &mut Value, limits: &Limits) {
    for (name, most) in [("lease_duration_ms", limits.max_lease_ms), ("wait_ms", limits.max_wait_ms)] {
        if let Some(value) = example.get_mut(name)
            && value.as_i64().is_some_and(|number| number > most)
        {
            *value = most.into();
        }
    }
}
