//! Where the binary under test is.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};

/// The `lb` that suites, lab and demo run: the one that `LB_BIN` names, else the one that cargo
/// has built beside the program that asks.
///
/// # Errors
/// When there is none; the error says what to do.
pub fn lb_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("LB_BIN") {
        let path = PathBuf::from(path);
        return match path.is_file() {
            true => Ok(path),
            false => bail!("LB_BIN names {}, which is no file", path.display()),
        };
    }
    let program = env::current_exe().context("cannot tell where this program is")?;
    // A test is in target/debug/deps, xtask in target/debug.
    let beside = program.ancestors().skip(1).take(2).map(|directory| directory.join("lb"));
    beside.into_iter().find(|path| path.is_file()).with_context(|| {
        format!(
            "there is no lb beside {}: build it by `cargo xtask build`, or name it in LB_BIN",
            program.display()
        )
    })
}
