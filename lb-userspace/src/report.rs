//! What the daemon tells of itself: the rows of `lb show`, and their JSON.
//!
//! Fields keep their names and meanings for ever; new ones may be added.

mod flows;
mod rates;

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

pub use flows::{Choice, FlowDetail, FlowReport, FlowRow};
pub use rates::Rates;

/// `lb show summary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of the daemon.
    pub version: String,
    /// Process of the daemon.
    pub pid: u32,
    /// Since the start.
    pub uptime_seconds: u64,
    /// The config file.
    pub config: String,
    /// Where the program is attached.
    pub interfaces: Vec<InterfaceRow>,
    /// How many services there are.
    pub services: usize,
    /// How many backends there are, those that drain after leaving the file included.
    pub backends: usize,
    /// How many of them take new connections.
    pub backends_available: usize,
    /// Proven connections.
    pub active_flows: u64,
    /// How many proven connections the table holds at most.
    pub flow_capacity: u32,
    /// Connections since the start.
    pub new_flows: u64,
    /// Connections that had their proof while the table was full, counted at each try.
    pub refused_flows: u64,
    /// Packets towards backends.
    pub packets_in: u64,
    /// Packets from backends.
    pub packets_out: u64,
    /// Bytes of IP packets towards backends.
    pub bytes_in: u64,
    /// Bytes of IP packets from backends.
    pub bytes_out: u64,
    /// Packets dropped by the datapath, whatever the reason.
    pub dropped: u64,
    /// Connections that both ends were told of by RST.
    #[serde(default)]
    pub reset_flows: u64,
    /// Config files that were taken in after the first one.
    #[serde(default)]
    pub reloads_done: u64,
    /// Config files that were refused.
    #[serde(default)]
    pub reloads_refused: u64,
    /// What happens in a second.
    #[serde(flatten)]
    pub rates: Rates,
}

/// One interface of `lb show summary`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InterfaceRow {
    /// Its name.
    pub name: String,
    /// The XDP mode that is really on, as the kernel says: `native`, `generic`, `offload`, `none`.
    pub xdp_mode: String,
}

/// One row of `lb show services`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServiceRow {
    /// Its name.
    pub service: String,
    /// Where clients connect to.
    pub vip: IpAddr,
    /// Where clients connect to.
    pub port: u16,
    /// `tcp`.
    pub protocol: String,
    /// `nat` or `full-nat`.
    pub forwarding: String,
    /// What clients are translated to; empty where they keep their address.
    #[serde(default)]
    pub snat_addresses: Vec<IpAddr>,
    /// Whether connections that its backends open leave from the VIP.
    #[serde(default)]
    pub outbound_nat: bool,
    /// `connection`, or `client-address` where all connections of one choose one backend.
    #[serde(default)]
    pub affinity: String,
    /// `consistent-hash` or `least-connections`: what chooses a connection's backend.
    #[serde(default)]
    pub balance: String,
    /// `up` while a backend takes new connections, else `down`.
    pub state: String,
    /// Why: how many of its backends are in which state.
    #[serde(default)]
    pub reason: String,
    /// How long it has been in that state.
    #[serde(default)]
    pub since_seconds: u64,
    /// How many backends it has.
    pub backends: usize,
    /// How many of them take new connections.
    pub backends_available: usize,
    /// Proven connections.
    pub active_flows: u64,
    /// Connections since the start.
    pub new_flows: u64,
    /// Packets towards backends.
    pub packets_in: u64,
    /// Packets from backends.
    pub packets_out: u64,
    /// Bytes towards backends.
    pub bytes_in: u64,
    /// Bytes from backends.
    pub bytes_out: u64,
    /// Packets for the service that were dropped, whatever the reason.
    pub dropped: u64,
    /// What happens in a second.
    #[serde(flatten)]
    pub rates: Rates,
}

