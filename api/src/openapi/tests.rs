//! The document keeps its promises.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

use std::collections::BTreeSet;

use super::*;
use crate::{
    grants::{
        acquire::{AcquireLock, AcquirePermit},
        heartbeat::Heartbeat,
        release::{ReleaseLock, ReleasePermit},
    },
    locks::put::PutLockBody,
    request::names_read,
    router::openapi_yaml,
    semaphores::put::PutSemaphoreBody,
    tokens::create::CreateToken,
};

fn tree(limits: &Limits) -> yaml_serde::Value {
    yaml_serde::from_str(&openapi_yaml(limits)).unwrap()
}

fn document(limits: &Limits) -> Value {
    serde_json::to_value(tree(limits)).unwrap()
}

/// Calls `check` with the path of each object in the document and the object.
fn for_each_object(document: &Value, check: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
    fn walk(path: &str, value: &Value, check: &mut impl FnMut(&str, &serde_json::Map<String, Value>)) {
        if let Some(members) = value.as_object() {
            check(path, members);
            members.iter().for_each(|(name, value)| walk(&format!("{path}/{name}"), value, check));
        }
        for (index, item) in value.as_array().into_iter().flatten().enumerate() {
            walk(&format!("{path}/{index}"), item, check);
        }
    }
    walk("#", document, check);
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
        "create_token",
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
        "list_tokens",
        "lock_state",
        "put_lock",
        "put_semaphore",
        "release_lock",
        "release_permit",
        "revoke_token",
        "unlock_state",
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
            for name in ["X-Request-Id", "Cache-Control", "X-Content-Type-Options"] {
                let header = json!({"$ref": format!("#/components/headers/{name}")});
                assert_eq!(response["headers"][name], header, "{id} {status}");
            }
        }
    }
    assert_eq!(document["components"]["headers"]["Cache-Control"]["schema"]["const"], "no-store");
    assert_eq!(document["components"]["parameters"]["X-Request-Id"]["in"], "header");
    for path in ["/metrics", "/problems/{name}"] {
        let headers = &document["paths"][path]["get"]["responses"]["200"]["headers"];
        assert!(headers["Content-Security-Policy"].is_object(), "{path}: {headers}");
    }
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
    for_each_object(&document(&Limits::default()), &mut |path, object| {
        if object.contains_key("properties") {
            // What Terraform has in it is Terraform's business.
            assert_eq!(object["additionalProperties"], path.ends_with(OPEN_SCHEMA), "{path}");
        }
    });
}

/// A generated client would send a default that the caller did not ask for, or would require the member.
#[test]
fn nothing_that_may_be_left_out_has_a_default() {
    for_each_object(&document(&Limits::default()), &mut |path, object| {
        assert!(!object.contains_key("default"), "{path}");
    });
}

#[test]
fn a_value_that_is_always_the_same_is_a_constant() {
    let document = document(&Limits::default());
    for_each_object(&document, &mut |path, object| {
        let values = object.get("enum").and_then(Value::as_array);
        assert!(values.is_none_or(|values| values.len() > 1), "{path}");
    });
    let problem = &document["components"]["schemas"]["NotFoundProblem"]["properties"];
    assert_eq!(problem["status"]["const"], 404);
    assert_eq!(problem["type"]["const"], "/problems/not-found");
}

#[test]
fn servers_and_security_are_stated() {
    let document = document(&Limits::default());
    assert_eq!(document["servers"][0]["url"], "/");
    assert_eq!(document["security"], json!([{}, {"bearer": []}]));
    let scheme = &document["components"]["securitySchemes"]["bearer"];
    assert_eq!((&scheme["type"], &scheme["scheme"]), (&json!("http"), &json!("bearer")));
}

