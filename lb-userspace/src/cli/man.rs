//! Manual pages, from what the help says.

use std::{fs, io, path::Path};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use super::{args::Args, help};

/// System administration tools and daemons.
const SECTION: &str = "8";

/// A manual page.
struct Page {
    file: String,
    roff: Vec<u8>,
}

/// The page of `lb` alone.
///
/// # Errors
/// None: what is written to is a vector.
pub(super) fn first() -> io::Result<Vec<u8>> {
    Ok(page(&command())?.roff)
}

/// Writes the pages of all commands into a directory, which is made where it is not there; how many.
///
/// # Errors
/// Where a file cannot be written.
pub(super) fn write_all(directory: &Path) -> anyhow::Result<usize> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot make the directory {}", directory.display()))?;
    let pages = pages(&command())?;
    for Page { file, roff } in &pages {
        let path = directory.join(file);
        fs::write(&path, roff).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(pages.len())
}

fn command() -> Command {
    let mut command = Args::command().disable_help_subcommand(true);
    command.build();
    command
}

/// The page of a command, and those of all below it.
fn pages(command: &Command) -> io::Result<Vec<Page>> {
    let mut all = vec![page(command)?];
    for below in command.get_subcommands() {
        all.extend(pages(below)?);
    }
    Ok(all)
}

fn page(command: &Command) -> io::Result<Page> {
    let man = Man::new(command.clone())
        .section(SECTION)
        .source(concat!("lb ", env!("CARGO_PKG_VERSION")))
        .date(" ")
        .manual("System Administration");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let own = command.get_after_long_help().or(command.get_after_help());
    let own = own.map(ToString::to_string).unwrap_or_default();
    let own = help::sections(&own);
    let of_all = help::sections(help::LONG).into_iter().filter(|(title, _)| {
        help::OF_ALL.contains(title) && own.iter().all(|(its, _)| its != title)
    });
    let mut roff = Roff::new();
    for (title, lines) in own.iter().cloned().chain(of_all) {
        add(&mut roff, title, &lines);
    }
    if command.get_name() != "lb" {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([roman("lb(8)")]);
    }
    roff.to_writer(&mut text)?;
    Ok(Page { file: man.get_filename(), roff: text })
}

/// A section whose lines stay as they are.
fn add(roff: &mut Roff, title: &str, lines: &[&str]) {
    roff.control("SH", [title.to_uppercase().as_str()]);
    roff.control("nf", []);
    for line in lines {
        if line.is_empty() {
            roff.control("sp", []);
        } else {
            roff.text([roman(*line)]);
        }
    }
    roff.control("fi", []);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What roff(7) and man(7) know of what is used here.
    const MACROS: [&str; 13] =
        ["TH", "SH", "PP", "TP", "RS", "RE", "IP", "nf", "fi", "sp", "br", "ie", "el"];

    fn all() -> Vec<(String, String)> {
        let pages = pages(&command()).expect("pages");
        let text = |roff| String::from_utf8(roff).expect("UTF-8");
        pages.into_iter().map(|Page { file, roff }| (file, text(roff))).collect()
    }

    #[test]
    fn every_command_has_a_page_with_its_sections() {
        let all = all();
        for file in ["lb.8", "lb-run.8", "lb-drain.8", "lb-show.8", "lb-show-flows.8", "lb-man.8"] {
            assert!(all.iter().any(|(its, _)| its == file), "{file}");
        }
        for (file, text) in &all {
            for title in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "FILES"] {
                let heading = [format!(".SH {title}\n"), format!(".SH \"{title}\"\n")];
                let count: usize =
                    heading.iter().map(|its| text.matches(its.as_str()).count()).sum();
                assert_eq!(count, 1, "{title} in {file}:\n{text}");
            }
            assert!(text.contains(".SH EXAMPLE"), "{file} has no example:\n{text}");
            assert!(text.contains("/run/lb/lb.sock"), "{file}");
        }
    }

    #[test]
    fn pages_are_made_of_known_macros_and_text_alone() {
        for (file, text) in all() {
            assert!(text.contains("\n.TH "), "{file}:\n{text}");
            for line in text.lines() {
                let request = line
                    .strip_prefix(['.', '\''])
                    .map(|rest| rest.split_whitespace().next().unwrap_or_default());
                if let Some(request) = request {
                    assert!(MACROS.contains(&request), "{file}: {line}");
                }
                for escape in line.split('\\').skip(1) {
                    let known = ["-", "f", "(aq", "&", "*(Aq", "\\", ""];
                    assert!(known.iter().any(|its| escape.starts_with(its)), "{file}: {line}");
                }
            }
            assert_eq!(text.matches("\n.nf").count(), text.matches("\n.fi").count(), "{file}");
            assert_eq!(text.matches("\n.RS").count(), text.matches("\n.RE").count(), "{file}");
        }
    }
}
