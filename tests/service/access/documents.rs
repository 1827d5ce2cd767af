//! Swagger UI and the documents, where they are protected.

use super::Guarded;
use crate::support::Dialect;

const DOCUMENTS: [&str; 7] = [
    "/",
    "/swagger-ui/",
    "/swagger-ui/swagger-ui-bundle.js",
    "/api-docs/openapi.json",
    "/openapi.json",
    "/openapi.yaml",
    "/problems/not-granted",
];

#[tokio::test]
async fn protected_documents_are_for_those_with_a_credential() {
    for (protects, expected) in [("true", 401), ("false", 200)] {
        let database = Dialect::Sqlite.database().await.unwrap();
        let guarded = Guarded::start_with(&database, &[("DB_LOCKS_PROTECT_DOCS", protects)]).await;
        let anybody = guarded.service.client();
        for path in DOCUMENTS {
            let answer = anybody.get(path).await.expect(expected);
            if expected == 401 {
                answer.problem(401, "unauthorized");
                assert_eq!(answer.header("www-authenticate"), "Bearer");
            }
            guarded.admin.get(path).await.expect(200);
            anybody.with_token("made-up").get(path).await.expect(expected);
        }
        for path in ["/health", "/ready", "/metrics"] {
            anybody.get(path).await.expect(200);
        }
    }
}
