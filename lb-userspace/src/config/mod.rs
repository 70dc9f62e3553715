//! The config file: read, checked as a whole, and handed on as plain data.
//!
//! A file is either right or refused. Whoever holds a [`Config`] holds one that passed every check
//! below, so that no other module judges its values again. A refused file yields a [`ConfigError`]
//! with all of its problems, each with line, key, what is wrong and what to do.
//!
//! The way of a text: `document` makes a tree of TOML with positions, `schema` takes the keys
//! that the format knows out of it by means of `reader` and `values`, `validate` compares the
//! parts with each other. Each of them tells a `report` what is wrong and goes on.

mod access;
mod address;
mod document;
mod duration;
mod error;
mod file;
mod group;
mod keepalive;
mod keys;
mod reader;
mod report;
mod schema;
mod suggest;
mod syslog;
mod translation;
mod validate;
mod values;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

pub use duration::{DurationError, format_duration, parse_duration};
pub use error::{ConfigError, Problem};
pub use file::MAX_FILE_BYTES;
pub use group::AdminGroup;
pub use keepalive::{Close, DEFAULT_DOWN_STATUSES, Keepalive, KeepaliveKind};
pub use syslog::{Syslog, SyslogTarget};

use report::Report;

use crate::access::Access;

/// The admin socket where neither the config nor the command line names another.
pub const DEFAULT_ADMIN_SOCKET: &str = "/run/lb/lb.sock";
/// Where a datapath is pinned that outlives its process, if the config says nothing.
pub const DEFAULT_PIN_DIRECTORY: &str = "/sys/fs/bpf/lb";
/// Flows that the table holds where the config says nothing.
pub const DEFAULT_FLOW_CAPACITY: u32 = 1 << 20;
/// Ports that translated connections are given where the config says nothing.
pub const DEFAULT_SNAT_PORTS: RangeInclusive<u16> = 1024..=65535;
/// The port of a service where the config says nothing: SIP over TCP (RFC 3261, section 18).
pub const DEFAULT_PORT: u16 = 5060;
/// The weight of a backend where the config says nothing.
pub const DEFAULT_WEIGHT: u32 = 1;
/// The largest weight of a backend.
pub const MAX_WEIGHT: u32 = 65535;

/// Services in one config at most.
pub const MAX_SERVICES: usize = lb_common::MAX_SERVICES as usize;
/// Backends in one config at most, over all services: half of what the datapath has room for, so
/// that a reload may replace all of them while the old ones drain.
pub const MAX_BACKENDS: usize = lb_common::MAX_BACKENDS as usize / 2;
/// Addresses that the clients of one service are translated to at most.
pub const MAX_SNAT_ADDRESSES: usize = 16;
/// Prefixes of `allow` and `deny` in one config at most, over all services: half of what the datapath has room for,
/// as of backends, and with each list goes a word on everybody else.
pub const MAX_PREFIXES: usize = (lb_common::access::MAX_PREFIXES / 2) as usize - MAX_SERVICES;
/// Services that may share one backend address and port at most.
pub const MAX_SERVICES_PER_BACKEND: usize = lb_common::MAX_SERVICES_PER_BACKEND;

/// What one file says, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Names of the interfaces to attach to: at least one, no duplicates, never `lo`.
    pub interfaces: Vec<String>,
    /// How the XDP program is attached.
    pub xdp_mode: XdpMode,
    /// Flows that the table holds, 1024 to 16777216.
    pub flow_capacity: u32,
    /// Ports that translated connections are given, none of them 0.
    pub snat_ports: RangeInclusive<u16>,
    /// The absolute path in bpffs where the datapath is pinned, if it outlives the process.
    pub persist: Option<PathBuf>,
    /// Absolute path of the admin socket, short enough for a `sockaddr_un` (unix(7)).
    pub admin_socket: PathBuf,
    /// The group whose members may use it as root may; nobody else where it is absent.
    pub admin_group: Option<AdminGroup>,
    /// Where Prometheus asks for figures; nowhere where it is absent.
    pub metrics_listen: Option<SocketAddr>,
    /// Where events are sent to, beside the log.
    pub syslog: Option<Syslog>,
    /// In the order of the file; at least one, names unique, VIP and port unique.
    pub services: Vec<Service>,
}

