//! Tables of text: aligned, at most [`WIDTH`] columns wide, without lines or colours.

use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};

/// The width of a terminal that every operator has.
pub(super) const WIDTH: u16 = 100;
/// Between two columns.
const GAP: u16 = 2;

/// How a column is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Left-aligned, never wrapped.
    Text,
    /// Right-aligned, never wrapped.
    Number,
    /// Left-aligned, wrapped where the table is too wide.
    Wrapped,
}

/// A table with a line of titles. Without rows, a sentence: `no ROWS`.
pub(super) fn table<const N: usize>(
    what: &str,
    columns: [(&str, Kind); N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    table_of_some(what, columns.map(Some), rows)
}

/// As [`table`]; a column that is `None` is left out.
pub(super) fn table_of_some<const N: usize>(
    what: &str,
    columns: [Option<(&str, Kind)>; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let rows = rows.map(|row| {
        let cells = row.into_iter().zip(columns);
        cells.filter_map(|(cell, column)| column.map(|_| cell)).collect::<Vec<_>>()
    });
    let columns: Vec<_> = columns.into_iter().flatten().collect();
    let mut table = Table::new();
    table.set_header(columns.iter().map(|(title, _)| *title)).add_rows(rows);
    if table.is_empty() {
        return format!("no {what}\n");
    }
    written(table, columns.into_iter().map(|(_, kind)| kind))
}

/// Facts by name: `NAME  FACT`.
pub(super) fn facts(facts: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = Table::new();
    table.add_rows(facts.into_iter().map(|(name, fact)| [name.to_owned(), fact]));
    written(table, [Kind::Text, Kind::Wrapped].into_iter())
}

/// The text of a table with columns of these kinds.
fn written(mut table: Table, kinds: impl ExactSizeIterator<Item = Kind>) -> String {
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH);
    let last = kinds.len().saturating_sub(1);
    for (index, (column, kind)) in table.column_iter_mut().zip(kinds).enumerate() {
        column.set_padding((0, if index == last { 0 } else { GAP }));
        if kind == Kind::Number {
            column.set_cell_alignment(CellAlignment::Right);
        }
        if kind != Kind::Wrapped {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, number: &str, why: &str) -> [String; 3] {
        [name.to_owned(), number.to_owned(), why.to_owned()]
    }

    const COLUMNS: [(&str, Kind); 3] =
        [("NAME", Kind::Text), ("FLOWS", Kind::Number), ("WHY", Kind::Wrapped)];

    #[test]
    fn aligns_names_left_and_numbers_right() {
        let rows = [row("csta/imp1", "1", "up"), row("a/b", "12345678", "")];
        assert_eq!(
            table("rows", COLUMNS, rows.into_iter()),
            "\
NAME          FLOWS  WHY
csta/imp1         1  up
a/b        12345678
"
        );
    }

    #[test]
    fn wraps_what_may_be_wrapped_and_nothing_else() {
        let name = "n".repeat(60);
        let why = "one two three four five six seven eight nine ten";
        let text = table("rows", COLUMNS, [row(&name, "12", why)].into_iter());
        assert!(text.lines().count() > 2, "{text}");
        assert!(text.lines().all(|line| line.len() <= usize::from(WIDTH)), "{text}");
        assert!(text.contains(&name), "{text}");
    }

    #[test]
    fn leaves_out_what_is_not_to_be_shown() {
        let [name, _, why] = COLUMNS.map(Some);
        let text = table_of_some("rows", [name, None, why], [row("a/b", "1", "up")].into_iter());
        assert_eq!(text, "NAME  WHY\na/b   up\n");
    }

    #[test]
    fn says_that_there_are_none() {
        assert_eq!(table("flows", COLUMNS, std::iter::empty()), "no flows\n");
    }

    #[test]
    fn facts_stand_below_each_other() {
        let text = facts([("up", "3m12s".to_owned()), ("version", "0.1".to_owned())]);
        assert_eq!(text, "up       3m12s\nversion  0.1\n");
    }
}
