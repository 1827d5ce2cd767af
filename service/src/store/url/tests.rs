//! Tests of the values that are accepted, of their meaning, and of the errors of the others.

use std::path::Path;

use super::*;

fn url(text: &str) -> Result<String, UrlError> {
    DatabaseOptions::new(text, 2).map(|options| options.hosts.first().url.clone())
}

fn file(value: &str) -> std::path::PathBuf {
    DatabaseOptions::new(value, 2).unwrap().sqlite_file().unwrap()
}

fn place(text: &str) -> String {
    DatabaseOptions::new(text, 2).unwrap().place().to_string()
}

#[test]
fn a_value_without_a_scheme_is_a_literal_path() {
    for path in [
        "locks.sqlite",
        "./locks",
        "../locks",
        "with space.db",
        "my dir/x.db",
        "a:b.db",
        "a<b.db",
        "[x].db",
        "a%41.db",
        "a?b.db",
        "a#b.db",
        "ü.db",
        "oracle:x",
        "file:x",
        "100%",
    ] {
        assert_eq!(file(path), Path::new(".").join(path), "{path}");
    }
    for path in ["/var/lib/locks", "/abs/a%20b.db", "//twice"] {
        assert_eq!(file(path), Path::new(path), "{path}");
    }
}

#[test]
fn after_a_scheme_the_rules_of_urls_hold() {
    assert_eq!(url("sqlite:locks.sqlite").unwrap(), "sqlite://locks.sqlite?mode=rwc");
    assert_eq!(url("SQLite:locks.sqlite").unwrap(), "sqlite://locks.sqlite?mode=rwc");
    assert_eq!(url("sqlite://locks.sqlite?mode=rw").unwrap(), "sqlite://locks.sqlite?mode=rw");
    assert_eq!(file("sqlite:///var/a%20b"), Path::new("/var/a b"));
    assert_eq!(file("sqlite:////var/lib/locks"), Path::new("/var/lib/locks"));
    assert_eq!(url("Postgres://host/db").unwrap(), "postgres://host/db");
    assert_eq!(url("mariadb://host/db").unwrap(), "mysql://host/db");
}

#[test]
fn other_schemes_and_memory_are_refused() {
    assert!(matches!(url("oracle://x"), Err(UrlError::Scheme(scheme)) if scheme == "oracle"));
    for memory in ["sqlite::memory:", "sqlite://:memory:", "sqlite:x?mode=memory", ":memory:", "sqlite:", ""]
    {
        assert_eq!(url(memory), Err(UrlError::InMemory), "{memory}");
    }
}

/// A mistyped URL must not become a private file that no other replica sees.
#[test]
fn a_value_that_may_be_a_mistyped_url_is_refused() {
    for suspicious in [
        "\"postgres://a:S3cret@h/d\"",
        "'postgres://a:S3cret@h/d'",
        " postgres://a:S3cret@h/d",
        "postgres://a:S3cret@h/d\n",
        "postgres://a:S3cret@h/d\r",
        "postgres//a:S3cret@h/d",
        "postgres ://a:S3cret@h/d",
        "postgres:/a:S3cret@h/d",
        "postgres:a:S3cret@h/d",
        "postgres:locks",
        "mysql:locks",
        "jdbc:postgresql://h/d?password=S3cret",
        "JDBC:mariadb:x",
        "postgresql+psycopg2://a:S3cret@h/d",
        "host=h dbname=d password=S3cret",
        "Server=h;Password=S3cret",
        "a:S3cret@tcp(h:1)/d",
        "a:S3cret@h/d",
        "a:S3cret/h/d",
        "sqlite://a:S3cret@h/d",
        "sqlite:postgres://a:S3cret@h/d",
        "./x://y",
        "${DATABASE_URL}",
        "$(DATABASE_URL)",
        "{{ .Values.url }}",
        "localhost",
        "localhost:5432",
        "postgres",
        "a'b.db",
        "a?mode=memory",
    ] {
        let refusal = url(suspicious).unwrap_err().to_string();
        assert!(refusal.contains("database URL") && !refusal.contains("S3cret"), "{suspicious}: {refusal}");
    }
}

