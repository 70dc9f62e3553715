//! Everything a person runs in this workspace: `cargo xtask VERB`.

mod bench;
mod build;
mod cargo;
mod demo;
mod ebpf;
mod flags;
mod kernel;
mod lab;
mod lint;
mod root;
mod run;
mod setup;
mod steps;
mod test;
mod tidy;
mod toolchain;
#[cfg(test)]
mod toolchain_tests;

use std::process::ExitCode;

use clap::Parser as _;
use flags::{Verb, Xtask};

fn main() -> ExitCode {
    let done = match Xtask::parse().verb {
        Verb::Setup(flags) => setup::verb(&flags),
        Verb::Build(flags) => build::verb(&flags),
        Verb::Run(flags) => run::verb(&flags),
        Verb::Demo(flags) => demo::verb(&flags),
        Verb::Lab(flags) => lab::verb(&flags),
        Verb::Bench(flags) => bench::verb(&flags),
        Verb::Test(flags) => test::verb(&flags),
        Verb::Lint => lint::verb(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
