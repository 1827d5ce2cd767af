//! Which JWTs count, and for what.

use serde_json::{Value, json};

use super::{Key, Ruled, base64, documented, github, now};

#[tokio::test]
async fn a_job_of_github_actions_locks_for_its_repository() {
    let key = Key::rsa();
    let ruled =
        Ruled::start(&documented("GitHub Actions"), &[("github.jwks.json", json!([key.jwk("1")]))]).await;
    let job = ruled.bearer(&key.sign("1", &github(&json!({}))));
    let grant = job.hold("deploy%2Fapp").await;
    assert_eq!(grant.body["owner"], "acme/app#1658821493", "its template is used if the request names none");
    assert_eq!(job.acquire("deploy%2Fx", json!({"owner": "me"})).await.grant().body["owner"], "me");
    job.acquire("other", json!({})).await.problem(403, "forbidden");
    job.with_tenant("other").lock("deploy%2Fapp").await.problem(403, "forbidden");
    let branch = key.sign("1", &github(&json!({"ref": "refs/heads/topic"})));
    let refused = ruled.bearer(&branch).acquire("deploy%2Fy", json!({})).await;
    assert!(refused.problem(403, "forbidden")["detail"].as_str().unwrap().contains("rule"));
}

#[tokio::test]
async fn a_job_of_gitlab_locks_for_its_project() {
    let key = Key::rsa();
    let ruled = Ruled::start(&documented("GitLab CI"), &[("gitlab.jwks.json", json!([key.jwk("k")]))]).await;
    let claims = json!({
        "iss": "https://gitlab.com", "aud": "db-locks", "exp": now() + 300, "nbf": now() - 5, "iat": now(),
        "sub": "project_path:acme/app:ref_type:branch:ref:main", "project_path": "acme/app", "namespace_path": "acme",
        "ref": "main", "ref_protected": "true", "pipeline_id": "574", "job_id": "302", "environment": "production",
    });
    let grant = ruled.bearer(&key.sign("k", &claims)).hold("deploy%2Fproduction").await;
    assert_eq!(grant.body["owner"], "acme/app#302");
}

#[tokio::test]
async fn a_service_account_of_kubernetes_locks_for_its_namespace() {
    let key = Key::rsa();
    let ruled =
        Ruled::start(&documented("Kubernetes"), &[("kubernetes.jwks.json", json!([key.jwk("k8s")]))]).await;
    let claims = json!({
        "iss": "https://kubernetes.default.svc.cluster.local", "aud": ["db-locks"], "exp": now() + 3600, "iat": now(),
        "nbf": now(), "sub": "system:serviceaccount:billing:worker",
        "kubernetes.io": {"namespace": "billing", "serviceaccount": {"name": "worker", "uid": "0f1e"}},
    });
    ruled.bearer(&key.sign("k8s", &claims)).hold("billing%2Fnightly").await;
}

#[tokio::test]
async fn only_genuine_tokens_of_the_right_time_and_audience_count() {
    let (rsa, ec, ed) = (Key::rsa(), Key::ec(), Key::ed());
    let keys = json!([rsa.jwk("rsa"), ec.jwk("ec"), ed.jwk("ed")]);
    let ruled = Ruled::start(&documented("GitHub Actions"), &[("github.jwks.json", keys)]).await;
    for (id, key) in [("rsa", &rsa), ("ec", &ec), ("ed", &ed)] {
        ruled.ask(&key.sign(id, &github(&json!({})))).await.expect(200);
        ruled.ask(&key.sign(id, &github(&json!({"aud": ["other", "db-locks"]})))).await.expect(200);
    }
    for (what, claims) in [
        ("expired", json!({"exp": now() - 120})),
        ("no exp", json!({"exp": null})),
        ("exp is text", json!({"exp": "9999999999"})),
        ("not yet", json!({"nbf": now() + 120})),
        ("audience", json!({"aud": "other"})),
        ("issuer", json!({"iss": "https://evil.example"})),
        ("no issuer", json!({"iss": null})),
    ] {
        let answer = ruled.ask(&rsa.sign("rsa", &github(&claims))).await;
        assert_eq!(answer.status, 401, "{what} {}", answer.text);
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    }
    let good = rsa.sign("rsa", &github(&json!({})));
    let (message, signature) = good.rsplit_once('.').unwrap();
    let payload = message.split_once('.').unwrap().1;
    let with = |header: Value| format!("{}.{payload}.{signature}", base64(header.to_string()));
    for (what, token) in [
        ("none", format!("{}.{payload}.", base64(r#"{"alg":"none"}"#))),
        ("HS256", with(json!({"alg": "HS256", "kid": "rsa"}))),
        ("RS512", with(json!({"alg": "RS512", "kid": "rsa"}))),
        ("another key", Key::rsa().sign("rsa", &github(&json!({})))),
        ("another kid", rsa.sign("ec", &github(&json!({})))),
        ("an unknown kid", rsa.sign("new", &github(&json!({})))),
        (
            "changed",
            format!(
                "{}.{}.{signature}",
                message.split_once('.').unwrap().0,
                base64(github(&json!({"actor": "eve"})).to_string())
            ),
        ),
        ("cut", good[..good.len() - 8].to_owned()),
        ("an extension that must be understood", {
            let header = json!({"alg": rsa.algorithm(), "kid": "rsa", "crit": ["exp"], "exp": 0});
            rsa.sign_with(&header, &github(&json!({})))
        }),
    ] {
        assert_eq!(ruled.ask(&token).await.status, 401, "{what}");
    }
}
