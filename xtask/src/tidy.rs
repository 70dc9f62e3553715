//! The rules of the house that no compiler checks, as code.

use std::{fmt, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

/// The longest that a module may be, in lines.
const LONGEST_MODULE: usize = 350;

/// What tells of work that was left for later. Matched as whole words, in any case.
/// Written in parts, so that this file keeps its own rule.
const UNFINISHED: [&str; 8] = [
    concat!("TO", "DO"),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("for ", "now"),
    concat!("simpli", "fied"),
    concat!("place", "holder"),
    concat!("st", "ub"),
    concat!("not yet ", "implemented"),
];

/// Directories that exist on one person's machine.
const PRIVATE_DIRECTORIES: [&str; 3] =
    [concat!("/ro", "ot"), concat!("/wo", "rk"), concat!("/ho", "me")];

/// Files that other programs or people wrote.
const FOREIGN: [&str; 3] = ["Cargo.lock", "LICENSE-APACHE", "LICENSE-MIT"];

/// A rule that is broken, and where.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    /// From 1.
    line: usize,
    what: String,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.what)
    }
}

/// Reads every text file that git tracks, and those that it would.
///
/// # Errors
/// Where a rule is broken, or the files cannot be listed or read.
pub fn check(workspace: &Path) -> Result<()> {
    let mut broken = 0;
    for name in files(workspace)? {
        if FOREIGN.iter().any(|foreign| name.ends_with(foreign)) {
            continue;
        }
        let path = workspace.join(&name);
        // A link, or deleted and not committed.
        if !path.is_file() {
            continue;
        }
        let content = fs::read(&path).with_context(|| format!("cannot read {name}"))?;
        let Ok(text) = String::from_utf8(content) else { continue };
        for complaint in complaints(&name, &text) {
            eprintln!("{name}:{complaint}");
            broken += 1;
        }
    }
    ensure!(broken == 0, "{broken} breaches of the house's rules");
    Ok(())
}

fn files(workspace: &Path) -> Result<Vec<String>> {
    let listed = Command::new("git")
        .current_dir(workspace)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("cannot run git")?;
    if !listed.status.success() {
        bail!("cannot list the files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let names = String::from_utf8(listed.stdout).context("a file's name is not UTF-8")?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

/// The rules that the file `name` breaks.
fn complaints(name: &str, text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (line, content) in (1..).zip(text.lines()) {
        let found = |what| Complaint { line, what };
        let words = UNFINISHED.iter().filter(|words| has_words(content, words));
        complaints.extend(words.map(|words| found(format!("`{words}` tells of unfinished work"))));
        let directories = PRIVATE_DIRECTORIES.iter().filter(|path| has_path(content, path));
        complaints.extend(
            directories.map(|path| found(format!("`{path}` is a directory of one machine"))),
        );
    }
    if name.ends_with(".rs") {
        let lines = text.lines().count();
        if lines > LONGEST_MODULE {
            let what = format!("{lines} lines; a module has at most {LONGEST_MODULE}");
            complaints.push(Complaint { line: lines, what });
        }
        complaints.extend(unreasoned_allows(text));
    }
    complaints
}

/// Whether `words` stand in `line` by themselves, in any case.
fn has_words(line: &str, words: &str) -> bool {
    let (line, words) = (line.to_ascii_lowercase(), words.to_ascii_lowercase());
    line.match_indices(&words).any(|(start, _)| {
        let is_letter = |c: char| c.is_alphanumeric();
        !line[..start].ends_with(is_letter) && !line[start + words.len()..].starts_with(is_letter)
    })
}

/// Whether an absolute path in `line` starts with the directory `path`.
fn has_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(start, _)| {
        let part = |c: char| c.is_alphanumeric() || "._-~$}".contains(c);
        !line[..start].ends_with(part) && !line[start + path.len()..].starts_with(part)
    })
}

/// Attributes that silence a lint without saying why.
fn unreasoned_allows(text: &str) -> Vec<Complaint> {
    let starts = text.match_indices(concat!("[al", "low("));
    starts
        .filter(|(start, _)| text[..*start].ends_with(['#', '!']))
        .filter(|(start, _)| {
            let attribute = text[*start..].split(")]").next().unwrap_or_default();
            !attribute.contains("reason")
        })
        .map(|(start, _)| Complaint {
            line: text[..start].matches('\n').count() + 1,
            what: "an allowed lint without its reason; `#[expect(lint, reason = \"...\")]` is \
                   better still"
                .to_owned(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines that break a rule in a file of this name.
    fn broken(name: &str, text: &str) -> Vec<usize> {
        complaints(name, text).into_iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn words_of_unfinished_work_are_found_in_any_case() {
        for words in UNFINISHED {
            let lower = words.to_lowercase();
            assert_eq!(broken("README.md", &format!("fine\n// {words}: later")), [2], "{words}");
            assert_eq!(broken("a.toml", &format!("{lower}!()")), [1], "{words}");
            assert_eq!(broken("a.rs", &format!("let a{lower}b = 1;")), [0; 0], "{words}");
        }
    }

    #[test]
    fn paths_of_one_machine_are_found_and_others_are_not() {
        for path in PRIVATE_DIRECTORIES {
            assert_eq!(broken("run.sh", &format!("cd {path}/lb")), [1], "{path}");
            assert_eq!(broken("run.sh", &format!("cd \"{path}\"")), [1], "{path}");
            assert_eq!(broken("run.sh", &format!("cd house{path}/lb")), [0; 0], "{path}");
            assert_eq!(broken("run.sh", &format!("cd {path}s/lb")), [0; 0], "{path}");
        }
    }

    #[test]
    fn a_module_is_too_long_by_one_line() {
        let longest = "//\n".repeat(LONGEST_MODULE);
        assert_eq!(broken("a.rs", &longest), [0; 0]);
        assert_eq!(broken("a.rs", &format!("{longest}//")), [LONGEST_MODULE + 1]);
        assert_eq!(broken("a.xml", &format!("{longest}//")), [0; 0]);
    }

    #[test]
    fn an_allowed_lint_needs_its_reason_also_over_lines() {
        let allow = concat!("#[al", "low(");
        assert_eq!(broken("a.rs", &format!("\n{allow}dead_code)]\nreason")), [2]);
        assert_eq!(broken("a.rs", &format!("{allow}\n  dead_code,\n  reason = \"\"\n)]")), [0; 0]);
    }
}
