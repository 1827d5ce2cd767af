use super::*;
use crate::request::read_body;

fn read(body: &str) -> Result<AcquireRequest, Vec<String>> {
    read_body(body).map(|AcquireLock(request)| request)
}

#[test]
fn an_empty_body_takes_the_defaults() {
    let request = read("").unwrap();
    assert_eq!(request.owner.as_str(), "anonymous");
    assert_eq!((request.lease_ms, request.wait_ms, request.additional_wait_ms), (None, None, 0));
    assert!(!request.reentrant && !request.only_if_exists && request.version.is_none());
}

#[test]
fn fields_that_do_not_go_together_are_named() {
    assert_eq!(read(r#"{"reentrant":true}"#).unwrap_err(), ["reentrant"]);
    assert_eq!(read(r#"{"reentrant":true,"owner":null}"#).unwrap_err(), ["reentrant"]);
    assert!(read(r#"{"reentrant":true,"owner":"a"}"#).unwrap().reentrant);
    for name in ["replace_data", "delete_on_release", "acquire_only_if_already_exists", "reentrant"] {
        let with = |value| format!(r#"{{"uses_semaphore":true,"owner":"a","{name}":{value}}}"#);
        assert_eq!(read(&with("true")).unwrap_err(), [name]);
        assert_eq!(read(&with("false")).unwrap().kind, Kind::Semaphore);
        assert_eq!(read(&with("null")).unwrap().kind, Kind::Semaphore);
    }
}

#[test]
fn all_errors_are_named_at_once() {
    let body =
        r#"{"owner":"","lease_duration_ms":0,"wait_ms":-1,"refresh_period_ms":0,"version":"x","extra":1}"#;
    let mut names = read(body).unwrap_err();
    names.sort();
    assert_eq!(names, ["extra", "lease_duration_ms", "owner", "refresh_period_ms", "version", "wait_ms"]);
    assert_eq!(read(r#"{"lease_duration_ms":86400001}"#).unwrap_err(), ["lease_duration_ms"]);
}
