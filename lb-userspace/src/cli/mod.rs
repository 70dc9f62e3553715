//! The command `lb`, for the daemon and for its operator.
//!
//! `args` says what can be typed and `help` what it is good for, of which `man` makes manual pages;
//! `commands` does it, `tables` makes the answers readable with `units` and `layout`.

mod args;
mod commands;
mod help;
mod layout;
mod log_outlet;
mod logging;
mod man;
mod tables;
mod trace;
pub(crate) mod units;

use std::{
    fmt::Display,
    io::{self, Write as _},
    process::ExitCode,
};

use clap::Parser;

/// Runs what the command line asks for. Exit status: 0 done, 1 refused or failed, 2 usage.
pub fn main() -> ExitCode {
    let args = args::Args::parse();
    match commands::run(args) {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!("lb: {}", one_line(&format!("{error:#}"))));
            ExitCode::FAILURE
        }
    }
}

/// Writes a line to stderr. Where that cannot be written to, as on a full disk, there is nobody to tell.
fn complain(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn an_error_is_one_line() {
        let error = anyhow!("line 1\n  line 2\n\nline 3\n").context("cannot read lb.toml");
        assert_eq!(one_line(&format!("{error:#}")), "cannot read lb.toml: line 1; line 2; line 3");
    }
}