/// One row of `lb show backends`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BackendRow {
    /// Its service.
    pub service: String,
    /// Its name.
    pub backend: String,
    /// Where it listens.
    pub address: IpAddr,
    /// Where it listens.
    pub port: u16,
    /// Its weight now.
    pub weight: u32,
    /// `up`, `down`, `draining` or `suspended`.
    pub state: String,
    /// Why it is in that state.
    pub reason: String,
    /// How long it has been in that state.
    pub since_seconds: u64,
    /// Whether it takes new flows only while no other backend does.
    #[serde(default)]
    pub backup: bool,
    /// How long its last successful check took; none where there was none.
    #[serde(default)]
    pub check_latency_ms: Option<f64>,
    /// Its part of the service's hash table, in percent.
    pub share_percent: f64,
    /// Proven connections.
    pub active_flows: u64,
    /// Its part of the service's proven connections, in percent.
    #[serde(default)]
    pub active_flows_percent: f64,
    /// Connections given to it since it was added.
    pub new_flows: u64,
    /// Packets towards it.
    pub packets_in: u64,
    /// Packets from it.
    pub packets_out: u64,
    /// Bytes towards it.
    pub bytes_in: u64,
    /// Bytes from it.
    pub bytes_out: u64,
    /// What happens in a second.
    #[serde(flatten)]
    pub rates: Rates,
}

/// One row of `lb show keepalives`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeepaliveRow {
    /// The service.
    pub service: String,
    /// The backend.
    pub backend: String,
    /// What is asked.
    pub address: IpAddr,
    /// What is asked.
    pub port: u16,
    /// `tcp`, `sip`, `icmp` or `none`.
    pub r#type: String,
    /// `up` or `down`.
    pub state: String,
    /// The last result and its count, such as `tcp connect timed out, 3 of 3`.
    pub result: String,
    /// How long the last success took.
    pub latency_ms: Option<f64>,
    /// When the last check ended.
    pub last_check_seconds: Option<f64>,
    /// Checks since the start.
    pub checks: u64,
    /// Failed checks since the start.
    pub failures: u64,
}

/// One row of `lb show drops`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DropRow {
    /// The service, where the packet was for one.
    pub service: Option<String>,
    /// The outcome's name.
    pub reason: String,
    /// What was done: `dropped`, `passed` to the kernel, or `sent` by the kernel.
    pub action: String,
    /// How many.
    pub packets: u64,
}

/// How full one table of flows is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableRow {
    /// `ipv4`, or `ipv6_and_outbound` for IPv6 flows and those that nodes have opened.
    pub table: String,
    /// Proven flows.
    pub flows: u64,
    /// How many of those it holds.
    pub capacity: u32,
}

/// How many ports of an SNAT address are in use towards one backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortsRow {
    /// The address.
    pub snat_address: IpAddr,
    /// Where the backend listens; nothing for connections that nodes have opened.
    pub backend: Option<SocketAddr>,
    /// Ports that proven connections have.
    pub used: u32,
    /// Ports that may be given out.
    pub ports: u32,
}

/// What became of the messages to the syslog receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogRow {
    /// Messages that were sent.
    pub sent: u64,
    /// Messages that were not, or are known not to have been taken.
    pub lost: u64,
}

/// Everything that `lb show` prints but the flows, and how full things were when the flow table was last
/// looked through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `lb show summary`.
    pub summary: Summary,
    /// `lb show services`.
    pub services: Vec<ServiceRow>,
    /// `lb show backends`.
    pub backends: Vec<BackendRow>,
    /// `lb show keepalives`.
    pub keepalives: Vec<KeepaliveRow>,
    /// `lb show drops`.
    pub drops: Vec<DropRow>,
    /// The tables of flows.
    #[serde(default)]
    pub tables: Vec<TableRow>,
    /// The ports of SNAT addresses.
    #[serde(default)]
    pub ports: Vec<PortsRow>,
    /// The syslog receiver, if there is one.
    #[serde(default)]
    pub syslog: Option<SyslogRow>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_of_a_daemon_that_says_less_are_understood() {
        let service: ServiceRow = serde_json::from_value(json!({
            "service": "csta", "vip": "192.0.2.100", "port": 5060, "protocol": "tcp",
            "forwarding": "nat", "state": "up", "backends": 2, "backends_available": 1,
            "active_flows": 34, "new_flows": 40, "packets_in": 40, "packets_out": 60,
            "bytes_in": 8000, "bytes_out": 10000, "dropped": 12,
        }))
        .expect("a service");
        assert_eq!((&service.snat_addresses, service.outbound_nat), (&Vec::new(), false));
        assert_eq!(service.rates, Rates::default());
        let said = serde_json::to_value(&service).expect("JSON");
        assert_eq!(said["new_flows_per_second"], 0.0, "rates stand among the row's own fields");
    }
}
