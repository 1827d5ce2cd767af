use super::*;
use crate::request::members::MOST_MEMBERS;

/// Reads a body; `owner` is the field that it is said to have.
pub(in super::super) fn with<T>(body: &str, read: impl FnOnce(&mut Fields<'_>) -> T) -> (T, Errors) {
    let mut errors = Errors::default();
    let mut fields = Fields::parse(body.as_bytes(), &mut errors);
    let value = read(&mut fields);
    fields.finish(|| vec!["owner".to_owned()]);
    (value, errors)
}

fn integer_of(value: &str) -> Result<Option<i64>, String> {
    let (value, errors) = with(&format!(r#"{{"n":{value}}}"#), |fields| fields.integer("n", 1, 1_000));
    match errors.pairs().as_slice() {
        [] => Ok(value),
        [(field, reason)] => {
            assert_eq!(*field, "n");
            Err((*reason).to_owned())
        }
        more => panic!("{more:?}"),
    }
}

#[test]
fn numbers_are_whole_and_in_range_or_named() {
    assert_eq!(integer_of("1"), Ok(Some(1)));
    assert_eq!(integer_of("1000"), Ok(Some(1_000)));
    assert_eq!(integer_of("1e3"), Ok(Some(1_000)));
    assert_eq!(integer_of("7.0"), Ok(Some(7)));
    assert_eq!(integer_of("null"), Ok(None));
    for out_of_range in
        ["0", "-1", "-0", "1001", "99999999999999999999", "-99999999999999999999", "1e400", "1e18"]
    {
        assert_eq!(integer_of(out_of_range), Err("must be between 1 and 1000".to_owned()), "{out_of_range}");
    }
    assert_eq!(integer_of("1.5"), Err("must be an integer, not a fraction".to_owned()));
    assert_eq!(integer_of("1e-1"), Err("must be an integer, not a fraction".to_owned()));
    assert_eq!(integer_of("\"1\""), Err("must be an integer, not a string".to_owned()));
    assert_eq!(integer_of("true"), Err("must be an integer, not a boolean".to_owned()));
    assert_eq!(integer_of("[1]"), Err("must be an integer, not an array".to_owned()));
    assert_eq!(integer_of("{}"), Err("must be an integer, not an object".to_owned()));
}

#[test]
fn null_is_absent_and_an_empty_body_has_no_fields() {
    for body in ["", "{}", r#" { "owner" : null } "#] {
        let (owner, errors) = with(body, |fields| fields.owner("owner"));
        assert!(owner.is_none() && errors.pairs().is_empty(), "{body}");
    }
}

#[test]
fn duplicates_and_unknown_members_are_named() {
    let (_, errors) = with(r#"{"owner":"a","x":[[]],"owner":"a"}"#, |fields| fields.owner("owner"));
    assert_eq!(
        errors.pairs(),
        [("owner", "is given more than once"), ("x", "is not a field of this request; it has owner")]
    );
    let (_, errors) = with(r#"{"\u006fwner":"a","owner":null}"#, |fields| fields.owner("owner"));
    assert_eq!(errors.pairs(), [("owner", "is given more than once")]);
}

/// Each field is looked for among all members.
#[test]
fn further_members_are_not_read() {
    for (others, is_read) in [(MOST_MEMBERS - 1, true), (MOST_MEMBERS, false)] {
        let body = format!("{{{}\"n\":7}}", "\"a\":0,".repeat(others));
        let (n, errors) = with(&body, |fields| fields.integer("n", 1, 9));
        let is_refused = errors.pairs().contains(&("body", TOO_MANY_MEMBERS));
        assert_eq!((n.is_some(), is_refused), (is_read, !is_read), "{others}");
    }
    let ((), errors) = with(&format!("{{{}", "\"a\":0,".repeat(2 * MOST_MEMBERS)), |_| ());
    assert!(errors.pairs()[0].1.starts_with("is not valid JSON"), "{:?}", errors.pairs());
}

#[test]
fn what_is_not_one_object_is_the_bodys_error() {
    for body in ["[]", "[{}]", "null", "1", "\"x\"", "true"] {
        let ((), errors) = with(body, |_| ());
        assert_eq!(errors.pairs(), [("body", "must be one JSON object")], "{body}");
    }
    for body in ["{", "{}{}", "{'a':1}", "{\"a\":01}", " ", "{\"a\":1,}", "\u{feff}{}"] {
        let ((), errors) = with(body, |_| ());
        let pairs = errors.pairs();
        assert!(pairs.len() == 1 && pairs[0].0 == "body", "{body}: {pairs:?}");
    }
    let mut errors = Errors::default();
    Fields::parse(b"{\"a\":\"\xff\"}", &mut errors).finish(Vec::new);
    assert_eq!(errors.pairs(), [("body", "is not valid UTF-8")]);
}

#[test]
fn depth_does_no_harm() {
    let deep = format!(r#"{{"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let (_, errors) = with(&deep, |fields| fields.data("data"));
    assert_eq!(errors.pairs(), [("data", "must be a string, not an array")]);
    let (_, errors) = with(&"[".repeat(200_000), |fields| fields.data("data"));
    assert_eq!(errors.pairs()[0].0, "body");
}

#[test]
fn texts_are_decoded_and_checked() {
    let (data, errors) = with(r#"{"data":"a\u00e9\ud83d\ude00\n"}"#, |fields| fields.data("data"));
    assert_eq!(data.unwrap().as_str(), "aé😀\n");
    assert!(errors.pairs().is_empty());
    let (_, errors) = with(r#"{"data":"\ud800"}"#, |fields| fields.data("data"));
    assert_eq!(errors.pairs(), [("data", "must be valid Unicode: a surrogate stands alone")]);
    let (_, errors) = with(r#"{"data":"a\u0000"}"#, |fields| fields.data("data"));
    assert_eq!(errors.pairs(), [("data", "must not contain U+0000")]);
    let (_, errors) = with(r#"{"owner":""}"#, |fields| fields.owner("owner"));
    assert_eq!(errors.pairs(), [("owner", "must not be empty")]);
    let (_, errors) = with(r#"{"f":"true"}"#, |fields| fields.flag("f"));
    assert_eq!(errors.pairs(), [("f", "must be true or false, not a string")]);
}
