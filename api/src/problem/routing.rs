//! Problems for paths and methods that do not exist. Their `detail` names existing ones.

use std::borrow::Cow;

use axum::http::Method;

use super::{Problem, ProblemKind};

/// The length up to which a path is repeated in an answer.
const LONGEST_REPEATED: usize = 300;

/// The path segments that can follow the key of a lock.
const LOCK_VERBS: &[&str] = &["acquire", "heartbeat", "release"];
/// The path segments that can follow the key of a semaphore.
const SEMAPHORE_VERBS: &[&str] = &["acquire", "heartbeat", "release", "permits"];

impl Problem {
    /// There is no route for this path, as it was sent.
    pub(crate) fn no_route(path: &str) -> Self {
        let detail = match path
            .split_once('/')
            .map(|(_, path)| path.split('/').collect::<Vec<_>>())
            .as_deref()
        {
            Some(["locks" | "semaphores", "", ..]) => Cow::Borrowed(
                "A key is never empty. To list all keys, use /locks or /semaphores without a slash at the end.",
            ),
            Some([collection @ "locks", key @ ..]) if key.len() > 1 => {
                slash_in_key(collection, key, LOCK_VERBS)
            }
            Some([collection @ "semaphores", key @ ..]) if key.len() > 1 => {
                slash_in_key(collection, key, SEMAPHORE_VERBS)
            }
            _ => Cow::Borrowed("There is no such path; /swagger-ui/ lists all paths."),
        };
        Self::new(ProblemKind::RouteNotFound, detail)
    }

    /// The route of this path does not have this method.
    pub(crate) fn no_method(method: &Method, path: &str) -> Self {
        let step = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            [_, _, verb @ ("acquire" | "heartbeat" | "release")] => format!("Use POST to {verb}."),
            ["locks"] => "Use GET to list locks, POST /locks/{key}/acquire to take one.".to_owned(),
            ["semaphores"] => "Use GET to list semaphores, PUT /semaphores/{key} to create one.".to_owned(),
            ["locks", _] => "Use GET, PUT or DELETE; POST /locks/{key}/acquire takes the lock.".to_owned(),
            ["semaphores", _] => {
                "Use GET, PUT (creates it) or DELETE; POST /semaphores/{key}/acquire takes a permit."
                    .to_owned()
            }
            ["terraform", _] => "Use LOCK or POST to lock, UNLOCK or DELETE to unlock.".to_owned(),
            _ => "Use GET.".to_owned(),
        };
        let method = method.as_str();
        let method = if method.len() > LONGEST_REPEATED { "of this name" } else { method };
        Self::new(ProblemKind::MethodNotAllowed, format!("This path has no method {method}. {step}"))
    }
}

/// A path with too many segments: probably one of them belongs to the key.
fn slash_in_key(collection: &str, segments: &[&str], verbs: &[&str]) -> Cow<'static, str> {
    let (key, verb) = match segments {
        [key @ .., verb] if key.len() > 1 && verbs.contains(verb) => (key, Some(*verb)),
        key => (key, None),
    };
    let mut meant = format!("/{collection}/{}", key.join("%2F"));
    if let Some(verb) = verb {
        meant = format!("{meant}/{verb}");
    }
    let meant = if meant.len() > LONGEST_REPEATED { "key%2Fwith%2Fslashes" } else { &meant };
    let verbs = verbs.join(", ");
    Cow::Owned(format!(
        "There is no such path. A `/` that belongs to a key is written `%2F`: {meant}. After the key there is nothing, or one of \
         {verbs}."
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_in_a_key_is_shown_escaped() {
        for (path, meant) in [
            ("/locks/a/b/acquire", "`%2F`: /locks/a%2Fb/acquire."),
            ("/locks/a/b", "`%2F`: /locks/a%2Fb."),
            ("/locks/a/", "`%2F`: /locks/a%2F."),
            ("/locks/team/app/deploy/release", "`%2F`: /locks/team%2Fapp%2Fdeploy/release."),
            ("/semaphores/a/b/permits", "`%2F`: /semaphores/a%2Fb/permits."),
            ("/locks/a/acquire/now", "`%2F`: /locks/a%2Facquire%2Fnow."),
            ("/locks//acquire", "A key is never empty."),
            ("/locks/", "A key is never empty."),
            ("/lock", "/swagger-ui/"),
            ("*", "/swagger-ui/"),
        ] {
            let problem = Problem::no_route(path);
            assert!(problem.detail.contains(meant), "{path}: {}", problem.detail);
        }
        let long = Problem::no_route(&format!("/locks/{}", "x/".repeat(10_000)));
        assert!(long.detail.len() < 1_000, "{}", long.detail);
    }

    #[test]
    fn a_wrong_method_leads_to_the_right_one() {
        for (method, path, step) in [
            (Method::GET, "/locks/k/acquire", "no method GET. Use POST to acquire."),
            (Method::PUT, "/semaphores/k/release", "no method PUT. Use POST to release."),
            (Method::POST, "/locks", "/locks/{key}/acquire"),
            (Method::POST, "/semaphores/k", "PUT (creates it)"),
            (Method::POST, "/ready", "Use GET."),
        ] {
            let problem = Problem::no_method(&method, path);
            assert!(problem.detail.contains(step), "{path}: {}", problem.detail);
        }
    }
}
