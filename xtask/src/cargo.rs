//! Calling cargo, and knowing where it puts things.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

/// A profile of the workspace.
#[derive(Clone, Copy, Debug)]
pub enum Profile {
    /// Quick to build.
    Debug,
    /// Quick to run.
    Release,
}

/// The directory of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a directory of the workspace")
}

/// `cargo`, to be run in the workspace.
pub fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace());
    cargo
}

/// Where cargo leaves the binary `lb`.
///
/// # Errors
/// Where the path of this process is not known.
pub fn lb(profile: Profile) -> Result<PathBuf> {
    let name = match profile {
        Profile::Debug => "debug",
        Profile::Release => "release",
    };
    Ok(target_directory()?.join(name).join("lb"))
}

/// Where cargo builds, whatever told it so: this very binary came out of there, as
/// `TARGET/debug/xtask`.
///
/// # Errors
/// Where the path of this process is not known.
pub fn target_directory() -> Result<PathBuf> {
    let xtask = env::current_exe().context("cannot find the path of this process")?;
    let target = xtask.ancestors().nth(2).context("xtask was not started by cargo")?;
    Ok(target.to_owned())
}

/// Runs a command in the sight of the person.
///
/// # Errors
/// Where it cannot be run, or says that it failed.
pub fn run(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_owned();
    let status = command.status().with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(status.success(), "{} failed: {status}", line(command));
    Ok(())
}

/// Runs a command of cargo that builds, in the sight of the person, and returns where it left the
/// binaries and test binaries of these names.
///
/// # Errors
/// As [`run`], and where one of them was not built.
pub fn executables<'a>(
    cargo: &mut Command,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<PathBuf>> {
    cargo.arg("--message-format=json-render-diagnostics").stdin(Stdio::null());
    let output = cargo.stderr(Stdio::inherit()).output().context("cannot run cargo")?;
    ensure!(output.status.success(), "{} failed: {}", line(cargo), output.status);
    let messages = String::from_utf8(output.stdout).context("cargo's messages are not UTF-8")?;
    let find = |name| {
        let built = messages.lines().find_map(|message| executable(message, name));
        built.with_context(|| format!("cargo built nothing called {name}"))
    };
    names.into_iter().map(find).collect()
}

/// Where the executable of this name is, if that is what a message of cargo's tells.
fn executable(message: &str, name: &str) -> Option<PathBuf> {
    let message: serde_json::Value = serde_json::from_str(message).ok()?;
    if message["target"]["name"] != name {
        return None;
    }
    message["executable"].as_str().map(PathBuf::from)
}

/// A command as a person would type it.
pub fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_is_found_by_its_name() {
        let message = r#"{"reason": "compiler-artifact", "executable": "target/debug/deps/cases-1",
            "target": {"kind": ["test"], "name": "cases"}}"#;
        let library = r#"{"executable": null, "target": {"kind": ["lib"], "name": "cases"}}"#;
        let place = PathBuf::from("target/debug/deps/cases-1");
        assert_eq!(executable(message, "cases"), Some(place));
        assert_eq!(executable(message, "case"), None);
        assert_eq!(executable(library, "cases"), None);
        assert_eq!(executable("what a build script printed", "cases"), None);
    }
}
