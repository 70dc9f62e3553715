//! `lb check`, which asks no daemon.

use std::{fs, process::Command};

use crate::{
    cli::{LB, done},
    fake,
};

#[test]
fn check_says_whether_a_file_is_right() {
    let directory = fake::directory();
    let check = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        (Command::new(LB).args(["check", "--config"]).arg(&path).output().unwrap(), path)
    };

    let right = "\
interfaces = [\"eth0\"]

[[service]]
name = \"csta\"
vip = \"192.0.2.100\"

[[service.backend]]
name = \"imp1\"
address = \"10.0.0.11\"
";
    let (output, path) = check("right.toml", right);
    assert_eq!(done(output), format!("{} is right\n", path.display()));

    let right = "\
interfaces = [\"eth0\"]
snat_ports = \"20000-65535\"

[[service]]
name = \"csta\"
vip = \"2001:db8::100\"
forwarding = \"full-nat\"
snat_addresses = [\"2001:db8::10\"]
outbound_nat = true

[[service.backend]]
name = \"imp1\"
address = \"2001:db8::11\"
";
    let (output, path) = check("ipv6.toml", right);
    assert_eq!(done(output), format!("{} is right\n", path.display()));

    let (output, path) = check("wrong.toml", "wrong = 1\nwronger = 2\n");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b""[..]), "{said}");
    for line in [1, 2] {
        let start = format!("{}:{line}: wrong", path.display());
        assert!(said.lines().any(|found| found.starts_with(&start)), "no {start:?} in\n{said}");
    }
    assert!(said.lines().all(|line| line.starts_with(&path.display().to_string())), "{said}");

    let missing = directory.path().join("missing.toml");
    let output = Command::new(LB).args(["check", "--config"]).arg(&missing).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains(&missing.display().to_string()), "{said}");
}
