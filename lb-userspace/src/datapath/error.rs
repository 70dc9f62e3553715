//! What can fail at the kernel boundary.

use std::io;

use aya::{EbpfError, programs::ProgramError};
use thiserror::Error;

/// A failed operation on the program or its maps.
#[derive(Debug, Error)]
pub enum DatapathError {
    /// The object was refused before its program was looked at.
    #[error(
        "cannot create the maps of the XDP program: {} (lb needs root and a kernel from 6.1 on)",
        chain(.0)
    )]
    Load(#[source] Box<EbpfError>),
    /// The kernel's verifier refused a program.
    #[error("the kernel refused the XDP program {program}: {why}")]
    Verify {
        /// Which one.
        program: &'static str,
        /// What the kernel said.
        why: String,
    },
    /// The object lacks a part: it is not the one that was built with this binary.
    #[error("the XDP object has no {0}")]
    Missing(&'static str),
    /// A map operation failed.
    #[error("cannot {operation} map {map}: {}", chain(&**.source))]
    Map {
        /// The map.
        map: &'static str,
        /// Such as `write`.
        operation: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A system call on a map failed.
    #[error("cannot {operation} map {map}: {source}")]
    Io {
        /// The map.
        map: &'static str,
        /// Such as `list`.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The program could not be attached.
    #[error("cannot attach to interface {interface}: {why}")]
    Attach {
        /// The interface.
        interface: String,
        /// What is wrong and what to do.
        why: String,
    },
    /// There are old pairs of address and backend beside the new ones.
    #[error(
        "more than {} sets of ports for translated connections are in use, those of connections \
         that still drain included",
        crate::translations::MAX_TRANSLATIONS
    )]
    TooManyPairs,
    /// What outlives the process cannot be kept, or not be taken over.
    #[error(transparent)]
    Pins(#[from] super::pins::PinsError),
    /// Packets cannot be looked at.
    #[error("cannot look at packets: cannot {operation}: {source}")]
    Trace {
        /// Such as `load the programs`.
        operation: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The raw socket for the packets that the kernel has to send.
    #[error("cannot open a raw socket for packets that the kernel has to send: {0}")]
    RawSocket(#[source] io::Error),
}

impl DatapathError {
    /// For `map_err`: a failed `operation` on `map`.
    pub(super) fn map<E: std::error::Error + Send + Sync + 'static>(
        map: &'static str,
        operation: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| Self::Map { map, operation, source: Box::new(source) }
    }

    /// For `map_err`: the program was not loaded.
    pub(super) fn verify(program: &'static str) -> impl FnOnce(ProgramError) -> Self {
        move |error| Self::Verify { program, why: refusal(&error) }
    }
}

fn refusal(error: &ProgramError) -> String {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            format!("{io_error} ({})", verdict(&verifier_log.to_string()))
        }
        other => chain(other),
    }
}

/// What the verifier found wrong: the lines of its log before its statistics.
pub(super) fn verdict(log: &str) -> String {
    const STATISTICS: [&str; 3] = ["verification time", "stack depth", "processed"];
    let said = |line: &&str| {
        !line.is_empty() && !STATISTICS.iter().any(|statistic| line.starts_with(statistic))
    };
    let mut last: Vec<&str> = log.lines().map(str::trim).filter(said).rev().take(2).collect();
    last.reverse();
    last.join(" | ")
}

/// An error and its causes in one line; aya's own texts leave the causes out.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_complaint_is_told_from_its_statistics() {
        let log = "1894: (85) call bpf_xdp_load_bytes#189\nR4 min value is negative\n\
                   verification time 43470 usec\nstack depth 264\nprocessed 723 insns\n\n";
        let said = "1894: (85) call bpf_xdp_load_bytes#189 | R4 min value is negative";
        assert_eq!(verdict(log), said);
        assert_eq!(verdict(""), "");
    }
}
