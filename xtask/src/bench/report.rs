//! A run's figures and the machine they are of, as JSON.

use std::{
    fs::{self, File},
    io::BufWriter,
    path::Path,
};

use anyhow::{Context as _, Result};
use lb_tests::bench::Findings;
use serde::{Deserialize, Serialize};

use super::machine::Machine;

/// One run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Where and when.
    pub machine: Machine,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

impl Report {
    /// Reads what [`Report::write`] wrote.
    pub fn read(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        serde_json::from_slice(&text)
            .with_context(|| format!("{} is no report of a benchmark", file.display()))
    }

    /// Writes it for people and programs.
    pub fn write(&self, file: &Path) -> Result<()> {
        let to = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(serde_json::to_writer_pretty(BufWriter::new(to), self)?)
    }
}

#[cfg(test)]
mod tests {
    use lb_tests::bench::Goal;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut report = Report::default();
        report.machine.cpu = "some".to_owned();
        report.findings.add(["Cost", "one flow", "lb"], 60.5, "ns");
        let goal = Some(Goal::AtLeast(5.0));
        report.findings.add_with_goal(["Ratio", "one flow", "lb"], 6.0, "times", goal);
        report.findings.note("a note");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("report.json");
        report.write(&file).unwrap();
        assert_eq!(Report::read(&file).unwrap(), report);
    }

    #[test]
    fn another_file_is_refused_by_its_name() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("other.json");
        fs::write(&file, "[]").unwrap();
        let error = format!("{:#}", Report::read(&file).unwrap_err());
        assert!(error.contains("other.json is no report"), "{error}");
    }
}