/// How the XDP program is attached to an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpMode {
    /// Native, else generic with a warning.
    Auto,
    /// In the driver, or not at all.
    Native,
    /// In the kernel's stack, after the driver: works everywhere, slower.
    Generic,
}

/// A VIP and port with the backends behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`; unique.
    pub name: String,
    /// The address that clients connect to; its backends are of its family, and no backend of any service has it.
    pub vip: IpAddr,
    /// The TCP port that clients connect to, never 0.
    pub port: u16,
    /// What happens to the addresses of its packets.
    pub forwarding: Forwarding,
    /// Whether connections that its backends open leave from the VIP. The services of one backend
    /// for which this is so have one VIP.
    pub outbound_nat: bool,
    /// What chooses a connection's backend.
    pub balance: Balance,
    /// Which connections choose one backend together; by the hash alone.
    pub affinity: Affinity,
    /// Whether the flows of a backend that goes down are reset on both sides.
    pub reset_on_failure: bool,
    /// What clients are told while no backend takes new connections.
    pub when_unavailable: WhenUnavailable,
    /// Whose new connections it takes, and how many.
    pub access: Access,
    /// How its backends are checked.
    pub keepalive: Keepalive,
    /// In the order of the file; at least one, names unique, address and port unique.
    pub backends: Vec<Backend>,
}

/// What chooses the backend of a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// The consistent hash.
    ConsistentHash,
    /// That it has the fewest connections for its weight.
    LeastConnections,
}

impl Balance {
    /// The word for it in the config file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConsistentHash => "consistent-hash",
            Self::LeastConnections => "least-connections",
        }
    }
}

/// Which connections choose one backend together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Affinity {
    /// Each for itself.
    Connection,
    /// All of one client address.
    ClientAddress,
}

impl Affinity {
    /// The word for it in the config file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::ClientAddress => "client-address",
        }
    }
}

/// What becomes of new connections while no backend takes any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenUnavailable {
    /// Clients are told by RST, at once.
    Reset,
    /// Their packets are dropped: they try again for as long as they have patience.
    Drop,
}

/// What happens to the addresses of a service's packets on their way to a backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Forwarding {
    /// The VIP becomes the backend's address; clients keep theirs.
    Nat,
    /// And the client's becomes one of ours: backends need no route to clients through us.
    FullNat {
        /// Ours: 1 to 16, of the VIP's family, no duplicates, none of them a backend's.
        snat_addresses: Vec<IpAddr>,
    },
}

impl Forwarding {
    /// The word for it in the config file.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::FullNat { .. } => "full-nat",
        }
    }

    /// What clients are translated to; empty where they keep their address.
    pub fn snat_addresses(&self) -> &[IpAddr] {
        match self {
            Self::Nat => &[],
            Self::FullNat { snat_addresses } => snat_addresses,
        }
    }
}

/// A node that answers for a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// 1 to 64 of `A-Z a-z 0-9 . _ -`; unique in its service.
    pub name: String,
    /// The node's own address.
    pub address: IpAddr,
    /// The TCP port on the node, never 0.
    pub port: u16,
    /// Share of the new flows against the other backends, 0 to 65535; 0: no new flows. All
    /// backends of a service may have 0: an operator drains a whole service that way.
    pub weight: u32,
    /// Whether it takes new flows only while no other backend that is no backup does.
    pub backup: bool,
}

impl Config {
    /// Reads and checks the file at `path`.
    ///
    /// # Errors
    /// As [`Config::text`] and [`Config::parse`].
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::parse(&Self::text(path)?, &path.display().to_string())
    }

    /// Checks `text`; `file` is the name by which errors call it.
    ///
    /// # Errors
    /// All problems of the text, by line. Where the text is no TOML, only what is wrong with its
    /// syntax: what a broken text means is a guess.
    pub fn parse(text: &str, file: &str) -> Result<Self, ConfigError> {
        let mut report = Report::new(text);
        let config = document::parse(text, &mut report).and_then(|document| {
            let raw = schema::read(document.get_ref(), &mut report);
            validate::validate(raw, &mut report).ok()
        });
        match (config, report.into_problems()) {
            (Some(config), problems) if problems.is_empty() => Ok(config),
            (_, problems) => Err(ConfigError { file: file.to_owned(), problems }),
        }
    }
}
