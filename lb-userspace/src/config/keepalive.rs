//! How backends are checked, and what the keys of that ask of each other.

use std::net::IpAddr;
use std::time::Duration;

use super::address::family;
use super::duration::format_duration;
use super::reader::Located;
use super::report::{Refused, Report, key_in};
use super::schema::{RawKeepalive, RawService};

/// How and how often a backend is checked. Detection of a silent backend takes at most
/// `interval + fall × (retry_interval + timeout)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keepalive {
    /// What is sent.
    pub kind: KeepaliveKind,
    /// Between two checks of a backend that is well, 10 ms to 1 h.
    pub interval: Duration,
    /// Between two checks after a failed one, until the state is settled; 10 ms to 1 h.
    pub retry_interval: Duration,
    /// How long one check may take, 10 ms to `interval`.
    pub timeout: Duration,
    /// Failures in a row that take a backend down, 1 to 100.
    pub fall: u32,
    /// Successes in a row that bring a backend up, 1 to 100.
    pub rise: u32,
    /// Connections of clients in a row that take a backend out by themselves, refused or not answered; 0:
    /// none do, up to 1000.
    pub error_limit: u32,
    /// The port that is asked, where it is not the backend's own.
    pub port: Option<u16>,
    /// The address of this host that asks, of the VIP's family; without one the kernel chooses.
    pub source_address: Option<IpAddr>,
    /// How connections end.
    pub close: Close,
    /// Statuses of SIP answers by which a node is down, 200 to 699.
    pub down_statuses: Vec<u16>,
}

/// How a keepalive ends its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// In order: nodes log an error on RST, and some servers die of one.
    Fin,
    /// At once, without a socket that lingers on either side.
    Rst,
}

/// Timeouts, and what a node says that cannot do its work (RFC 3261, sections 21.4.9 and 21.5).
pub const DEFAULT_DOWN_STATUSES: [u16; 5] = [408, 500, 502, 503, 504];

impl Default for Keepalive {
    fn default() -> Self {
        Self {
            kind: KeepaliveKind::Tcp,
            interval: Duration::from_secs(5),
            retry_interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            fall: 3,
            rise: 2,
            error_limit: 5,
            port: None,
            source_address: None,
            close: Close::Fin,
            down_statuses: DEFAULT_DOWN_STATUSES.to_vec(),
        }
    }
}

/// What a keepalive sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepaliveKind {
    /// Opens a TCP connection to the backend's port and closes it.
    Tcp,
    /// Asks for SIP OPTIONS over TCP.
    Sip,
    /// Asks the host for an ICMP echo.
    Icmp,
    /// Nothing: the backend counts as up.
    None,
}

/// Compares what each service says of its keepalive.
pub(super) fn check(services: &[RawService], report: &mut Report) {
    for service in services {
        let Ok(keepalive) = &service.keepalive else { continue };
        check_times(keepalive, report);
        check_use(keepalive, report);
        if let (Ok(Some(source)), Ok(vip)) = (&keepalive.source_address, &service.vip)
            && source.value.is_ipv4() != vip.value.is_ipv4()
        {
            let (ours, theirs) = (family(source.value), family(vip.value));
            let message = format!(
                "{} is {ours}, and the VIP of line {} is {theirs}: write an {theirs} address of this \
                 host",
                source.value, vip.line
            );
            report.refuse(source.line, key_in(&keepalive.path, "source_address"), message);
        }
    }
}

/// Where a key is given, its line and name.
fn given<T>(
    value: &Result<Option<Located<T>>, Refused>,
    key: &'static str,
) -> Option<(usize, &'static str)> {
    value.as_ref().ok()?.as_ref().map(|its| (its.line, key))
}

/// A key that means nothing with the type of keepalive that was chosen is a mistake.
fn check_use(keepalive: &RawKeepalive, report: &mut Report) {
    let Ok(kind) = &keepalive.kind else { return };
    let port = given(&keepalive.port, "port");
    let close = given(&keepalive.close, "close");
    let source = given(&keepalive.source_address, "source_address");
    let limit = given(&keepalive.error_limit, "error_limit");
    let statuses = keepalive.down_statuses.as_ref().ok().filter(|its| its.given);
    let statuses = statuses.map(|its| (its.line, "down_statuses"));
    let (kind, useless) = match kind.value {
        KeepaliveKind::Tcp => ("tcp", vec![statuses]),
        KeepaliveKind::Sip => ("sip", Vec::new()),
        KeepaliveKind::Icmp => ("icmp", vec![port, close, statuses]),
        KeepaliveKind::None => ("none", vec![limit, port, source, close, statuses]),
    };
    for (line, key) in useless.into_iter().flatten() {
        let message =
            format!("means nothing with type = \"{kind}\": remove it, or change the type");
        report.refuse(line, key_in(&keepalive.path, key), message);
    }
}

/// A check that may last longer than the time to the next one would let the bound on detection
/// grow past what `interval` promises.
fn check_times(keepalive: &RawKeepalive, report: &mut Report) {
    let (Ok(interval), Ok(timeout)) = (&keepalive.interval, &keepalive.timeout) else { return };
    let checks = keepalive.kind.as_ref().is_ok_and(|kind| kind.value != KeepaliveKind::None);
    if !checks || timeout.value <= interval.value {
        return;
    }
    let shown = |name: &str, duration: &Located<_>| {
        let default = if duration.given { "" } else { " (the default)" };
        format!("{name} {}{default}", format_duration(duration.value))
    };
    let (blamed, key, remedy) = if timeout.given {
        (timeout, "timeout", "shorten it")
    } else {
        (interval, "interval", "set timeout as well")
    };
    let message = format!(
        "{} is longer than {}: {remedy}",
        shown("timeout", timeout),
        shown("interval", interval)
    );
    report.refuse(blamed.line, key_in(&keepalive.path, key), message);
}

/// The settings.
pub(super) fn build(raw: RawKeepalive) -> Result<Keepalive, Refused> {
    let down_statuses = raw.down_statuses?;
    let down_statuses = match down_statuses.given {
        true => down_statuses.value.into_iter().map(|status| status.value).collect(),
        false => DEFAULT_DOWN_STATUSES.to_vec(),
    };
    Ok(Keepalive {
        kind: raw.kind?.value,
        interval: raw.interval?.value,
        retry_interval: raw.retry_interval?.value,
        timeout: raw.timeout?.value,
        fall: raw.fall?.value,
        rise: raw.rise?.value,
        error_limit: raw.error_limit?.map_or(Keepalive::default().error_limit, |limit| limit.value),
        port: raw.port?.map(|port| port.value),
        source_address: raw.source_address?.map(|address| address.value),
        close: raw.close?.map_or(Close::Fin, |close| close.value),
        down_statuses,
    })
}