#[test]
fn malformed_urls_are_refused_without_showing_the_password() {
    for wrong in [
        "postgres://a:S3cret@h:notaport/d",
        "postgres://a:S3cret@h:0/d",
        "postgres://a:S3cret@h:65536/d",
        "postgres://a:S3cret@[::1/d",
        "postgres://a:S3cret@[::z]/d",
        "mysql://a:S3cret@@@/",
        "postgres://a:S3cret/x@h:1/d",
        "postgres://a:123/S3cret@h:1/d",
        "postgres://a:123?S3cret@h:1/d",
        "postgres://a:123#S3cret@h:1/d",
        "postgres://a:S3cret?x@h/d",
        "mysql://a:S3cret/x@h/d",
        "postgres://a:S3cret@h",
        "postgres://a:S3cret@h/",
        "postgres:///d",
        "postgres://",
        "postgres://a:S3cret@/d",
        "postgres://a:S3cret@h(x)/d",
        "postgres://h/d?sslmode=S3cret-no-mode&password=S3cret-no-mode",
        "sqlite:x?mode=ro",
        "sqlite:x?mode=rwc&vfs=unix-none",
    ] {
        let refusal = url(wrong).unwrap_err().to_string();
        assert!(refusal.contains("database URL") && !refusal.contains("S3cret"), "{wrong}: {refusal}");
    }
}

#[test]
fn a_password_may_hold_anything_that_is_escaped_and_is_never_shown() {
    for (text, shown) in [
        ("postgres://me:S3cret@host/db", "postgres://host:5432/db"),
        ("postgres://me:S3c%2Fret@host:1/db", "postgres://host:1/db"),
        ("mysql://me:S3c@ret@host/db", "mysql://host:3306/db"),
        ("postgres://me:S3cret@[::1]:7/db?sslmode=disable", "postgres://[::1]:7/db"),
        ("postgres://host/db?user=me&password=S3cret", "postgres://host:5432/db"),
        ("postgres://me:S3cret@%2Frun%2Fpg/db", "postgres:///run/pg/db"),
        ("postgres:///db?host=/run/pg&password=S3cret", "postgres:///run/pg/db"),
        ("postgres://h?dbname=d", "postgres://h:5432/d"),
        ("mysql:///db?socket=/run/mysqld.sock", "mysql:///run/mysqld.sock/db"),
    ] {
        assert_eq!(place(text), shown, "{text}");
        let options = DatabaseOptions::new(text, 2).unwrap();
        assert!(!format!("{options:?}").contains("S3c"));
    }
    assert_eq!(place("locks.db"), "sqlite:./locks.db");
}

/// The driver would log unknown parameters with their values.
#[test]
fn unknown_parameters_are_left_out_and_named() {
    let options =
        DatabaseOptions::new("postgres://h/d?pasword=S3cret&sslmode=disable&channel_binding=require", 2)
            .unwrap();
    assert_eq!(options.hosts.first().url, "postgres://h/d?sslmode=disable");
    assert_eq!(options.unknown_parameters(), ["pasword", "channel_binding"]);
    assert!(
        DatabaseOptions::new("postgres://h/d?options=-csearch_path%3Dlocks", 2)
            .unwrap()
            .hosts
            .first()
            .url
            .contains("%3D")
    );
}

fn urls(text: &str) -> Vec<String> {
    DatabaseOptions::new(text, 2).unwrap().hosts.iter().map(|host| host.url.clone()).collect()
}

