//! The format: which keys each table has, their types and defaults, and what this version does
//! not offer.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeTable;

use super::access::{self, RawAccess};
use super::address::address;
use super::group::{AdminGroup, admin_group};
use super::keys::{BACKEND, KEEPALIVE, ROOT, SERVICE};
use super::reader::{Located, Nested, Read, TableReader};
use super::report::{Refused, Report};
use super::syslog::{self, SyslogTarget};
use super::values::{
    choice, duration, integer, interface, listener, name, pin_directory, port, port_range,
    socket_path, switch,
};
use super::{
    Affinity, Balance, Close, DEFAULT_ADMIN_SOCKET, DEFAULT_FLOW_CAPACITY, DEFAULT_PIN_DIRECTORY,
    DEFAULT_PORT, DEFAULT_SNAT_PORTS, DEFAULT_WEIGHT, Keepalive, KeepaliveKind, MAX_WEIGHT,
    WhenUnavailable, XdpMode,
};

const FLOW_CAPACITY: RangeInclusive<u32> = 1024..=1 << 24;
const WEIGHT: RangeInclusive<u32> = 0..=MAX_WEIGHT;
const COUNT: RangeInclusive<u32> = 1..=100;
const ERROR_LIMIT: RangeInclusive<u32> = 0..=1000;
/// Statuses of final answers (RFC 3261, section 7.2).
const SIP_FINAL: RangeInclusive<u16> = 200..=699;

/// The file, each value judged by itself.
pub(super) struct RawConfig {
    pub interfaces: Result<Vec<Located<String>>, Refused>,
    pub xdp_mode: Read<XdpMode>,
    pub flow_capacity: Read<u32>,
    pub snat_ports: Read<RangeInclusive<u16>>,
    pub persist: Read<bool>,
    pub pin_directory: Read<PathBuf>,
    pub admin_socket: Read<PathBuf>,
    pub admin_group: Result<Option<Located<AdminGroup>>, Refused>,
    pub metrics_listen: Result<Option<Located<SocketAddr>>, Refused>,
    pub syslog: Result<Option<Located<SyslogTarget>>, Refused>,
    pub syslog_facility: Result<Option<Located<u8>>, Refused>,
    pub services: Result<Vec<RawService>, Refused>,
}

/// One `[[service]]`.
pub(super) struct RawService {
    pub path: String,
    pub line: usize,
    pub name: Read<String>,
    pub vip: Read<IpAddr>,
    pub port: Read<u16>,
    pub forwarding: Read<ForwardingWord>,
    pub snat_addresses: Read<Vec<Located<IpAddr>>>,
    pub outbound_nat: Read<bool>,
    pub balance: Read<Balance>,
    pub affinity: Read<Affinity>,
    pub reset_on_failure: Read<bool>,
    pub when_unavailable: Read<WhenUnavailable>,
    pub access: RawAccess,
    pub keepalive: Result<RawKeepalive, Refused>,
    pub backends: Result<Vec<RawBackend>, Refused>,
}

/// What `forwarding` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ForwardingWord {
    Nat,
    FullNat,
}

/// One `[service.keepalive]`, or the lack of it.
pub(super) struct RawKeepalive {
    pub path: String,
    pub kind: Read<KeepaliveKind>,
    pub interval: Read<Duration>,
    pub retry_interval: Read<Duration>,
    pub timeout: Read<Duration>,
    pub fall: Read<u32>,
    pub rise: Read<u32>,
    pub error_limit: Result<Option<Located<u32>>, Refused>,
    pub port: Result<Option<Located<u16>>, Refused>,
    pub source_address: Result<Option<Located<IpAddr>>, Refused>,
    pub close: Result<Option<Located<Close>>, Refused>,
    pub down_statuses: Read<Vec<Located<u16>>>,
}

/// One `[[service.backend]]`.
pub(super) struct RawBackend {
    pub path: String,
    pub line: usize,
    pub name: Read<String>,
    pub address: Read<IpAddr>,
    pub port: Read<u16>,
    pub weight: Read<u32>,
    pub backup: Read<bool>,
}

/// Reads a whole document.
pub(super) fn read(document: &DeTable<'_>, report: &mut Report) -> RawConfig {
    let root = Nested { path: String::new(), line: 1, table: document };
    let mut table = TableReader::new(report, &ROOT, root);
    let interfaces = table.required_list("interfaces", "[\"eth0\"]", interface);
    let xdp_mode = table.or_default(
        "xdp_mode",
        XdpMode::Auto,
        choice(
            "xdp_mode",
            &[
                ("auto", Ok(XdpMode::Auto)),
                ("native", Ok(XdpMode::Native)),
                ("generic", Ok(XdpMode::Generic)),
            ],
        ),
    );
    let flow_capacity =
        table.or_default("flow_capacity", DEFAULT_FLOW_CAPACITY, integer(FLOW_CAPACITY));
    let snat_ports = table.or_default("snat_ports", DEFAULT_SNAT_PORTS, port_range);
    let admin_socket =
        table.or_default("admin_socket", PathBuf::from(DEFAULT_ADMIN_SOCKET), socket_path);
    let persist = table.or_default("persist", false, switch);
    let pin_directory =
        table.or_default("pin_directory", PathBuf::from(DEFAULT_PIN_DIRECTORY), pin_directory);
    let admin_group = table.optional("admin_group", admin_group);
    let metrics_listen = table.optional("metrics_listen", listener);
    let syslog = table.optional("syslog", syslog::target);
    let syslog_facility = table.optional("syslog_facility", syslog::facility);
    let services = table.tables("service", "[[service]]");
    table.finish();

    let services = services.map(|services| {
        services.into_iter().map(|service| read_service(service, report)).collect()
    });
    RawConfig {
        interfaces,
        xdp_mode,
        flow_capacity,
        snat_ports,
        persist,
        pin_directory,
        admin_socket,
        admin_group,
        metrics_listen,
        syslog,
        syslog_facility,
        services,
    }
}

