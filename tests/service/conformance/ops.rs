//! The paths for operators and for tools.

use serde_json::{Value, json};

use crate::support::{Client, random_text, wire};

on_every_database![with_client:
    a_service_is_healthy_and_ready,
    metrics_name_neither_keys_nor_tenants_nor_owners,
    the_document_describes_every_operation,
    swagger_ui_is_served,
    the_root_leads_to_swagger_ui,
    usual_names_work_too,
];

async fn a_service_is_healthy_and_ready(svc: Client) {
    svc.get("/health").await.expect(200);
    svc.get("/ready").await.expect(200);
}

async fn metrics_name_neither_keys_nor_tenants_nor_owners(svc: Client) {
    let secret = random_text();
    let tenant = svc.with_tenant(&format!("tenant-{secret}"));
    let body = json!({"owner": format!("owner-{secret}"), "data": format!("data-{secret}")});
    let grant = tenant.acquire(&format!("key-{secret}"), body).await.grant();
    tenant.get(&format!("/locks?prefix=key-{secret}")).await.expect(200);
    tenant.get(&format!("/none/{secret}")).await.expect(404);
    tenant.release(&format!("key-{secret}"), &grant.version).await.unheld(200);
    let metrics = svc.get("/metrics").await.expect(200);
    assert!(metrics.header("content-type").starts_with("text/plain"), "{:?}", metrics.headers);
    assert!(metrics.text.contains("# TYPE"), "Prometheus text: {}", metrics.text);
    for private in [&secret, &grant.version] {
        assert!(!metrics.text.contains(private), "{private} in {}", metrics.text);
    }
}

async fn the_document_describes_every_operation(svc: Client) {
    let document = svc.get("/api-docs/openapi.json").await.expect(200).body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let expected = [
        ("/locks", "get"),
        ("/locks/{key}", "get put delete"),
        ("/locks/{key}/acquire", "post"),
        ("/locks/{key}/heartbeat", "post"),
        ("/locks/{key}/release", "post"),
        ("/semaphores", "get"),
        ("/semaphores/{key}", "get put delete"),
        ("/semaphores/{key}/permits", "get"),
        ("/semaphores/{key}/acquire", "post"),
        ("/semaphores/{key}/heartbeat", "post"),
        ("/semaphores/{key}/release", "post"),
        ("/health", "get"),
        ("/ready", "get"),
        ("/metrics", "get"),
        ("/problems/{name}", "get"),
    ];
    let mut ids = std::collections::HashSet::new();
    for (path, methods) in expected {
        for method in methods.split(' ') {
            let operation = &document["paths"][path][method];
            assert!(
                ids.insert(operation["operationId"].as_str().expect(path).to_owned()),
                "{path}: {operation}"
            );
            assert!(!operation["responses"].as_object().unwrap().is_empty(), "{path}");
        }
    }
    let acquire = &document["paths"]["/locks/{key}/acquire"]["post"];
    for status in ["200", "400", "404", "409", "413", "415", "423", "503"] {
        assert!(acquire["responses"][status].is_object(), "acquire answers {status}");
    }
    let mut schema = &acquire["requestBody"]["content"]["application/json"]["schema"];
    if let Some(reference) = schema["$ref"].as_str() {
        schema = document.pointer(reference.trim_start_matches('#')).unwrap();
    }
    assert_eq!(schema["additionalProperties"], Value::Bool(false));
    assert_eq!(schema["properties"]["lease_duration_ms"]["maximum"], 86_400_000, "the configured maximum");
}

async fn swagger_ui_is_served(svc: Client) {
    let page = svc.get("/swagger-ui/").await.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(page.text.to_lowercase().contains("swagger"));
    let script = svc.get("/swagger-ui/swagger-ui-bundle.js").await.expect(200);
    assert!(script.text.len() > 100_000);
}

async fn the_root_leads_to_swagger_ui(svc: Client) {
    let answer = wire::send(&svc, "GET", "/", b"").await;
    assert_eq!((answer.status, answer.header("location")), (307, "/swagger-ui/"));
    wire::send(&svc, "POST", "/", b"{}").await.problem(405, "method-not-allowed");
}

/// Paths that probes and tools commonly use.
async fn usual_names_work_too(svc: Client) {
    for path in ["/healthz", "/livez"] {
        assert_eq!(svc.get(path).await.expect(200).text, svc.get("/health").await.text, "{path}");
    }
    assert_eq!(svc.get("/readyz").await.expect(200).text, svc.get("/ready").await.text);
    let json = svc.get("/openapi.json").await.expect(200);
    assert_eq!(json.text, svc.get("/api-docs/openapi.json").await.text);
    let yaml = svc.get("/openapi.yaml").await.expect(200);
    assert!(yaml.header("content-type").starts_with("application/yaml"));
    assert!(yaml.text.starts_with("openapi: 3."), "{}", &yaml.text[..yaml.text.len().min(100)]);
}
