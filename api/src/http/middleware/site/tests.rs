use axum::http::Request;

use super::*;

fn check(target: &str, headers: &[(&str, &str)], checks_host: bool) -> Result<(), SiteRefusal> {
    let mut request = Request::get(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let place = RequestSite {
        method: &parts.method,
        uri: &parts.uri,
        version: parts.version,
        headers: &parts.headers,
        checks_host,
    };
    place.check(&"locks.example, other.example:8443".parse().unwrap())
}

const OWN: (&str, &str) = ("Host", "127.0.0.1:8080");
const CROSS_ORIGIN: Result<(), SiteRefusal> = Err(SiteRefusal::CrossOrigin);

#[test]
fn on_loopback_only_known_hosts_are_served() {
    for own in [
        "localhost",
        "LOCALHOST:1",
        "a.localhost",
        "localhost.",
        "127.0.0.1",
        "127.1.2.3:80",
        "[::1]",
        "[::1]:80",
        "locks.example",
        "Locks.Example:99",
        "other.example:8443",
    ] {
        assert_eq!(check("/", &[("Host", own)], true), Ok(()), "{own}");
    }
    for foreign in [
        "evil.example",
        "localhost.evil.example",
        "evillocalhost",
        "other.example",
        "other.example:1",
        "0.0.0.0",
        "192.168.0.1",
        "[::2]",
        "127.0.0.1.evil.example",
    ] {
        assert_eq!(check("/", &[("Host", foreign)], true), Err(SiteRefusal::Misdirected), "{foreign}");
        assert_eq!(check("/", &[("Host", foreign)], false), Ok(()), "{foreign}");
    }
    assert_eq!(check("http://evil.example/", &[OWN], true), Err(SiteRefusal::Misdirected));
    assert_eq!(check("http://localhost/", &[("Host", "evil.example")], true), Ok(()), "the target counts");
}

#[test]
fn exactly_one_valid_host_is_needed() {
    let invalid = |headers: &[_]| matches!(check("/", headers, true), Err(SiteRefusal::InvalidHost(_)));
    assert!(invalid(&[]));
    assert!(invalid(&[OWN, OWN]));
    for bad in ["", ":80", "a b", "a/b", "a@b", "[::1", "::1", "a:b", "a:99999", "a:80:80", "[a]", "[::1]x"] {
        assert!(invalid(&[("Host", bad)]), "{bad}");
    }
}

#[test]
fn pages_of_other_sites_are_refused() {
    let from = |origin| check("/locks", &[OWN, ("Origin", origin)], true);
    for own in
        ["http://127.0.0.1:8080", "https://127.0.0.1:8080", "https://locks.example", "http://locks.example:1"]
    {
        assert_eq!(from(own), Ok(()), "{own}");
    }
    for foreign in [
        "null",
        "",
        "https://evil.example",
        "http://127.0.0.1",
        "http://localhost:8080",
        "http://127.0.0.1:8081",
        "file://127.0.0.1:8080",
        "127.0.0.1:8080",
        "http://127.0.0.1:8080/",
        "http://x@127.0.0.1:8080",
    ] {
        assert_eq!(from(foreign), CROSS_ORIGIN, "{foreign}");
    }
    let both = [OWN, ("Origin", "http://127.0.0.1:8080"), ("Origin", "https://evil.example")];
    assert_eq!(check("/", &both, true), CROSS_ORIGIN);
    let behind_tls = [("Host", "locks.corp:443"), ("Origin", "https://locks.corp")];
    assert_eq!(check("/", &behind_tls, false), Ok(()));
    assert_eq!(check("/", &[("Host", "a"), ("Origin", "http://b")], false), CROSS_ORIGIN, "on every address");
}

#[test]
fn what_browsers_say_of_the_site_counts() {
    let site = |site| check("/locks", &[OWN, ("Sec-Fetch-Site", site)], true);
    assert_eq!((site("same-origin"), site("none")), (Ok(()), Ok(())));
    for foreign in ["cross-site", "same-site", "", "Same-Origin", "other"] {
        assert_eq!(site(foreign), CROSS_ORIGIN, "{foreign}");
    }
    let follow = |target| {
        let link = [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "document"),
        ];
        check(target, &[&[OWN][..], &link].concat(), true)
    };
    assert_eq!(
        (follow("/swagger-ui/"), follow("/problems/in-use")),
        (Ok(()), Ok(())),
        "a link may be followed"
    );
    assert_eq!(follow("/locks"), CROSS_ORIGIN);
}

#[test]
fn misdirected_comes_before_foreign_and_that_before_an_invalid_host() {
    let foreign = ("Origin", "http://evil.example");
    assert_eq!(check("/", &[("Host", "evil.example"), foreign], true), Err(SiteRefusal::Misdirected));
    assert_eq!(check("/", &[foreign], true), CROSS_ORIGIN);
}