#[test]
fn each_of_several_hosts_has_a_url_of_its_own() {
    let text = "postgres://me:S3c,ret@a:5432,b,[::1]:7/locks?sslmode=disable&target_session_attrs=read-write";
    let own = |host: &str| format!("postgres://me:S3c,ret@{host}/locks?sslmode=disable");
    assert_eq!(urls(text), ["a:5432", "b", "[::1]:7"].map(own));
    assert_eq!(place(text), "postgres://a:5432,b:5432,[::1]:7/locks");
    assert!(!format!("{:?}", DatabaseOptions::new(text, 2).unwrap()).contains("S3c"));
    assert_eq!(urls("mysql://u@a,b:3307/locks"), ["mysql://u@a/locks", "mysql://u@b:3307/locks"]);
    assert_eq!(place("mariadb://u@a,b:3307/locks"), "mariadb://a:3306,b:3307/locks");
    assert_eq!(urls("postgres://%2Frun%2Fa,%2Frun%2Fb/d").len(), 2);
    assert_eq!(urls("postgres://a,b?dbname=d"), ["postgres://a?dbname=d", "postgres://b?dbname=d"]);
}

#[test]
fn a_standby_cannot_be_asked_for() {
    for accepted in ["any", "read-write", "primary"] {
        for scheme in ["postgres", "mysql", "mariadb"] {
            let options =
                DatabaseOptions::new(&format!("{scheme}://a/d?target_session_attrs={accepted}"), 2).unwrap();
            assert!(options.unknown_parameters().is_empty());
        }
    }
    for refused in ["standby", "read-only", "prefer-standby"] {
        let refusal =
            url(&format!("postgres://a,b/d?target_session_attrs={refused}")).unwrap_err().to_string();
        assert!(refusal.contains("read-write"), "{refusal}");
    }
    assert!(url("postgres://a,b/d?target_session_attrs=S3cret").is_err());
}

/// The error says what to write instead.
#[test]
fn a_list_of_hosts_that_cannot_be_read_is_refused_with_what_to_write() {
    for (wrong, to_write) in [
        ("postgres://u:S3cret@a,/d", "HOST1:PORT1,HOST2:PORT2"),
        ("postgres://u:S3cret@a,,b/d", "HOST1:PORT1,HOST2:PORT2"),
        ("mysql://u:S3cret@,b/d", "HOST1:PORT1,HOST2:PORT2"),
        ("postgres://u:S3cret@a,A:5432/d", "names a host twice"),
        ("postgres://u:S3cret@::1,b/d", "[::1]"),
        ("postgres://u:S3cret@a:x,b/d", "1 to 65535"),
        ("postgres://u:S3cret@a,b(c)/d", "neither a name nor an address"),
        ("postgres://u:S3cret@a,b/d?host=c", "among its parameters"),
        ("mysql://u:S3cret@a,b/d?socket=/run/x", "among its parameters"),
        ("postgres://u:S3cret@/d?host=a,b", "HOST1:PORT1,HOST2:PORT2"),
        ("postgres://u:S3cret@a/d?port=1,2", "HOST1:PORT1,HOST2:PORT2"),
        ("postgres://u:S3cret@a,b", "names no database"),
        ("postgres://u:S3cret@/d", "names no host"),
    ] {
        let refusal = url(wrong).unwrap_err().to_string();
        assert!(refusal.contains(to_write) && !refusal.contains("S3cret"), "{wrong}: {refusal}");
    }
}

proptest::proptest! {
    /// Every value of `DATABASE_URL` is accepted or refused, and no message shows its password.
    #[test]
    fn every_value_is_read_or_refused(
        begin in "(sqlite:|sqlite://|postgres://|mysql://|mariadb://|jdbc:|file:)?",
        user in "([!-~ü\u{0}]{0,12}:S3cret@)?",
        rest in "[!-~ü\u{0} ]{0,60}",
        query in "(\\?[a-zA-Z-]{0,16}=[!-~]{0,16})?",
    ) {
        let text = format!("{begin}{user}{rest}{query}");
        match DatabaseOptions::new(&text, 2) {
            Ok(options) => {
                // A literal path is no URL and is shown as it is.
                let place = options.place();
                let shown = format!("{place} {options:?}");
                proptest::prop_assert!(place.dialect == "sqlite" || !shown.contains("S3cret"), "{shown}");
            }
            Err(error) => proptest::prop_assert!(!format!("{error} {error:?}").contains("S3cret"), "{error}"),
        }
    }
}
