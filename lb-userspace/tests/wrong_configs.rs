//! Every file in `wrong-configs` is refused with exactly the problems that its first lines name,
//! one a line: `# refused: line 7, key service "csta" → port: a part of the message`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use lb_userspace::config::{Config, Problem};

struct Expectation {
    line: usize,
    key: String,
    part: String,
}

impl Expectation {
    fn parse(comment: &str) -> Option<Self> {
        let (line, rest) = comment.strip_prefix("# refused: line ")?.split_once(", key ")?;
        let (key, part) = rest.split_once(": ")?;
        Some(Self { line: line.parse().ok()?, key: key.to_owned(), part: part.to_owned() })
    }

    fn meets(&self, problem: &Problem) -> bool {
        (self.line, &self.key) == (problem.line, &problem.key)
            && !self.part.is_empty()
            && problem.message.contains(&self.part)
    }
}

fn wrong_configs() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wrong-configs");
    let entries = std::fs::read_dir(&directory).expect("the directory of wrong configs");
    let mut files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.sort();
    files
}

/// What is wrong with the refusal of `file`, if anything.
fn judge(file: &Path) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let expected: Vec<_> = text
        .lines()
        .take_while(|line| line.starts_with("# refused:"))
        .map(|line| Expectation::parse(line).ok_or(format!("no expectation: {line}")))
        .collect::<Result<_, _>>()?;
    if expected.is_empty() {
        return Err("says nowhere how it is refused".to_owned());
    }
    let Err(error) = Config::load(file) else { return Err("is accepted".to_owned()) };
    let same_number = expected.len() == error.problems.len();
    if same_number && expected.iter().zip(&error.problems).all(|(e, problem)| e.meets(problem)) {
        Ok(())
    } else {
        Err(format!("is refused otherwise:\n{error}"))
    }
}

#[test]
fn every_wrong_config_is_refused_at_its_line_and_key() {
    let files = wrong_configs();
    assert!(files.len() >= 89, "only {} wrong configs", files.len());
    let failures: Vec<_> = files
        .iter()
        .filter_map(|file| judge(file).err().map(|reason| format!("{}: {reason}", file.display())))
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
fn every_wrong_config_has_a_number_of_its_own() {
    let files = wrong_configs();
    let numbers: BTreeSet<_> = files
        .iter()
        .map(|file| {
            let name = file.file_name().expect("a file").to_string_lossy().into_owned();
            assert!(name.ends_with(".toml"), "{name}");
            name.split_once('-').expect("NN-name.toml").0.parse::<u32>().expect("NN-name.toml")
        })
        .collect();
    assert_eq!(numbers.len(), files.len());
}
