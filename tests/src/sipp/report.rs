//! What sipp's statistics say.

use std::collections::BTreeMap;
use std::fmt;

/// The counts of a sipp process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SippReport {
    /// Sessions begun.
    pub created: u64,
    /// Sessions that went through the whole scenario.
    pub successful: u64,
    /// Sessions that did not.
    pub failed: u64,
    /// The failed ones by sipp's name of the reason, such as `FailedTcpClosed`.
    pub reasons: BTreeMap<String, u64>,
    /// sipp's exit status once it has ended by itself; 0: no session failed.
    pub exit_code: Option<i32>,
    /// The last lines of sipp's error log, where something failed.
    pub errors: String,
}

impl SippReport {
    /// Whether sipp has ended well and all of `sessions` went through.
    pub fn all_good(&self, sessions: u32) -> bool {
        self.exit_code == Some(0)
            && self.failed == 0
            && self.successful == u64::from(sessions)
            && self.created == self.successful
    }

    /// Reads the last line of the table that `-trace_stat` writes, by the names of its columns.
    pub(super) fn parse(table: &str) -> Option<Self> {
        let mut lines = table.lines();
        let names: Vec<_> = lines.next()?.split(';').collect();
        // The last line may be one that is just being written.
        let values = lines
            .map(|line| line.split(';').collect::<Vec<_>>())
            .rfind(|values| values.len() >= names.len())?;
        let count = |wanted: &str| -> Option<u64> {
            values[names.iter().position(|name| *name == wanted)?].parse().ok()
        };
        let reasons = names
            .iter()
            .filter(|name| name.starts_with("Failed") && **name != "FailedCall(C)")
            .filter_map(|name| {
                let reason = name.strip_suffix("(C)")?;
                Some((reason.to_owned(), count(name)?))
            })
            .filter(|&(_, count)| count > 0)
            .collect();
        Some(Self {
            created: count("TotalCallCreated")?,
            successful: count("SuccessfulCall(C)")?,
            failed: count("FailedCall(C)")?,
            reasons,
            ..Self::default()
        })
    }
}

impl fmt::Display for SippReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} sessions, {} good, {} failed", self.created, self.successful, self.failed)?;
        if !self.reasons.is_empty() {
            write!(f, " {:?}", self.reasons)?;
        }
        if let Some(code) = self.exit_code.filter(|&code| code != 0) {
            write!(f, ", exit status {code}")?;
        }
        if !self.errors.is_empty() {
            write!(f, ", sipp said:\n{}", self.errors)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "StartTime;TotalCallCreated;SuccessfulCall(P);SuccessfulCall(C);\
                        FailedCall(P);FailedCall(C);FailedTcpClosed(P);FailedTcpClosed(C);";

    #[test]
    fn the_last_whole_line_counts() {
        let table = format!("{HEAD}\nx;1;0;0;0;0;0;0;\nx;9;3;5;1;2;1;2;\nx;9;");
        let report = SippReport::parse(&table).expect("a report");
        assert_eq!((report.created, report.successful, report.failed), (9, 5, 2));
        assert_eq!(report.reasons, [("FailedTcpClosed".to_owned(), 2)].into());
    }

    #[test]
    fn a_table_without_a_line_is_no_report() {
        assert_eq!(SippReport::parse(HEAD), None);
        assert_eq!(SippReport::parse(""), None);
    }

    #[test]
    fn only_all_is_all_good() {
        let good =
            SippReport { created: 7, successful: 7, exit_code: Some(0), ..SippReport::default() };
        assert!(good.all_good(7));
        assert!(!good.all_good(8));
        assert!(!SippReport { exit_code: None, ..good.clone() }.all_good(7));
        assert!(!SippReport { failed: 1, ..good }.all_good(7));
    }
}
