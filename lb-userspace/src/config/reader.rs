//! Reads one table of the file key by key and refuses what is left over.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{Level, unknown_key};
use super::report::{Refused, Report, element_in, key_in};
use super::values::expected;

/// A value and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Located<T> {
    pub value: T,
    /// 1-based; for a default the line of the table that does not say it.
    pub line: usize,
    /// Whether it stands in the file; else it is a default.
    pub given: bool,
}

/// A value, unless it was refused.
pub(super) type Read<T> = Result<Located<T>, Refused>;

/// A table inside another.
pub(super) struct Nested<'t> {
    pub path: String,
    pub line: usize,
    pub table: &'t DeTable<'t>,
}

/// Reads the keys of one table. Every key of its level must be asked for before
/// [`TableReader::finish`].
pub(super) struct TableReader<'r, 't> {
    report: &'r mut Report,
    level: &'static Level,
    nested: Nested<'t>,
    asked: Vec<&'static str>,
}

impl<'r, 't> TableReader<'r, 't> {
    pub(super) fn new(report: &'r mut Report, level: &'static Level, nested: Nested<'t>) -> Self {
        Self { report, level, nested, asked: Vec::new() }
    }

    /// The value of `key` where it is given, as `read` understands it.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Result<Option<Located<T>>, Refused> {
        let Some(found) = self.find(key) else { return Ok(None) };
        let line = self.report.line_of(found.span().start);
        match read(found.get_ref()) {
            Ok(value) => Ok(Some(Located { value, line, given: true })),
            Err(message) => Err(self.refuse(line, key, message)),
        }
    }

    /// Checks a key of which only the value that changes nothing is accepted, so that there is
    /// nothing to keep.
    pub(super) fn check(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>) -> Result<(), String>,
    ) {
        let _in_the_report = self.optional(key, read);
    }

    /// As [`TableReader::optional`], with the value that an absent key means.
    pub(super) fn or_default<T>(
        &mut self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<T> {
        let line = self.nested.line;
        Ok(self.optional(key, read)?.unwrap_or(Located { value: default, line, given: false }))
    }

    /// As [`TableReader::optional`]; an absent key is refused. `example` is what one would write.
    pub(super) fn required<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl FnOnce(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<T> {
        self.optional(key, read)?.ok_or_else(|| self.missing(key, example))
    }

    /// The elements of the required list `key`, each with its own line.
    pub(super) fn required_list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Result<Vec<Located<T>>, Refused> {
        let list = self.list(key, example, read)?;
        if !list.given {
            return Err(self.missing(key, example));
        }
        if list.value.is_empty() {
            let message = format!("is empty: write for example {key} = {example}");
            return Err(self.refuse(list.line, key, message));
        }
        Ok(list.value)
    }

    /// The elements of the list `key`, each with its own line; an absent key means none.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        example: &str,
        read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    ) -> Read<Vec<Located<T>>> {
        let Some(found) = self.find(key) else {
            return Ok(Located { value: Vec::new(), line: self.nested.line, given: false });
        };
        let line = self.report.line_of(found.span().start);
        let DeValue::Array(elements) = found.get_ref() else {
            let what = format!("a list such as {example}");
            return Err(self.refuse(line, key, expected(&what, found.get_ref())));
        };
        // Every element is read before the first refusal ends the list.
        let elements: Vec<_> = elements
            .iter()
            .map(|element| {
                let line = self.report.line_of(element.span().start);
                read(element.get_ref())
                    .map(|value| Located { value, line, given: true })
                    .map_err(|message| self.refuse(line, key, message))
            })
            .collect();
        let value = elements.into_iter().collect::<Result<_, _>>()?;
        Ok(Located { value, line, given: true })
    }

    /// The table `key`; where it is absent, `empty`, at this table's line.
    pub(super) fn table(
        &mut self,
        key: &'static str,
        empty: &'t DeTable<'t>,
    ) -> Result<Nested<'t>, Refused> {
        let path = key_in(&self.nested.path, key);
        let Some(found) = self.find(key) else {
            return Ok(Nested { path, line: self.nested.line, table: empty });
        };
        let line = self.report.line_of(found.span().start);
        match found.get_ref() {
            DeValue::Table(table) => Ok(Nested { path, line, table }),
            other => {
                let what = format!("one table under a header in single brackets, [service.{key}]");
                Err(self.refuse(line, key, expected(&what, other)))
            }
        }
    }

    /// The tables of the list `key`, of which there must be at least one. `header` is the line
    /// that starts each of them.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        header: &str,
    ) -> Result<Vec<Nested<'t>>, Refused> {
        let Some(found) = self.find(key) else {
            let message = format!("is missing: at least one {header} is needed");
            return Err(self.refuse(self.nested.line, key, message));
        };
        let line = self.report.line_of(found.span().start);
        let what = format!("tables, each under its own header in double brackets, {header}");
        let DeValue::Array(elements) = found.get_ref() else {
            return Err(self.refuse(line, key, expected(&what, found.get_ref())));
        };
        if elements.is_empty() {
            return Err(self.refuse(
                line,
                key,
                format!("is empty: at least one {header} is needed"),
            ));
        }
        let mut tables = Vec::with_capacity(elements.len());
        for (index, element) in elements.iter().enumerate() {
            let line = self.report.line_of(element.span().start);
            match element.get_ref() {
                DeValue::Table(table) => {
                    let path = element_in(&self.nested.path, key, index, table);
                    tables.push(Nested { path, line, table });
                }
                other => {
                    self.refuse(line, key, expected(&what, other));
                }
            }
        }
        Ok(tables)
    }

    /// Refuses every key that nobody asked for.
    pub(super) fn finish(self) {
        debug_assert!(
            self.level.keys.iter().all(|key| self.asked.contains(key)),
            "{} has keys that nobody reads",
            self.level.title
        );
        for key in self.nested.table.keys().filter(|key| !self.asked.contains(&&**key.get_ref())) {
            let line = self.report.line_of(key.span().start);
            let message = unknown_key(self.level, key.get_ref());
            self.report.refuse(line, key_in(&self.nested.path, key.get_ref()), message);
        }
    }

    fn find(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        debug_assert!(self.level.keys.contains(&key), "{key} is no key of {}", self.level.title);
        self.asked.push(key);
        self.nested.table.get(key)
    }

    fn missing(&mut self, key: &str, example: &str) -> Refused {
        let message = format!("is missing: write for example {key} = {example}");
        self.refuse(self.nested.line, key, message)
    }

    fn refuse(&mut self, line: usize, key: &str, message: String) -> Refused {
        self.report.refuse(line, key_in(&self.nested.path, key), message)
    }
}
