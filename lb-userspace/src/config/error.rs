//! What is wrong with a config file, one line a problem.

use std::fmt;

/// A config file that is refused, with every problem that was found in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The file as the user named it.
    pub file: String,
    /// At least one, by line.
    pub problems: Vec<Problem>,
}

/// One problem: where, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// 1-based; 0 where the file as a whole is meant (it cannot be read).
    pub line: usize,
    /// The way to the key, such as `service "csta" → backend "imp2" → address`; empty where no
    /// key is meant.
    pub key: String,
    /// What is wrong and what to do, on one line.
    pub message: String,
}

impl fmt::Display for ConfigError {
    /// `FILE:LINE: KEY: MESSAGE`, one line a problem, without a line break at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Problem { line, key, message }) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.file)?;
            if *line > 0 {
                write!(f, ":{line}")?;
            }
            if !key.is_empty() {
                write!(f, ": {key}")?;
            }
            write!(f, ": {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

/// `text` in quotes, control characters escaped, cut where it is long: what stands in a file must
/// not rule the terminal that an error is printed on.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 80;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_without_control_characters_and_cut() {
        assert_eq!(quote("eth0"), "\"eth0\"");
        assert_eq!(quote("\u{1b}[2J\n"), "\"\\u{1b}[2J\\n\"");
        assert_eq!(quote(&"é".repeat(81)), format!("\"{}\"…", "é".repeat(80)));
    }

    #[test]
    fn prints_file_line_key_message() {
        let problem =
            |line, key: &str| Problem { line, key: key.to_owned(), message: "is wrong".to_owned() };
        let error = ConfigError {
            file: "lb.toml".to_owned(),
            problems: vec![problem(0, ""), problem(3, ""), problem(7, "service \"a\" → port")],
        };
        assert_eq!(
            error.to_string(),
            "lb.toml: is wrong\nlb.toml:3: is wrong\nlb.toml:7: service \"a\" → port: is wrong"
        );
    }
}