/// As Swagger UI does: by tag, then in the document's order.
#[test]
fn viewers_show_the_operations_in_an_order_that_works_on_an_empty_database() {
    let tree = tree(&Limits::default());
    let paths = tree["paths"].as_mapping().unwrap();
    let shown: Vec<_> = tree["tags"]
        .as_sequence()
        .unwrap()
        .iter()
        .flat_map(|tag| {
            let all = paths.values().flat_map(|path| path.as_mapping().unwrap().values());
            all.filter(move |operation| operation["tags"][0] == tag["name"])
        })
        .map(|operation| operation["operationId"].as_str().unwrap())
        .collect();
    let expected = [
        "acquire_lock",
        "heartbeat_lock",
        "release_lock",
        "put_lock",
        "get_lock",
        "list_locks",
        "put_semaphore",
        "get_semaphore",
        "acquire_permit",
        "list_permits",
        "heartbeat_permit",
        "release_permit",
        "list_semaphores",
        "delete_lock",
        "delete_semaphore",
        "lock_state",
        "unlock_state",
        "list_tokens",
        "create_token",
        "revoke_token",
        "get_health",
        "get_ready",
        "get_metrics",
        "get_openapi",
        "get_problem",
    ];
    assert_eq!(shown, expected);
}

/// The schema of a body and the code that reads it are written apart.
#[test]
fn bodies_have_the_fields_that_are_read() {
    let document = document(&Limits::default());
    for (schema, names) in [
        ("AcquireLockBody", names_read::<AcquireLock>()),
        ("AcquirePermitBody", names_read::<AcquirePermit>()),
        ("HeartbeatBody", names_read::<Heartbeat>()),
        ("ReleaseLockBody", names_read::<ReleaseLock>()),
        ("ReleasePermitBody", names_read::<ReleasePermit>()),
        ("PutLockBody", names_read::<PutLockBody>()),
        ("PutSemaphoreBody", names_read::<PutSemaphoreBody>()),
        ("CreateTokenBody", names_read::<CreateToken>()),
    ] {
        let documented = document["components"]["schemas"][schema]["properties"].as_object().unwrap();
        let documented: BTreeSet<_> = documented.keys().cloned().collect();
        assert_eq!(documented, names.into_iter().collect(), "{schema}");
    }
}

#[test]
fn bodies_bear_the_limits() {
    let limits = Limits { max_lease_ms: 1_234, max_wait_ms: 567, ..Limits::default() };
    let document = document(&limits);
    for (body, required) in [
        ("AcquireLockBody", 0),
        ("AcquirePermitBody", 0),
        ("HeartbeatBody", 1),
        ("ReleaseLockBody", 0),
        ("ReleasePermitBody", 1),
        ("PutLockBody", 0),
        ("PutSemaphoreBody", 1),
    ] {
        let schema = &document["components"]["schemas"][body];
        assert_eq!(schema["required"].as_array().map_or(0, Vec::len), required, "{body}");
    }
    let acquire = &document["components"]["schemas"]["AcquireLockBody"]["properties"];
    assert_eq!(acquire["lease_duration_ms"]["maximum"], 1_234);
    assert_eq!(acquire["wait_ms"]["maximum"], 567);
    assert_eq!(acquire["additional_time_to_wait_for_lock_ms"]["maximum"], 567);
    let query = &document["paths"]["/terraform/{key}"]["post"]["parameters"][1];
    assert_eq!((&query["name"], &query["schema"]["maximum"]), (&json!("lease_duration_ms"), &json!(1_234)));
    let body = &document["paths"]["/locks/{key}/acquire"]["post"]["requestBody"];
    assert_eq!(body["required"], false);
    let examples = &body["content"]["application/json"]["examples"];
    assert_eq!(examples["chosen version"]["value"]["wait_ms"], 567);
}

/// Swagger UI shows the first example. The lease of acquire's lasts while somebody reads on to the release.
#[test]
fn the_examples_of_heartbeat_and_release_use_the_grant_of_acquires_first_example() {
    let document = document(&Limits::default());
    for kind in ["locks", "semaphores"] {
        let body = |operation: &str| {
            let path = format!("/{kind}/{{key}}/{operation}");
            document["paths"][path]["post"]["requestBody"]["content"]["application/json"].clone()
        };
        let acquire = body("acquire");
        let first = &acquire["examples"].as_object().unwrap().values().next().unwrap()["value"];
        assert!(first["lease_duration_ms"].as_i64() >= Some(60_000), "{kind}: {first}");
        for operation in ["heartbeat", "release"] {
            assert_eq!(body(operation)["example"]["version"], first["version"], "{kind} {operation}");
        }
    }
}

#[test]
fn the_yaml_is_the_same_document() {
    let yaml = openapi_yaml(&Limits::default());
    assert!(yaml.starts_with("openapi: 3.1.0\n"), "{}", &yaml[..100]);
    assert_eq!(yaml, openapi_yaml(&Limits::default()));
}
