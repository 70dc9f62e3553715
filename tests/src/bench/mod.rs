//! What benchmarks say: figures, each with its place in a table, and the goal that it has.

mod layout;
mod samples;

use std::{env, fmt, fs, io, process::ExitCode};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

pub use layout::{number, tables};
pub use samples::Samples;

/// The variable that names the file into which a benchmark writes its [`Findings`].
pub const FINDINGS: &str = "LB_FINDINGS";
/// The variable that names the object with the reference programs.
pub const REFERENCE: &str = "LB_REFERENCE";

/// How a benchmark ends: where it failed, its error is told.
pub fn conclude(measured: Result<()>) -> ExitCode {
    match measured {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One figure. Table, row and column together are its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// The table's heading.
    pub table: String,
    /// What was measured.
    pub row: String,
    /// Of which candidate, or in which respect.
    pub column: String,
    /// How much it is.
    pub value: f64,
    /// Of what: `ns`, `MiB`, `times`.
    pub unit: String,
    /// What it ought to be.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub goal: Option<Goal>,
}

/// What a figure ought to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The smaller the better.
    AtMost(f64),
    /// The larger the better.
    AtLeast(f64),
}

impl Goal {
    /// Whether a figure is as it ought to be.
    pub fn is_met_by(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {}", number(*most)),
            Self::AtLeast(least) => write!(f, "≥ {}", number(*least)),
        }
    }
}

/// What a benchmark has found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Findings {
    /// In the order in which they are shown.
    pub figures: Vec<Figure>,
    /// Sentences for people.
    pub notes: Vec<String>,
}

impl Findings {
    /// Adds a figure.
    pub fn add(&mut self, [table, row, column]: [&str; 3], value: f64, unit: &str) {
        self.add_with_goal([table, row, column], value, unit, None);
    }

    /// Adds a figure that has a goal.
    pub fn add_with_goal(
        &mut self,
        [table, row, column]: [&str; 3],
        value: f64,
        unit: &str,
        goal: Option<Goal>,
    ) {
        self.figures.push(Figure {
            table: table.to_owned(),
            row: row.to_owned(),
            column: column.to_owned(),
            value,
            unit: unit.to_owned(),
            goal,
        });
    }

    /// Adds a sentence.
    pub fn note(&mut self, sentence: impl Into<String>) {
        self.notes.push(sentence.into());
    }

    /// A figure's value.
    pub fn value(&self, [table, row, column]: [&str; 3]) -> Option<f64> {
        let is_it = |its: &&Figure| its.table == table && its.row == row && its.column == column;
        self.figures.iter().find(is_it).map(|its| its.value)
    }

    /// Writes them where [`FINDINGS`] says, or prints them where it says nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(&self) -> Result<()> {
        let Some(path) = env::var_os(FINDINGS) else {
            print!("{}", tables(self));
            return Ok(());
        };
        let file = fs::File::create(&path)
            .with_context(|| format!("cannot write {}", path.to_string_lossy()))?;
        Ok(serde_json::to_writer(io::BufWriter::new(file), self)?)
    }
}
