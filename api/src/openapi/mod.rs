//! The `OpenAPI` document: what the handlers' attributes say, and what is the same for all of them.

mod everywhere;

use db_locks_service::Limits;
use serde_json::{Value, json};
use utoipa::openapi::{
    Info, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, RefOr, Required, Schema,
    link::LinkBuilder,
    path::Operation,
    schema::{AdditionalProperties, Components},
    tag::{Tag, TagBuilder},
};

use crate::{problem::add_problem_schemas, request::add_body_limits, router::operations};

const DESCRIPTION: &str = "\
A lock service over the database you already run. Take a mutex or a semaphore permit by name, keep it with heartbeats, \
give it back, and guard what you write with its fencing token.

A holder may rely on its grant from the moment it sent the request that brought it plus `expires_in_ms` of the answer, on \
its own monotonic clock. Bodies are one JSON object each; `null` is as good as absent, and what is not known is refused. \
Errors are problem documents (RFC 9457), whose `type` can be opened.";

/// The whole document, with the limits that are in force.
pub fn openapi(limits: &Limits) -> OpenApi {
    let mut document = operations().into_openapi();
    complete(&mut document, limits);
    document
}

/// The whole document as YAML.
///
/// # Panics
///
/// If the document cannot be written as YAML, which its test would have shown.
pub fn openapi_yaml(limits: &Limits) -> String {
    openapi(limits).to_yaml().expect("the document has no keys that are not text")
}

/// What the document says of the service as a whole.
pub(crate) fn base() -> OpenApi {
    let tags = [
        ("locks", "Locks (mutexes): one holder at a time."),
        ("semaphores", "Semaphores: as many holders at a time as there are permits."),
        ("operating", "For those who run the service."),
    ];
    OpenApiBuilder::new()
        .info(info())
        .tags(Some(tags.map(|(name, description)| tag(name, description))))
        .build()
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

/// Adds what is the same for all operations, and the limits.
pub(crate) fn complete(document: &mut OpenApi, limits: &Limits) {
    let components = document.components.get_or_insert_default();
    add_problem_schemas(components);
    everywhere::add_components(components);
    components.schemas.values_mut().for_each(close);
    for operation in document.paths.paths.values_mut().flat_map(operations_of) {
        everywhere::add_to(operation);
        add_links(operation);
        complete_body(operation, components, limits);
    }
}

fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// Closes an object to members that are not listed, in what is sent and in what is answered.
fn close(schema: &mut RefOr<Schema>) {
    if let RefOr::T(Schema::Object(object)) = schema
        && !object.properties.is_empty()
    {
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
}

/// Leads from a grant to its heartbeat and release.
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
            .description("What the grant's version is for.");
        granted.links.insert(verb.to_owned(), link.build().into());
    }
}

/// Writes the limits into an operation's body and its examples. A body none of whose fields is required may be left out
/// altogether.
fn complete_body(operation: &mut Operation, components: &mut Components, limits: &Limits) {
    let Some(RefOr::T(body)) = &mut operation.request_body else { return };
    for content in body.content.values_mut() {
        let RefOr::T(content) = content else { continue };
        let Some(name) = content.schema.as_ref().and_then(schema_name) else { continue };
        let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(&name) else { continue };
        add_body_limits(schema, limits);
        body.required = Some(if schema.required.is_empty() { Required::False } else { Required::True });
        content.schema = Some(Ref::from_schema_name(name).into());
        for example in content.examples.values_mut() {
            if let RefOr::T(example) = example {
                example.value.as_mut().into_iter().for_each(|value| limit_example(value, limits));
            }
        }
        content.example.as_mut().into_iter().for_each(|value| limit_example(value, limits));
    }
}

/// The name of the schema that is referred to, or that may be null instead.
fn schema_name(schema: &RefOr<Schema>) -> Option<String> {
    match schema {
        RefOr::Ref(reference) => reference.ref_location.rsplit('/').next().map(str::to_owned),
        RefOr::T(Schema::OneOf(one_of)) => one_of.items.iter().find_map(schema_name),
        RefOr::T(_) => None,
    }
}

