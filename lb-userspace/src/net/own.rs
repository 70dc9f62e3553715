//! What the kernel gives to sockets of this machine itself: its addresses, and ports of theirs.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use rtnetlink::Handle;

use super::NetError;
use super::subnet::addresses;

/// All addresses of the namespace that lb has not put there, of any scope: the host's own sockets
/// use them.
pub async fn own_addresses(handle: &Handle) -> Result<BTreeSet<IpAddr>, NetError> {
    let all = addresses(handle).await?;
    Ok(all.into_iter().filter(|address| !address.marked).map(|address| address.local).collect())
}

/// The ports that the kernel gives to sockets that ask for none, both of IPv4 and of IPv6
/// (kernel, Documentation/networking/ip-sysctl.rst, `ip_local_port_range`).
pub fn local_port_range() -> Result<RangeInclusive<u16>, NetError> {
    let failed = |error| NetError::refused("read net.ipv4.ip_local_port_range", error);
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").map_err(failed)?;
    parse(&text).ok_or_else(|| {
        failed(io::Error::other(format!("two ports were expected, and it is {text:?}")))
    })
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ports = text.split_whitespace().map(|word| word.parse().ok());
    let (first, last) = (ports.next()??, ports.next()??);
    ports.next().is_none().then_some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_ports() {
        assert_eq!(parse("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(parse("1 65535"), Some(1..=65535));
        for text in ["", "32768", "1 2 3", "1 65536", "a b"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
