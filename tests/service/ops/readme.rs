//! The commands and tables of README.md, tested as they are written.

use std::{collections::BTreeMap, path::Path, process::Output};

use serde_json::json;

use crate::support::{
    Dialect, Service,
    service::{PROGRAM, run_program},
};

/// Lines of README that are not run, because they build and test the project itself.
const NOT_RUN: [&str; 2] = ["cargo run --release", "cargo test"];

fn readme() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap()
}

/// The shell scripts of README, in their order.
fn scripts() -> Vec<String> {
    let readme = readme();
    let blocks = readme.split("\n```sh\n").skip(1).map(|rest| rest.split_once("\n```").unwrap().0);
    let run = |line: &&str| !NOT_RUN.contains(line);
    blocks.map(|block| block.lines().filter(run).flat_map(|line| [line, "\n"]).collect()).collect()
}

/// Runs a script, with the port of the test's service instead of the port that README shows.
async fn bash(script: &str, port: u16) -> Output {
    let script = script.replace("localhost:8080", &format!("127.0.0.1:{port}"));
    let mut bash = tokio::process::Command::new("bash");
    let folder = Path::new(PROGRAM).parent().unwrap().to_str().unwrap();
    bash.args(["-c", &script])
        .env_clear()
        .env("PATH", format!("{folder}:{}", std::env::var("PATH").unwrap()))
        .env("DB_LOCKS_URL", format!("http://127.0.0.1:{port}"));
    bash.stdin(std::process::Stdio::null()).kill_on_drop(true).output().await.unwrap()
}

/// Guards invariant 4 for the first steps of users: every line works, and does what README says.
#[tokio::test]
async fn every_line_works() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let script = scripts().concat();
    assert!(script.lines().filter(|line| line.contains("curl")).count() >= 8, "{script}");
    let output = bash(&format!("set -euo pipefail\n{script}"), service.port()).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}\n{}", String::from_utf8_lossy(&output.stdout));
    let svc = service.client().with_tenant("default");
    svc.lock("deploy").await.unheld(200);
    svc.lock("report").await.unheld(200);
    svc.lock("nightly").await.unheld(200);
    assert_eq!(svc.get("/semaphores/licences").await.expect(200).body["busy_count"], 1);
}

/// Guards invariant 4: a user who is not granted the lock and continues with the recipe releases no lock.
#[tokio::test]
async fn the_recipe_does_not_release_somebody_elses_lock() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let svc = service.client().with_tenant("default");
    let theirs = svc.hold("deploy").await;
    let recipe = scripts().into_iter().find(|script| script.contains("/locks/deploy/release")).unwrap();
    // An interactive shell does not stop at an error. The wait is shortened.
    bash(&recipe.replace("\"wait_ms\":10000", "\"wait_ms\":1"), service.port()).await;
    assert_eq!(svc.lock("deploy").await.grant().version, theirs.version);
}

/// The names in a cell of a table, which are between backticks.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// The rows of README's tables whose first cell begins with a name with this prefix, as cells.
fn rows<'r>(readme: &'r str, begin: &str) -> Vec<Vec<&'r str>> {
    let rows = readme.lines().filter(|line| line.starts_with(&format!("| `{begin}")));
    rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

#[tokio::test]
async fn settings_exist_and_have_the_defaults_that_are_named() {
    let help = run_program("sqlite://nowhere.sqlite", &["--help"]).await;
    let help = String::from_utf8(help.stdout).unwrap();
    let readme = readme();
    let settings = [rows(&readme, "DATABASE_URL"), rows(&readme, "DB_LOCKS_")].concat();
    assert!(settings.len() >= 10, "{settings:?}");
    for row in settings {
        let names = quoted(row[0]);
        let defaults = row[1].split(", ").map(|default| default.trim_matches('`')).collect::<Vec<_>>();
        for (index, name) in names.iter().enumerate() {
            let shown = ["=", "]"].iter().find_map(|end| help.split_once(&format!("[env: {name}{end}")));
            let (_, of_setting) = shown.unwrap_or_else(|| panic!("{name} in:\n{help}"));
            let of_setting = of_setting.split("[env: ").next().unwrap();
            // A default that is no literal is a sentence about a computed value, or the meaning of 0.
            let Some(default) = defaults.get(index).filter(|_| defaults.len() == names.len()) else {
                continue;
            };
            if let Some((_, rest)) = of_setting.split_once("[default: ")
                && !default.contains(' ')
            {
                let stated = rest.split_once(']').unwrap().0;
                assert_eq!(stated, *default, "{name}");
            }
        }
    }
}

/// The labels of the existing metrics, by name. A histogram has one entry.
fn labels_by_metric(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut metrics = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let name =
            ["_bucket", "_sum", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
        let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| label.split_once('='));
        let mut labels =
            labels.map(|(label, _)| label.to_owned()).filter(|label| label != "le").collect::<Vec<_>>();
        labels.sort_unstable();
        metrics.entry(name.to_owned()).or_insert(labels);
    }
    metrics
}

/// Users write dashboards from this table, so each metric must exist from the start.
#[tokio::test]
async fn metrics_are_there_from_the_start_with_the_labels_that_are_named() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let there = labels_by_metric(&service.client().get("/metrics").await.expect(200).text);
    let readme = readme();
    let mut named = Vec::new();
    for row in rows(&readme, "db_locks_") {
        let mut labels = quoted(row[1]);
        labels.sort_unstable();
        for name in quoted(row[0]) {
            let found = there.get(name).unwrap_or_else(|| panic!("{name} is not there: {:?}", there.keys()));
            assert_eq!(*found, labels, "the labels of {name}");
            named.push(name);
        }
    }
    let unnamed =
        there.keys().filter(|name| name.starts_with("db_locks_") && !named.contains(&name.as_str()));
    assert_eq!(unnamed.collect::<Vec<_>>(), Vec::<&String>::new(), "README does not name them");
    for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"] {
        assert!(readme.contains(name) && there.contains_key(name), "{name}: {:?}", there.keys());
    }
}

/// The 415 answer shows the longer form of `--json` that README's recipe needs.
#[tokio::test]
async fn the_older_form_of_curl_is_named_where_the_newer_is() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let script = "curl -s -d '{\"owner\":\"ci-42\"}' localhost:8080/locks/k/acquire";
    let answer = String::from_utf8(bash(script, service.port()).await.stdout).unwrap();
    assert!(
        answer.contains("curl --json") && answer.contains("-H 'content-type: application/json' -d"),
        "{answer}"
    );
    assert_eq!(serde_json::from_str::<serde_json::Value>(&answer).unwrap()["status"], json!(415));
}
