//! kamailio, a real SIP proxy, as a node that is asked by OPTIONS.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::netns::Netns;
use crate::wait::wait_until;

/// Where `cargo xtask test` unpacks Debian's package: installed, it would start a service on this host.
pub const UNPACKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/peers/kamailio");

/// It starts its processes one after the other.
const START: Duration = Duration::from_secs(20);
const END: Duration = Duration::from_secs(5);

/// A running kamailio. Dropped, it ends.
#[derive(Debug)]
pub struct Kamailio {
    child: Child,
    files: TempDir,
}

impl Kamailio {
    /// Starts one in the namespace, which listens when this returns.
    ///
    /// # Errors
    /// When there is no kamailio, or it cannot listen; the error says what it said.
    pub fn start(netns: &Netns, address: IpAddr, port: u16) -> Result<Self> {
        let files = tempfile::Builder::new().prefix("lb-kamailio-").tempdir()?;
        let unpacked = Path::new(UNPACKED);
        let (program, modules) = if unpacked.is_dir() {
            (unpacked.join("usr/sbin/kamailio"), Some(modules(unpacked)?))
        } else {
            (PathBuf::from("kamailio"), None)
        };
        let config = files.path().join("kamailio.cfg");
        fs::write(&config, text(SocketAddr::new(address, port), modules.as_deref()))?;
        let mut command = netns.command(&program)?;
        command
            // In the foreground, with its errors where we read them.
            .args(["-DD", "-E", "-m", "16", "-M", "4", "-f"])
            .arg(&config)
            .arg("-Y")
            .arg(files.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(files.path().join("stderr.log"))?);
        if let Some(libraries) = modules.as_deref().and_then(Path::parent) {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        let child = command.spawn().context(
            "cannot run kamailio: `cargo xtask test` unpacks it, or install the package kamailio",
        )?;
        let mut kamailio = Self { child, files };
        let listens = wait_until("kamailio to listen", START, || {
            netns.listens_on(port).unwrap_or(false) || kamailio.has_ended()
        });
        if listens.is_err() || kamailio.has_ended() {
            bail!("kamailio does not listen: {}", kamailio.words());
        }
        Ok(kamailio)
    }

    fn has_ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    fn words(&self) -> String {
        fs::read_to_string(self.files.path().join("stderr.log")).unwrap_or_default()
    }
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        if self.has_ended() {
            return;
        }
        // Its first process ends the others; until it is waited for, nobody else can have its number.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        if wait_until("kamailio to end", END, || self.has_ended()).is_err() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Its modules, below the directory of this machine's architecture.
fn modules(unpacked: &Path) -> Result<PathBuf> {
    let libraries = unpacked.join("usr/lib");
    let directories =
        fs::read_dir(&libraries).with_context(|| format!("cannot read {}", libraries.display()))?;
    directories
        .filter_map(|entry| Some(entry.ok()?.path().join("kamailio/modules")))
        .find(|modules| modules.is_dir())
        .with_context(|| format!("{} has no modules of kamailio", libraries.display()))
}

/// A proxy that answers OPTIONS and knows nobody.
fn text(listen: SocketAddr, modules: Option<&Path>) -> String {
    let modules = modules.map(|its| format!("mpath=\"{}\"\n", its.display())).unwrap_or_default();
    format!(
        "debug=0\nlog_stderror=yes\nchildren=1\ntcp_children=1\nauto_aliases=no\nlisten=tcp:{listen}\n\
         {modules}loadmodule \"sl.so\"\n\
         request_route {{\n    \
             if (method == \"OPTIONS\") {{ sl_send_reply(\"200\", \"Keepalive\"); exit; }}\n    \
             sl_send_reply(\"404\", \"Not here\");\n}}\n"
    )
}
