//! What `lb` gives to a shell: completions that bash loads and uses, and manual pages as files.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

const LB: &str = env!("CARGO_BIN_EXE_lb");

fn lb(args: &[&str]) -> Output {
    Command::new(LB).args(args).output().expect("lb runs")
}

fn printed(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn bash(script: &str, file: &Path) -> String {
    let mut command = Command::new("bash");
    printed(command.args(["--norc", "-c", script, "bash"]).arg(file).output().expect("bash runs"))
}

#[test]
fn bash_completes_commands_and_values() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("lb.bash");
    fs::write(&file, printed(lb(&["completions", "bash"]))).expect("a file");
    assert_eq!(bash("bash -n \"$1\"", &file), "");
    assert!(bash("source \"$1\"; complete -p lb", &file).contains(" -F _lb "));
    // As bash calls it at the tab key.
    let complete = "source \"$1\"; COMP_WORDS=(lb show \"\"); COMP_CWORD=2; \
                    _lb lb \"\" show; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let words = bash(complete, &file);
    for word in ["summary", "backends", "flows", "events"] {
        assert!(words.lines().any(|its| its == word), "no {word} in {words}");
    }
}

#[test]
fn every_shell_gets_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(lb(&["completions", shell]));
        for word in ["drain", "suspend", "keepalives", "deadline", "completions"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
    }
    assert_eq!(lb(&["completions", "cmd"]).status.code(), Some(2));
}

#[test]
fn manual_pages_are_files_or_text() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("man/man8");
    let path = place.to_str().expect("UTF-8");
    let said = printed(lb(&["man", path]));
    let pages = fs::read_dir(&place).expect("the directory").count();
    assert_eq!(said, format!("{pages} manual pages in {path}\n"));
    let page = fs::read_to_string(place.join("lb.8")).expect("the page of lb");
    assert_eq!(printed(lb(&["man"])), page);
    let failed = lb(&["man", "/dev/null/man"]);
    let said = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{said}");
    assert!(said.starts_with("lb: cannot make the directory /dev/null/man: "), "{said}");
}