fn read_service(nested: Nested<'_>, report: &mut Report) -> RawService {
    let no_keepalive = DeTable::new();
    let (path, line) = (nested.path.clone(), nested.line);
    let mut table = TableReader::new(report, &SERVICE, nested);
    let name = table.required("name", "\"csta\"", name);
    let vip = table.required("vip", "\"192.0.2.100\"", address);
    let port = table.or_default("port", DEFAULT_PORT, port);
    let forwardings = [("nat", Ok(ForwardingWord::Nat)), ("full-nat", Ok(ForwardingWord::FullNat))];
    let forwarding =
        table.or_default("forwarding", ForwardingWord::Nat, choice("forwarding", &forwardings));
    let snat_addresses = table.list("snat_addresses", "[\"192.0.2.10\"]", address);
    let outbound_nat = table.or_default("outbound_nat", false, switch);
    let words = [
        ("consistent-hash", Ok(Balance::ConsistentHash)),
        ("least-connections", Ok(Balance::LeastConnections)),
    ];
    let balance = table.or_default("balance", Balance::ConsistentHash, choice("balance", &words));
    let words =
        [("connection", Ok(Affinity::Connection)), ("client-address", Ok(Affinity::ClientAddress))];
    let affinity = table.or_default("affinity", Affinity::Connection, choice("affinity", &words));
    let reset_on_failure = table.or_default("reset_on_failure", true, switch);
    let words = [("reset", Ok(WhenUnavailable::Reset)), ("drop", Ok(WhenUnavailable::Drop))];
    let when_unavailable = table.or_default(
        "when_unavailable",
        WhenUnavailable::Reset,
        choice("when_unavailable", &words),
    );
    let keepalive = table.table("keepalive", &no_keepalive);
    let backends = table.tables("backend", "[[service.backend]]");
    let access = access::read(&mut table);
    let words = [("tcp", Ok(())), ("udp", Err("only TCP is balanced"))];
    table.check("protocol", choice("protocol", &words));
    table.finish();

    let keepalive = keepalive.map(|keepalive| read_keepalive(keepalive, report));
    let backends = backends.map(|backends| {
        backends.into_iter().map(|backend| read_backend(backend, &port, report)).collect()
    });
    RawService {
        path,
        line,
        name,
        vip,
        port,
        forwarding,
        snat_addresses,
        outbound_nat,
        balance,
        affinity,
        reset_on_failure,
        when_unavailable,
        access,
        keepalive,
        backends,
    }
}

fn read_keepalive(nested: Nested<'_>, report: &mut Report) -> RawKeepalive {
    let default = Keepalive::default();
    let path = nested.path.clone();
    let mut table = TableReader::new(report, &KEEPALIVE, nested);
    let kinds = [
        ("tcp", Ok(KeepaliveKind::Tcp)),
        ("sip", Ok(KeepaliveKind::Sip)),
        ("icmp", Ok(KeepaliveKind::Icmp)),
        ("none", Ok(KeepaliveKind::None)),
    ];
    let kind = table.or_default("type", default.kind, choice("type", &kinds));
    let interval = table.or_default("interval", default.interval, duration);
    let retry_interval = table.or_default("retry_interval", default.retry_interval, duration);
    let timeout = table.or_default("timeout", default.timeout, duration);
    let fall = table.or_default("fall", default.fall, integer(COUNT));
    let rise = table.or_default("rise", default.rise, integer(COUNT));
    let error_limit = table.optional("error_limit", integer(ERROR_LIMIT));
    let asked = table.optional("port", port);
    let source_address = table.optional("source_address", address);
    let words = [("fin", Ok(Close::Fin)), ("rst", Ok(Close::Rst))];
    let close = table.optional("close", choice("close", &words));
    let down_statuses = table.list("down_statuses", "[408, 503]", integer(SIP_FINAL));
    table.finish();
    RawKeepalive {
        path,
        kind,
        interval,
        retry_interval,
        timeout,
        fall,
        rise,
        error_limit,
        port: asked,
        source_address,
        close,
        down_statuses,
    }
}

fn read_backend(nested: Nested<'_>, service_port: &Read<u16>, report: &mut Report) -> RawBackend {
    let (path, line) = (nested.path.clone(), nested.line);
    let mut table = TableReader::new(report, &BACKEND, nested);
    let name = table.required("name", "\"imp1\"", name);
    let address = table.required("address", "\"10.0.0.11\"", address);
    let port = match table.optional("port", port) {
        Ok(Some(port)) => Ok(port),
        Ok(None) => service_port.clone().map(|port| Located { line, given: false, ..port }),
        Err(Refused) => Err(Refused),
    };
    let weight = table.or_default("weight", DEFAULT_WEIGHT, integer(WEIGHT));
    let backup = table.or_default("backup", false, switch);
    table.finish();
    RawBackend { path, line, name, address, port, weight, backup }
}
