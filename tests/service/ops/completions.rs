//! Completions for shells.

use crate::support::service::run_program;

const NOWHERE: &str = "sqlite://nowhere.sqlite";

async fn completions(shell: &str) -> String {
    let output = run_program(NOWHERE, &["completions", shell]).await;
    assert!(output.status.success(), "{shell}");
    String::from_utf8(output.stdout).unwrap()
}

/// The completions that bash offers for the last of these words.
async fn offered(words: &[&str]) -> Vec<String> {
    // Like bash: finds the function of the program, and calls it with the program, the word and the word before it.
    const COMPLETE: &str = r#"
        eval "$SCRIPT"
        [[ $(complete -p db-locks) =~ -F\ ([^ ]+) ]] || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        "${BASH_REMATCH[1]}" db-locks "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
        printf '%s\n' "${COMPREPLY[@]}"
    "#;
    let mut bash = tokio::process::Command::new("bash");
    bash.args(["--norc", "-c", COMPLETE, "bash", "db-locks"]).args(words);
    let output = bash.env("SCRIPT", completions("bash").await).output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn bash_completes_every_word() {
    assert_eq!(offered(&["run", "--sk"]).await, ["--skip-if-locked"]);
    assert_eq!(offered(&["sem"]).await, ["semaphore"]);
    assert_eq!(offered(&["semaphore", "put", "--max-"]).await, ["--max-size"]);
    assert_eq!(offered(&["completions", "z"]).await, ["zsh"]);
    for (command, expected) in
        [("semaphore", &["put", "get", "list", "delete"][..]), ("token", &["create", "list", "revoke"])]
    {
        let offered = offered(&[command, ""]).await;
        for word in expected {
            assert!(offered.iter().any(|offered| offered == word), "{command}: {word} in {offered:?}");
        }
    }
}

#[tokio::test]
async fn every_offered_option_is_in_the_help() {
    for command in ["run", "get", "release"] {
        let help = run_program(NOWHERE, &[command, "--help"]).await.stdout;
        let help = String::from_utf8(help).unwrap();
        let offered = offered(&[command, "--"]).await;
        assert!(offered.len() > 3, "{offered:?}");
        for option in offered {
            assert!(help.contains(&option), "{command}: {option}");
        }
    }
}

#[tokio::test]
async fn no_shell_offers_internal_commands() {
    for (shell, begin) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef db-locks"),
        ("fish", "complete -c db-locks"),
        ("elvish", "db-locks;run"),
        ("powershell", "db-locks;run"),
    ] {
        let script = completions(shell).await;
        assert!(script.contains(begin), "{shell}");
        assert!(!script.contains("watchdog"), "{shell}");
    }
}
