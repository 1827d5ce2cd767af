//! Swagger UI and the documents, if they are protected.

use reqwest::Method;

use super::{FIRST_ADMIN, Guarded};
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
                // Each challenge has its own header, because browsers read only the first challenge of a header.
                let challenges: Vec<_> = answer.headers.get_all("www-authenticate").iter().collect();
                assert_eq!(challenges, ["Bearer", "Basic realm=\"db-locks\", charset=\"UTF-8\""]);
            }
            guarded.admin.get(path).await.expect(200);
            anybody.with_token("made-up").get(path).await.expect(expected);
            let by_password =
                |password| anybody.request(Method::GET, path).basic_auth("anybody", Some(password));
            anybody.send(by_password(FIRST_ADMIN)).await.expect(200);
            anybody.send(by_password("made-up")).await.expect(expected);
        }
        // A browser sends passwords by itself for any page, so a password is not accepted for a request that changes
        // something.
        let by_password = anybody.request(Method::GET, "/locks").basic_auth("anybody", Some(FIRST_ADMIN));
        let refused = anybody.send(by_password).await;
        refused.problem(401, "unauthorized");
        assert_eq!(refused.headers.get_all("www-authenticate").iter().count(), 1);
        for path in ["/health", "/ready", "/metrics"] {
            anybody.get(path).await.expect(200);
        }
    }
}
