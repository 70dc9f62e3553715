//! The binary `lb`: the daemon and the command of its operator. What it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lb_userspace::cli::main()
}
