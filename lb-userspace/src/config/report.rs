//! Where the problems of a text are gathered, and how places in it are called.

use toml::de::{DeTable, DeValue};

use super::error::{Problem, quote};

/// Gathers problems; knows the lines of the text.
pub(super) struct Report {
    /// Byte offset of the first character of each line.
    line_starts: Vec<usize>,
    problems: Vec<Problem>,
}

/// Says that a value is of no use and the report knows why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refused;

impl Report {
    pub(super) fn new(text: &str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(offset, _)| offset + 1);
        Self { line_starts: std::iter::once(0).chain(after_breaks).collect(), problems: Vec::new() }
    }

    /// The 1-based line of a byte offset.
    pub(super) fn line_of(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= offset)
    }

    /// The byte offset at which the line of `offset` begins.
    pub(super) fn line_start(&self, offset: usize) -> usize {
        self.line_starts[self.line_of(offset) - 1]
    }

    /// Adds a problem.
    pub(super) fn refuse(
        &mut self,
        line: usize,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Refused {
        self.problems.push(Problem { line, key: key.into(), message: message.into() });
        Refused
    }

    /// All problems, by line; those of one line in the order of their discovery.
    pub(super) fn into_problems(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|problem| problem.line);
        self.problems
    }
}

/// The path of `key` in the table at `path`.
pub(super) fn key_in(path: &str, key: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    let key = if !key.is_empty() && key.len() <= 80 && key.chars().all(bare) {
        key.to_owned()
    } else {
        quote(key)
    };
    if path.is_empty() { key } else { format!("{path} → {key}") }
}

/// The path of the element number `index` (0-based) of the list `key` in the table at `path`: by
/// its name where it has one, such as `service "csta"`, else by its number, such as `service 2`.
pub(super) fn element_in(path: &str, key: &str, index: usize, element: &DeTable<'_>) -> String {
    let key = key_in(path, key);
    match element.get("name").map(|name| name.get_ref()) {
        Some(DeValue::String(name)) => format!("{key} {}", quote(name)),
        _ => format!("{key} {}", index + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_counted_from_one() {
        let report = Report::new("ab\n\ncd");
        let lines: Vec<_> = (0..6).map(|offset| report.line_of(offset)).collect();
        assert_eq!(lines, [1, 1, 1, 2, 3, 3]);
        assert_eq!(report.line_start(5), 4);
        assert_eq!(Report::new("").line_of(0), 1);
    }

    #[test]
    fn problems_come_by_line() {
        let mut report = Report::new("");
        for (line, key) in [(9, "a"), (2, "b"), (9, "c")] {
            report.refuse(line, key, "");
        }
        let keys: Vec<_> = report.into_problems().into_iter().map(|problem| problem.key).collect();
        assert_eq!(keys, ["b", "a", "c"]);
    }

    #[test]
    fn paths_name_every_step() {
        let named = DeTable::parse("name = 'csta'").expect("valid TOML");
        let service = element_in("", "service", 4, named.get_ref());
        assert_eq!(service, "service \"csta\"");
        assert_eq!(
            element_in(&service, "backend", 1, &DeTable::new()),
            "service \"csta\" → backend 2"
        );
        assert_eq!(key_in(&service, "vip"), "service \"csta\" → vip");
        assert_eq!(key_in("", "two words"), "\"two words\"");
    }
}
