//! The files of the virtual machine: all that there is in it, in memory.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{cargo, steps::Steps};

/// Directories that something is mounted on, or that busybox puts its commands in.
const DIRECTORIES: [&str; 13] = [
    "bin",
    "dev",
    "etc",
    "proc",
    "run/netns",
    "sbin",
    "suites",
    "sys",
    "tmp",
    "usr/bin",
    "usr/local/bin",
    "usr/sbin",
    "var",
];

/// What network namespaces are wired up with is built as modules; the kernel asks for them.
const MODULES: [&str; 6] = [
    "drivers/net/veth.ko",
    "drivers/net/dummy.ko",
    // Bridges, VLANs, and what these two are built on.
    "net/bridge/bridge.ko",
    "net/8021q/8021q.ko",
    "net/802",
    "net/llc",
];

const PACKING: Duration = Duration::from_secs(120);

/// A directory that becomes the root of the virtual machine's files.
#[derive(Debug)]
pub struct Image(tempfile::TempDir);

impl Image {
    /// With nothing in it but directories and the first process.
    ///
    /// # Errors
    /// Where they cannot be made.
    pub fn new(parent: &Path) -> Result<Self> {
        let image = Self(tempfile::Builder::new().prefix("image-").tempdir_in(parent)?);
        for directory in DIRECTORIES {
            fs::create_dir_all(image.place(directory))?;
        }
        let init = image.place("init");
        fs::write(&init, include_str!("init"))?;
        fs::set_permissions(&init, fs::Permissions::from_mode(0o755))?;
        Ok(image)
    }

    /// A file of this text.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write(&self, to: &str, text: &str) -> Result<()> {
        fs::write(self.place(to), text).with_context(|| format!("cannot write {to}"))
    }

    /// One of this machine's programs, and the libraries that it is linked to.
    ///
    /// # Errors
    /// Where there is none, or a library is missing.
    pub fn add_program(&self, program: &Path, to: &str) -> Result<()> {
        let mut strip = Command::new("strip");
        strip.arg("-o").arg(self.place(to)).arg(program);
        cargo::run(&mut strip)?;
        for library in libraries(program)? {
            let place = self.place(library.strip_prefix("/").unwrap_or(&library));
            if !place.exists() {
                copy(&library, &place)?;
            }
        }
        Ok(())
    }

    /// The modules that are needed of a kernel, out of its directory of modules.
    ///
    /// # Errors
    /// Where one is missing.
    pub fn add_modules(&self, modules: &Path) -> Result<()> {
        let release = modules.file_name().context("a directory named after the kernel")?;
        let to = self.place("lib/modules").join(release);
        for list in ["modules.order", "modules.builtin"] {
            copy(&modules.join(list), &to.join(list))?;
        }
        for name in MODULES {
            let module = modules.join("kernel").join(name);
            let found = files(&module)?;
            ensure!(!found.is_empty(), "the kernel has no module {name}");
            for file in found {
                copy(&file, &to.join(file.strip_prefix(modules)?))?;
            }
        }
        Ok(())
    }

    /// Packs all of it into an archive, as the kernel unpacks it.
    ///
    /// # Errors
    /// Where busybox cannot do that.
    pub fn pack(&self, steps: &Steps, archive: &Path) -> Result<()> {
        let mut pack = Command::new("sh");
        pack.args(["-c", "busybox find . | busybox cpio -o -H newc >\"$1\"", "pack"])
            .arg(archive)
            .current_dir(self.0.path());
        steps.run("packing the virtual machine's files", &mut pack, PACKING)
    }

    fn place(&self, inside: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(inside)
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let parent = to.parent().context("a file in a directory")?;
    fs::create_dir_all(parent)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// The module of this path, compressed or not, or all in the directory of this path.
fn files(module: &Path) -> Result<Vec<PathBuf>> {
    let (directory, start) = match module.is_dir() {
        true => (module, ""),
        false => {
            let name = module.file_name().and_then(|name| name.to_str()).context("a name")?;
            (module.parent().context("a directory")?, name)
        }
    };
    let entries = fs::read_dir(directory)
        .with_context(|| format!("cannot list {}", directory.display()))?
        .map(|entry| Ok(entry?.path()));
    let entries: Vec<PathBuf> = entries.collect::<Result<_>>()?;
    let named = |path: &PathBuf| {
        path.is_file()
            && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start))
    };
    Ok(entries.into_iter().filter(named).collect())
}

/// The shared libraries of a program, and what loads them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd")
        .arg(program)
        .output()
        .with_context(|| format!("cannot ask which libraries {} has", program.display()))?;
    // It fails where a program has none.
    libraries_in(&String::from_utf8_lossy(&output.stdout))
        .with_context(|| format!("the libraries of {}", program.display()))
}

fn libraries_in(listed: &str) -> Result<Vec<PathBuf>> {
    ensure!(!listed.contains("not found"), "not all are there:\n{listed}");
    let paths = listed.split_whitespace().filter(|word| word.starts_with('/'));
    Ok(paths.map(PathBuf::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_those_with_a_path() {
        let listed = "\tlinux-vdso.so.1 (0x00007fff)\n\
                      \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f01)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x00007f02)\n";
        let expected = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(libraries_in(listed).unwrap(), expected.map(PathBuf::from));
        assert!(libraries_in("\tstatically linked\n").unwrap().is_empty());
        assert!(libraries_in("\tlibelf.so.1 => not found\n").is_err());
    }
}
