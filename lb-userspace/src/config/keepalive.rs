//! What the keys of a keepalive ask of each other.

use super::address::family;
use super::duration::format_duration;
use super::reader::Located;
use super::report::{Refused, Report, key_in};
use super::schema::{RawKeepalive, RawService};
use super::{Close, DEFAULT_DOWN_STATUSES, Keepalive, KeepaliveKind};

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
