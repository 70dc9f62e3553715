//! The whole command line of `cargo xtask`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Builds, tests and runs lb.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
pub struct Xtask {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// One module each.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Find, or install, what building the eBPF program and running the lab need
    ///
    /// The other verbs do this by themselves.
    Setup(Setup),
    /// Build the eBPF program and the binary `lb` that carries it
    Build(Build),
    /// Build `lb` and run `lb run ...` on this machine's network interfaces, as root
    Run(Run),
    /// Show lb at work: SIP sessions over two nodes, one of which dies and comes back, as root
    Demo(Demo),
    /// A standing lab to play in: network namespaces with a client, the balancer and two nodes
    #[command(subcommand)]
    Lab(Lab),
    /// Measure lb on this machine beside its alternatives, as root
    Bench(Bench),
    /// Run every test of the project, those in network namespaces as root
    Test(Test),
    /// Check the format, clippy's lints and the house's rules
    Lint,
}

/// Flags of `setup`.
#[derive(Args, Debug)]
pub struct Setup {
    /// Install without asking
    #[arg(long)]
    pub yes: bool,
}

/// Flags of `build`.
#[derive(Args, Debug)]
pub struct Build {
    /// Build `target/release/lb` instead of `target/debug/lb`
    #[arg(long)]
    pub release: bool,
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// What `lb run` is given, such as `--config FILE`
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// Flags of `demo`.
#[derive(Args, Debug)]
pub struct Demo {
    /// Show this `lb` instead of building one
    #[arg(long, value_name = "FILE")]
    pub lb: Option<PathBuf>,
}

/// What to do with the standing lab.
#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Build it, and say what there is and what to try
    Up,
    /// End what runs in it, and delete it
    Down,
    /// Run a command on one of its hosts, as root
    Exec(LabExec),
}

/// Arguments of `lab exec`.
#[derive(Args, Debug)]
pub struct LabExec {
    /// client, balancer, switch, node1 or node2
    #[arg(value_name = "NS")]
    pub host: String,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    #[arg(value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// Flags of `bench`.
#[derive(Args, Debug)]
pub struct Bench {
    /// Measure this part alone
    #[arg(long, value_enum, value_name = "PART")]
    pub only: Option<Part>,
    /// Write the figures there, instead of `target/bench.json`
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Show what has changed since an earlier run, whose figures are in this file
    #[arg(long, value_name = "FILE")]
    pub compare: Option<PathBuf>,
    /// Draw the cost of a packet by number of flows there, as SVG
    #[arg(long, value_name = "FILE")]
    pub plot: Option<PathBuf>,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Nanoseconds a packet takes in the program
    Program,
    /// Packets, connections and latency in the lab, beside other balancers
    Lab,
    /// What memory flows take, and what the daemon does
    Memory,
    /// What it takes to check a thousand backends once a second
    Keepalives,
}

impl Part {
    /// All, in the order in which they run.
    pub const ALL: [Self; 4] = [Self::Program, Self::Lab, Self::Memory, Self::Keepalives];

    /// The name of its benchmark.
    pub fn name(self) -> &'static str {
        match self {
            Self::Program => "program",
            Self::Lab => "lab",
            Self::Memory => "memory",
            Self::Keepalives => "keepalives",
        }
    }
}

/// Arguments of `test`.
#[derive(Args, Debug)]
pub struct Test {
    /// Run the suites of the XDP program, and some of the daemon, on this kernel of Debian's instead:
    /// in a virtual machine, by software emulation, without root; may be given for each
    #[arg(long = "kernel", value_enum, value_name = "VERSION")]
    pub kernels: Vec<Kernel>,
    /// What each test binary is given, such as a part of a test's name
    #[arg(last = true, value_name = "ARGS")]
    pub arguments: Vec<OsString>,
}

/// A kernel that tests can be run on beside this machine's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kernel {
    /// The oldest that lb supports, of Debian 12
    #[value(name = "6.1")]
    Linux6_1,
    /// That of Debian 13
    #[value(name = "6.12")]
    Linux6_12,
}

impl Kernel {
    /// The two numbers that do not change with its corrections.
    pub fn series(self) -> &'static str {
        match self {
            Self::Linux6_1 => "6.1",
            Self::Linux6_12 => "6.12",
        }
    }

    /// The release of Debian that has it.
    pub fn release(self) -> &'static str {
        match self {
            Self::Linux6_1 => "bookworm",
            Self::Linux6_12 => "trixie",
        }
    }
}
