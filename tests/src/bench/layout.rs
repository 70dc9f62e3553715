//! Findings as tables, which people read at a terminal and Markdown takes as they are.

use super::{Figure, Findings};

/// All tables, and the notes.
pub fn tables(findings: &Findings) -> String {
    let mut text = String::new();
    let mut shown: Vec<&str> = Vec::new();
    for Figure { table, .. } in &findings.figures {
        if !shown.contains(&table.as_str()) {
            shown.push(table);
            let figures: Vec<_> =
                findings.figures.iter().filter(|its| its.table == *table).collect();
            text += &one(table, &figures);
        }
    }
    for note in &findings.notes {
        text += &format!("\n{note}\n");
    }
    text
}

/// A number with as many places as say something, and with commas between thousands.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return "-".to_owned();
    }
    let places = match value.abs() {
        size if size >= 99.95 || value.fract() == 0.0 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let plain = format!("{value:.places$}");
    let (sign, digits) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::new();
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

fn one(table: &str, figures: &[&Figure]) -> String {
    let unit = figures.first().map_or("", |first| first.unit.as_str());
    let uniform = figures.iter().all(|its| its.unit == unit);
    let rows = distinct(figures.iter().map(|its| its.row.as_str()));
    let columns = distinct(figures.iter().map(|its| its.column.as_str()));
    let mut lines =
        vec![std::iter::once("").chain(columns.iter().copied()).map(str::to_owned).collect()];
    for row in rows {
        let mut line: Vec<String> = vec![row.to_owned()];
        for column in &columns {
            let figure = figures.iter().find(|its| its.row == row && its.column == *column);
            line.push(figure.map_or(String::new(), |figure| cell(figure, uniform)));
        }
        lines.push(line);
    }
    let heading = if uniform { format!("{table} ({unit})") } else { table.to_owned() };
    format!("\n{heading}\n\n{}", aligned(&lines))
}

fn cell(figure: &Figure, uniform: bool) -> String {
    let mut cell = number(figure.value);
    if !uniform {
        cell += &format!(" {}", figure.unit);
    }
    if let Some(goal) = figure.goal {
        let word = if goal.is_met_by(figure.value) { "met" } else { "not met" };
        cell += &format!(" (goal {goal}: {word})");
    }
    cell
}

/// Each once, in the order of their first appearance.
fn distinct<'a>(words: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut distinct = Vec::new();
    for word in words {
        if !distinct.contains(&word) {
            distinct.push(word);
        }
    }
    distinct
}

/// A table in Markdown, whose columns stand below each other at a terminal too: the first one to
/// the left, figures to the right.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|i| {
            let cells = lines.iter().filter_map(|line| line.get(i));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for (i, line) in lines.iter().enumerate() {
        for (at, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            text += &match at {
                0 => format!("| {cell:width$} |"),
                _ => format!(" {cell:>width$} |"),
            };
        }
        text.push('\n');
        if i == 0 {
            for (at, &width) in widths.iter().enumerate() {
                text += &match at {
                    0 => format!("|-{}-|", "-".repeat(width)),
                    _ => format!("-{}:|", "-".repeat(width)),
                };
            }
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Goal;
    use super::*;

    #[test]
    fn numbers_have_places_that_say_something() {
        for (value, shown) in [
            (0.0, "0"),
            (0.984, "0.98"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1234.5, "1,234"),
            (-1_234_567.0, "-1,234,567"),
            (f64::NAN, "-"),
        ] {
            assert_eq!(number(value), shown, "{value}");
        }
    }

    #[test]
    fn a_table_has_its_rows_and_columns_in_order_with_goals_beside_the_figures() {
        let mut findings = Findings::default();
        findings.add(["Cost", "one flow", "floor"], 20.0, "ns");
        let goal = Some(Goal::AtMost(50.0));
        findings.add_with_goal(["Cost", "one flow", "lb"], 60.25, "ns", goal);
        findings.add(["Cost", "many", "lb"], 140.0, "ns");
        findings.note("That was all.");
        let expected = "
Cost (ns)

|          | floor |                      lb |
|----------|------:|------------------------:|
| one flow |    20 | 60.2 (goal ≤ 50: not met) |
| many     |       |                     140 |

That was all.
";
        let without_blanks = |text: &str| text.replace([' ', '-'], "");
        assert_eq!(without_blanks(&tables(&findings)), without_blanks(expected));
    }

    #[test]
    fn where_units_differ_each_figure_has_its_own() {
        let mut findings = Findings::default();
        findings.add(["Memory", "maps", ""], 1.5, "MiB");
        findings.add(["Memory", "flow", ""], 64.0, "bytes");
        let text = tables(&findings);
        assert!(text.contains("1.50 MiB") && text.contains("64 bytes"), "{text}");
    }
}