/// Examples have to work under narrow limits too.
fn limit_example(example: &mut Value, limits: &Limits) {
    for (name, most) in [("lease_duration_ms", limits.max_lease_ms), ("wait_ms", limits.max_wait_ms)] {
        if let Some(value) = example.get_mut(name)
            && value.as_i64().is_some_and(|number| number > most)
        {
            *value = most.into();
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document(limits: &Limits) -> Value {
        serde_json::to_value(openapi(limits)).unwrap()
    }

    fn operations(document: &Value) -> impl Iterator<Item = &Value> {
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    }

    #[test]
    fn operation_ids_are_fixed() {
        let document = document(&Limits::default());
        let ids: BTreeSet<_> =
            operations(&document).map(|operation| operation["operationId"].as_str().unwrap()).collect();
        let expected = [
            "acquire_lock",
            "acquire_permit",
            "delete_lock",
            "delete_semaphore",
            "get_health",
            "get_lock",
            "get_metrics",
            "get_openapi",
            "get_problem",
            "get_ready",
            "get_semaphore",
            "heartbeat_lock",
            "heartbeat_permit",
            "list_locks",
            "list_permits",
            "list_semaphores",
            "put_lock",
            "put_semaphore",
            "release_lock",
            "release_permit",
        ];
        assert_eq!(ids.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn every_operation_takes_a_request_id_and_every_response_bears_it_and_is_not_stored() {
        let document = document(&Limits::default());
        for operation in operations(&document) {
            let id = &operation["operationId"];
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(parameters.contains(&json!({"$ref": "#/components/parameters/X-Request-Id"})), "{id}");
            for (status, response) in operation["responses"].as_object().unwrap() {
                for name in ["X-Request-Id", "Cache-Control"] {
                    let header = json!({"$ref": format!("#/components/headers/{name}")});
                    assert_eq!(response["headers"][name], header, "{id} {status}");
                }
            }
        }
        assert_eq!(document["components"]["headers"]["Cache-Control"]["schema"]["enum"], json!(["no-store"]));
        assert_eq!(document["components"]["parameters"]["X-Request-Id"]["in"], "header");
    }

    #[test]
    fn grants_lead_to_their_heartbeat_and_release() {
        let document = document(&Limits::default());
        for (path, resource) in [("/locks/{key}/acquire", "lock"), ("/semaphores/{key}/acquire", "permit")] {
            let links = &document["paths"][path]["post"]["responses"]["200"]["links"];
            for verb in ["heartbeat", "release"] {
                assert_eq!(links[verb]["operationId"], format!("{verb}_{resource}"));
            }
        }
    }

    #[test]
    fn every_object_is_closed() {
        fn check(path: &str, value: &Value) {
            let members = value.as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value));
            let items =
                value.as_array().into_iter().flatten().enumerate().map(|(i, item)| (i.to_string(), item));
            for (name, value) in members.chain(items) {
                check(&format!("{path}/{name}"), value);
            }
            if value.get("properties").is_some() {
                assert_eq!(value["additionalProperties"], false, "{path}");
            }
        }
        check("#", &document(&Limits::default()));
    }

    #[test]
    fn bodies_bear_the_limits() {
        let limits = Limits { max_lease_ms: 1_234, max_wait_ms: 567, ..Limits::default() };
        let document = document(&limits);
        for (body, required) in [
            ("AcquireLockBody", 0),
            ("AcquirePermitBody", 0),
            ("HeartbeatBody", 1),
            ("ReleaseLockBody", 1),
            ("ReleasePermitBody", 1),
            ("PutLockBody", 0),
            ("PutSemaphoreBody", 1),
        ] {
            let schema = &document["components"]["schemas"][body];
            assert_eq!(schema["required"].as_array().map_or(0, Vec::len), required, "{body}");
        }
        let acquire = &document["components"]["schemas"]["AcquireLockBody"]["properties"];
        assert_eq!(acquire["lease_duration_ms"]["maximum"], 1_234);
        assert_eq!(acquire["lease_duration_ms"]["default"], 1_234, "a default is cut to its maximum");
        assert_eq!(acquire["wait_ms"]["maximum"], 567);
        assert_eq!(acquire["additional_time_to_wait_for_lock_ms"]["maximum"], 567);
        let body = &document["paths"]["/locks/{key}/acquire"]["post"]["requestBody"];
        assert_eq!(body["required"], false);
        let examples = &body["content"]["application/json"]["examples"];
        assert_eq!(examples["any time"]["value"]["wait_ms"], 567);
    }

    /// Swagger UI shows the first one: it has to be granted however often it is sent, so it chooses no version, and waits
    /// for as long as a grant of any of them lasts.
    #[test]
    fn the_first_example_of_acquire_works_again_and_again() {
        let document = document(&Limits::default());
        for path in ["/locks/{key}/acquire", "/semaphores/{key}/acquire"] {
            let body = &document["paths"][path]["post"]["requestBody"]["content"]["application/json"];
            let examples: Vec<_> =
                body["examples"].as_object().unwrap().values().map(|it| &it["value"]).collect();
            assert!(examples[0].get("version").is_none(), "{path}: {}", examples[0]);
            let longest = examples.iter().filter_map(|it| it["lease_duration_ms"].as_i64()).max();
            assert!(examples[0]["wait_ms"].as_i64() >= longest, "{path}: {}", examples[0]);
        }
    }

    #[test]
    fn the_yaml_is_the_same_document() {
        let yaml = openapi_yaml(&Limits::default());
        assert!(yaml.starts_with("openapi: 3.1.0\n"), "{}", &yaml[..100]);
        assert_eq!(yaml, openapi_yaml(&Limits::default()));
    }
}
