//! The examples, run as users run them.

use std::path::{Path, PathBuf};

use crate::support::{Dialect, Service, service::PROGRAM};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Runs a program of the examples and returns its output.
async fn python(program: &str, argument: &str) -> String {
    let mut python = tokio::process::Command::new("python3");
    python.arg(root().join(program)).arg(argument).kill_on_drop(true);
    let output = python.output().await.expect("python3 is there");
    let [out, err] = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{program}\n{out}\n{err}");
    out
}

#[tokio::test]
async fn the_demonstration_shows_both_outcomes() {
    let said = python("examples/paused-holder/paused_holder.py", PROGRAM).await;
    assert!(said.contains("100 - 30 - 50 came to 50: Bob's withdrawal is lost"), "{said}");
    assert!(said.contains("Ann cannot write: DL001"), "{said}");
    let readme = std::fs::read_to_string(root().join("examples/paused-holder/README.md")).unwrap();
    assert!(readme.contains(said.trim()), "README.md shows another outcome than:\n{said}");
}

#[tokio::test]
async fn the_guide_to_fencing_shows_code_that_works() {
    let database = Dialect::Sqlite.database().await.unwrap();
    let service = Service::start(&database.url).await;
    let said = python("examples/fencing/fencing.py", &format!("http://127.0.0.1:{}", service.port())).await;
    assert!(said.contains("was refused"), "{said}");
    let code = std::fs::read_to_string(root().join("examples/fencing/fencing.py")).unwrap();
    let guide = std::fs::read_to_string(root().join("docs/fencing.md")).unwrap();
    let (_, tokens) = guide.split_once("## The token").unwrap();
    let shown: Vec<_> =
        tokens.split("```python\n").skip(1).map(|rest| rest.split_once("```").unwrap().0).collect();
    assert_eq!(shown.len(), 3);
    for block in shown {
        assert!(code.contains(block), "fencing.py does not have:\n{block}");
    }
}
