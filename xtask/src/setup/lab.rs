//! The programs that the lab runs.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use lb_tests::peer::kamailio;

use super::debian::Debian;

/// A program, and the Debian package that has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: &'static str,
    pub package: &'static str,
}

const PROGRAMS: [Program; 7] = [
    // Makes namespaces, veth pairs, addresses and routes.
    Program { name: "ip", package: "iproute2" },
    // Turns offloads on and off.
    Program { name: "ethtool", package: "ethtool" },
    // Enters a namespace and keeps the host's bpffs, which `ip netns exec` hides.
    Program { name: "nsenter", package: "util-linux" },
    // Speaks SIP and carries CSTA.
    Program { name: "sipp", package: "sip-tester" },
    // A terminal for `lb top` whose screen a test can read.
    Program { name: "tmux", package: "tmux" },
    // Has calls of the kernel fail, or be the last ones of a process.
    Program { name: "strace", package: "strace" },
    // Has one program alone see a wall clock that is set.
    Program { name: "faketime", package: "faketime" },
];

/// What the benchmark measures lb beside, where it can be had.
const ALTERNATIVES: [Program; 2] =
    [Program { name: "nft", package: "nftables" }, Program { name: "haproxy", package: "haproxy" }];

/// What runs another kernel in a virtual machine.
const MACHINE: [Program; 2] = [
    Program { name: "qemu-system-x86_64", package: "qemu-system-x86" },
    // The commands in there, and what packs its files.
    Program { name: "busybox", package: "busybox-static" },
];

/// A SIP proxy that answers OPTIONS.
const KAMAILIO: Program = Program { name: "kamailio", package: "kamailio" };

/// Where root has programs and other users often do not look.
const ROOTS_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// The programs of the lab that are not in `path`, nor where root has more.
pub fn missing(path: &[PathBuf]) -> Vec<Program> {
    missing_of(&PROGRAMS, path)
}

/// The same of the benchmark's alternatives.
pub fn missing_alternatives(path: &[PathBuf]) -> Vec<Program> {
    missing_of(&ALTERNATIVES, path)
}

/// The same of what runs another kernel.
pub fn missing_machine(path: &[PathBuf]) -> Vec<Program> {
    missing_of(&MACHINE, path)
}

fn missing_of(programs: &[Program], path: &[PathBuf]) -> Vec<Program> {
    let there = |name: &str| {
        let directories = path.iter().map(PathBuf::as_path);
        let mut directories = directories.chain(ROOTS_DIRECTORIES.map(Path::new));
        directories.any(|directory| directory.join(name).is_file())
    };
    programs.iter().copied().filter(|program| !there(program.name)).collect()
}

/// Whether what [`unpack_peers`] unpacks is there.
pub fn has_peers() -> bool {
    Path::new(kamailio::UNPACKED).is_dir()
}

/// Unpacks what the tests run beside lb, and what must not be installed: Debian's kamailio would start a service
/// on this host, at the port of the tests' own.
///
/// # Errors
/// Where this is no Debian and there is no kamailio, or it cannot be had.
pub fn unpack_peers(path: &[PathBuf], debian: Option<&Debian<'_>>) -> Result<()> {
    match debian {
        Some(debian) => debian.unpack("kamailio", Path::new(kamailio::UNPACKED)),
        None if missing_of(&[KAMAILIO], path).is_empty() => Ok(()),
        None => install(&[KAMAILIO], None),
    }
}

/// Installs these programs.
///
/// # Errors
/// Where this is no Debian, or its packages cannot be installed.
pub fn install(programs: &[Program], debian: Option<&Debian<'_>>) -> Result<()> {
    if programs.is_empty() {
        return Ok(());
    }
    let Some(debian) = debian else {
        let names: Vec<_> = programs.iter().map(|program| program.name).collect();
        bail!(
            "there is no apt-get to install these programs: {}; install them with this system's \
             package manager",
            names.join(", ")
        );
    };
    let packages: Vec<_> = programs.iter().map(|program| program.package).collect();
    debian.install(&packages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_in_the_path_is_not_missing() {
        let directory = tempfile::tempdir().unwrap();
        for program in PROGRAMS {
            std::fs::write(directory.path().join(program.name), "").unwrap();
        }
        assert_eq!(missing(&[directory.path().to_owned()]), []);
    }
}
