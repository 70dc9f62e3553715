//! `lb check`, as an operator runs it before a reload.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context as _, Result};
use lb_tests::daemon::lb_binary;

fn check(file: &Path) -> Result<Output> {
    let mut lb = Command::new(lb_binary()?);
    lb.args(["check", "--config"]).arg(file).output().context("cannot run lb")
}

fn wrong_configs() -> Result<Vec<PathBuf>> {
    let directory =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../lb-userspace/tests/wrong-configs");
    let mut files =
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    files.sort();
    Ok(files)
}

#[test]
fn each_wrong_file_is_refused_at_its_lines_and_keys() -> Result<()> {
    let files = wrong_configs()?;
    assert!(files.len() >= 20, "only {} wrong files", files.len());
    for file in &files {
        let text = fs::read_to_string(file)?;
        let output = check(file)?;
        let said = String::from_utf8_lossy(&output.stderr);
        let name = file.display();
        assert_eq!(output.status.code(), Some(1), "{name}: {said}");
        assert!(output.stdout.is_empty(), "{name}: errors go to stderr");
        // The file says of itself: `# refused: line 7, key service "csta" → port: why`.
        let expected: Vec<_> = text
            .lines()
            .map_while(|line| line.strip_prefix("# refused: line ")?.split_once(", key "))
            .collect();
        assert!(!expected.is_empty(), "{name} does not say how it is refused");
        for (line, rest) in expected {
            let (key, _) = rest.split_once(": ").context("a key and a reason")?;
            let told = format!(":{line}: {key}: ");
            assert!(said.contains(&told), "{name}: {told:?} is not in: {said}");
        }
    }
    println!("{} wrong files refused", files.len());
    Ok(())
}

#[test]
fn a_right_file_is_right() -> Result<()> {
    let files = tempfile::tempdir()?;
    let file = files.path().join("lb.toml");
    fs::write(
        &file,
        "interfaces = [\"eth0\"]\n[[service]]\nname = \"csta\"\nvip = \"192.0.2.100\"\n\
         [[service.backend]]\nname = \"imp1\"\naddress = \"10.0.0.11\"\n",
    )?;
    let output = check(&file)?;
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("is right"));
    Ok(())
}

#[test]
fn a_file_that_is_not_there_is_refused_by_its_name() -> Result<()> {
    let output = check(Path::new("/nowhere/lb.toml"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/nowhere/lb.toml") && said.trim().lines().count() == 1, "{said}");
    let usage = Command::new(lb_binary()?).arg("check").output()?;
    assert_eq!(usage.status.code(), Some(2), "without a file");
    Ok(())
}
