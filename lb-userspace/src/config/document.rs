//! The text as a tree of TOML with positions, or what is wrong with its syntax.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::report::{Report, element_in, key_in};

/// How the parser's message begins where a key or header stands twice.
const GIVEN_TWICE: &str = "duplicate key";
/// How its messages begin where a value has no quotes: `nat` looks like the start of `nan` to it,
/// `10.0.0.11` like a float, `2001:db8::1` like a time.
const UNQUOTED: [&str; 5] = [
    "string values must be quoted",
    "invalid float",
    "invalid boolean",
    "invalid time",
    "invalid date",
];

/// Parses `text`; where it is no TOML, every error goes to `report`.
pub(super) fn parse<'t>(text: &'t str, report: &mut Report) -> Option<Spanned<DeTable<'t>>> {
    let (document, mut errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(document);
    }
    let outline = Outline::of(document.get_ref());
    let offset = |error: &toml::de::Error| error.span().map_or(0, |span| span.start);
    errors.sort_by_key(offset);
    // One mistake makes the parser stumble over the rest of its line.
    errors.dedup_by_key(|error| report.line_of(offset(error)));
    let mut table_given_twice = None;
    for error in errors {
        let offset = offset(&error);
        let key = outline.key_at(text, report.line_start(offset), offset);
        if error.message().starts_with(GIVEN_TWICE) {
            // A table that is there twice has its keys twice as well.
            if table_given_twice.as_ref().is_some_and(|table| key.starts_with(table)) {
                continue;
            }
            table_given_twice = Some(format!("{key} → "));
        }
        report.refuse(report.line_of(offset), key, explain(error.message()));
    }
    None
}

fn explain(message: &str) -> String {
    if message.starts_with(GIVEN_TWICE) {
        "is given twice: keep one; several services or backends each start with \
         [[service]] or [[service.backend]]"
            .to_owned()
    } else if UNQUOTED.iter().any(|start| message.starts_with(start)) {
        "has no value, or one that lacks its quotes: texts, addresses and durations are written \
         \"like this\""
            .to_owned()
    } else {
        format!("is not valid TOML: {message}")
    }
}

/// Where the keys of a document stand, each with its path, by position.
struct Outline {
    keys: Vec<(usize, String)>,
    headers: Vec<(usize, String)>,
}

impl Outline {
    fn of(document: &DeTable<'_>) -> Self {
        let mut outline = Self { keys: Vec::new(), headers: Vec::new() };
        outline.add("", document);
        outline.keys.sort();
        outline.headers.sort();
        outline
    }

    fn add(&mut self, path: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path_of_key = key_in(path, key.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) => {
                    self.headers.push((value.span().start, path_of_key.clone()));
                    self.add(&path_of_key, inner);
                }
                DeValue::Array(elements) => {
                    for (index, element) in elements.iter().enumerate() {
                        if let DeValue::Table(inner) = element.get_ref() {
                            let path = element_in(path, key.get_ref(), index, inner);
                            self.headers.push((element.span().start, path.clone()));
                            self.add(&path, inner);
                        }
                    }
                }
                _ => {}
            }
            self.keys.push((key.span().start, path_of_key));
        }
    }

    /// The path of the key that an error at `offset` most likely belongs to: one on its line, else
    /// the one that the text of the line begins with, else the last one before it.
    fn key_at(&self, text: &str, line_start: usize, offset: usize) -> String {
        let last_before = |places: &[(usize, String)]| -> Option<(usize, String)> {
            places[..places.partition_point(|(start, _)| *start <= offset)].last().cloned()
        };
        let last_key = last_before(&self.keys);
        if let Some((start, path)) = &last_key
            && *start >= line_start
        {
            return path.clone();
        }
        let line = text[line_start..].lines().next().unwrap_or_default();
        match line.split_once('=') {
            Some((key, _)) if !key.trim().is_empty() => {
                let header = last_before(&self.headers).map_or(String::new(), |(_, path)| path);
                key_in(&header, key.trim())
            }
            _ => last_key.map_or(String::new(), |(_, path)| path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> Vec<(usize, String, String)> {
        let mut report = Report::new(text);
        assert!(parse(text, &mut report).is_none(), "{text:?} is valid");
        report.into_problems().into_iter().map(|p| (p.line, p.key, p.message)).collect()
    }

    #[test]
    fn syntax_errors_name_line_and_key() {
        for (text, line, key, part) in [
            ("a = 1\nb = \"x\n", 2, "b", "basic string"),
            ("a = 1\na = 2\n", 2, "a", "given twice"),
            ("[[s]]\nname = 'x'\n[s.k]\nb = 1\nb = 2\n", 5, "s \"x\" → k → b", "given twice"),
            ("a = [\n  1,\n  eth0,\n]\n", 3, "a", "lacks its quotes"),
            ("[s]\nport =\n", 2, "s → port", "has no value"),
            ("forwarding = nat\n", 1, "forwarding", "lacks its quotes"),
            ("type = tcp\n", 1, "type", "lacks its quotes"),
            ("vip = 10.0.0.1\n", 1, "vip", "lacks its quotes"),
            ("vip = 2001:db8::1\n", 1, "vip", "lacks its quotes"),
            ("interval = 5s\n", 1, "interval", "lacks its quotes"),
            ("port = 05060\n", 1, "port", "leading zero"),
            ("[s\n", 1, "s", "unclosed table"),
            ("[s]\n[s]\n", 2, "s", "given twice"),
        ] {
            let problems = problems(text);
            let (found_line, found_key, message) = &problems[0];
            assert_eq!((*found_line, found_key.as_str()), (line, key), "{text:?}: {message}");
            assert!(message.contains(part), "{text:?}: {message}");
        }
    }

    #[test]
    fn a_table_given_twice_is_one_problem() {
        let problems = problems("[s]\na = 1\nb = 1\n[s]\na = 1\nb = 1\n[t]\na = 1\na = 1\n");
        let places: Vec<_> = problems.iter().map(|(line, key, _)| (*line, key.as_str())).collect();
        assert_eq!(places, [(4, "s"), (9, "t → a")]);
    }

    #[test]
    fn every_wrong_line_is_reported_once() {
        let lines: Vec<_> = problems("a = 1 b = 2\n= 3\nd = yes\nfoo\n")
            .into_iter()
            .map(|(line, ..)| line)
            .collect();
        assert_eq!(lines, [1, 2, 3, 4]);
    }
}
