//! uaCSTA sessions by sipp, a real SIP peer on both sides.
//!
//! The scenarios are `sipp/csta_uac.xml` and `sipp/csta_uas.xml` beside this library, and part of
//! it, so that it runs from anywhere. As a server sipp ends at the first RST that it gets: where
//! nodes fail, use [`crate::peer`].

mod process;
mod report;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use nix::sys::signal::Signal;

pub use report::SippReport;

use crate::netns::Netns;
use crate::wait::wait_until;
use process::Process;

const CLIENT_SCENARIO: &str = include_str!("../../sipp/csta_uac.xml");
const SERVER_SCENARIO: &str = include_str!("../../sipp/csta_uas.xml");

/// How sessions use TCP connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// Each session has its own.
    PerSession,
    /// All sessions share one, as OCS does it.
    Shared,
}

/// What a sipp client shall do.
#[derive(Debug, Clone)]
pub struct SippPlan {
    /// Where to connect to: a VIP or a node.
    pub target: SocketAddr,
    /// The client's own address.
    pub source: IpAddr,
    /// Sessions in all.
    pub sessions: u32,
    /// How they use connections.
    pub connections: Connections,
    /// New sessions a second.
    pub rate: u32,
    /// Sessions at a time.
    pub concurrent: u32,
    /// How long a session stays after its call, without a message.
    pub hold: Duration,
    /// After this time the run has failed.
    pub limit: Duration,
}

impl SippPlan {
    /// 200 new sessions a second, at most 1,000 at a time, each held for half a second.
    pub fn new(
        target: impl Into<SocketAddr>,
        source: impl Into<IpAddr>,
        sessions: u32,
        connections: Connections,
    ) -> Self {
        let rate = 200;
        Self {
            target: target.into(),
            source: source.into(),
            sessions,
            connections,
            rate,
            concurrent: 1000,
            hold: Duration::from_millis(500),
            limit: Duration::from_secs(u64::from(sessions / rate) * 2 + 30),
        }
    }

    /// Runs all sessions from `netns`.
    ///
    /// # Errors
    /// When sipp cannot be run or does not report. Sessions that fail are in the report.
    pub fn run(&self, netns: &Netns) -> Result<SippReport> {
        self.start(netns)?.finish()
    }

    /// Starts the sessions and leaves them running.
    ///
    /// # Errors
    /// When sipp cannot be started.
    pub fn start(&self, netns: &Netns) -> Result<SippClient> {
        let process = Process::start(netns, CLIENT_SCENARIO, |command| {
            command
                .arg(self.target.to_string())
                .args(["-s", "gw", "-i", &self.source.to_string()])
                .args(match self.connections {
                    Connections::PerSession => ["-t", "tn"],
                    Connections::Shared => ["-t", "t1"],
                })
                .args(["-r", &self.rate.to_string(), "-l", &self.concurrent.to_string()])
                .args(["-m", &self.sessions.to_string()])
                .args(["-d", &self.hold.as_millis().to_string()])
                .args(["-timeout", &format!("{}s", self.limit.as_secs()), "-timeout_error"]);
        })?;
        Ok(SippClient { process, limit: self.limit })
    }
}

/// Sessions under way. Dropped, they are broken off.
#[derive(Debug)]
pub struct SippClient {
    process: Process,
    limit: Duration,
}

impl SippClient {
    /// The counts so far, at most a second old.
    ///
    /// # Errors
    /// When sipp's statistics cannot be read.
    pub fn progress(&self) -> Result<SippReport> {
        self.process.report()
    }

    /// Whether sessions are still under way.
    pub fn is_running(&mut self) -> bool {
        !self.process.has_ended()
    }

    /// Waits for the last session.
    ///
    /// # Errors
    /// When sipp hangs beyond the plan's limit, or does not report.
    pub fn finish(mut self) -> Result<SippReport> {
        // sipp ends by itself at the limit and then still writes its report.
        self.process.wait(self.limit + Duration::from_secs(5))?;
        self.process.report()
    }
}

/// A sipp server in a node's namespace. Dropped, it is killed.
#[derive(Debug)]
pub struct SippServer {
    process: Process,
}

impl SippServer {
    /// Starts a server, which listens when this returns.
    ///
    /// # Errors
    /// When sipp cannot be started or does not listen; the error carries what it said.
    pub fn start(netns: &Netns, address: impl Into<IpAddr>, port: u16) -> Result<Self> {
        let address = address.into();
        let mut process = Process::start(netns, SERVER_SCENARIO, |command| {
            command.args(["-i", &address.to_string(), "-p", &port.to_string(), "-t", "tn"]);
        })?;
        let listens = wait_until("a sipp server to listen", Duration::from_secs(5), || {
            process.has_ended() || netns.listens_on(port).is_ok_and(|listens| listens)
        });
        if listens.is_err() || process.has_ended() {
            bail!("sipp does not listen on {address}:{port}: {}", process.words());
        }
        Ok(Self { process })
    }

    /// The counts so far, at most a second old.
    ///
    /// # Errors
    /// When sipp's statistics cannot be read.
    pub fn progress(&self) -> Result<SippReport> {
        self.process.report()
    }

    /// Whether it still runs: an RST ends it.
    pub fn is_running(&mut self) -> bool {
        !self.process.has_ended()
    }

    /// Ends it after the sessions under way, and returns how many it had.
    ///
    /// # Errors
    /// When it does not end within five seconds, or does not report.
    pub fn stop(mut self) -> Result<SippReport> {
        self.process.signal(Signal::SIGUSR1);
        self.process.wait(Duration::from_secs(5))?;
        self.process.report()
    }

    /// Kills it at once, as a crash would: the kernel ends its connections.
    pub fn kill(self) {}
}
