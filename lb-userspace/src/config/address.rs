//! An address in the file: that of one host, which others can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use toml::de::DeValue;

use super::error::quote;
use super::values::string;

/// An IPv4 or IPv6 address that one host can have and others can reach without naming an interface.
pub(super) fn address(value: &DeValue<'_>) -> Result<IpAddr, String> {
    let text = string("an address in quotes, such as \"192.0.2.100\" or \"2001:db8::100\"", value)?;
    let Ok(address) = text.parse() else { return Err(no_address(text)) };
    let wrong = match address {
        IpAddr::V4(address) => wrong_v4(address),
        IpAddr::V6(address) => wrong_v6(address),
    };
    match wrong {
        Some(wrong) => Err(format!("{} {wrong}", quote(text))),
        None => Ok(address),
    }
}

/// "IPv4" or "IPv6".
pub(super) const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}

fn wrong_v4(address: Ipv4Addr) -> Option<String> {
    let kind = match address.octets() {
        [0, ..] => "is of 0.0.0.0/8, which is no host's address",
        [127, ..] => "is a loopback address, which nobody else can reach",
        [224..=239, ..] => "is a multicast address",
        [255, 255, 255, 255] => "is the broadcast address",
        [240..=255, ..] => "is of the reserved range 240.0.0.0/4",
        _ => return None,
    };
    Some(format!("{kind}: write the address of one host"))
}

/// The ranges are those of RFC 4291, section 2.4 and 2.5.
fn wrong_v6(address: Ipv6Addr) -> Option<String> {
    if let Some(mapped) = address.to_ipv4_mapped() {
        return Some(format!("is an IPv4 address in the form of IPv6: write it as IPv4, {mapped}"));
    }
    let kind = match address.segments() {
        _ if address.is_unspecified() => "is the unspecified address, which is no host's",
        _ if address.is_loopback() => "is the loopback address, which nobody else can reach",
        [0, 0, 0, 0, 0, 0, ..] => "is of ::/96, which is no host's address",
        [0xff00..=0xffff, ..] => "is a multicast address",
        [0xfe80..=0xfebf, ..] => {
            return Some(
                "is a link-local address, which says nothing without an interface: write a global \
                 or a unique local address of the host"
                    .to_owned(),
            );
        }
        _ => return None,
    };
    Some(format!("{kind}: write the address of one host"))
}

/// What is wrong with a text that is no address.
fn no_address(text: &str) -> String {
    let shown = quote(text);
    if let Some((host, zone)) = text.split_once('%')
        && host.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok()
    {
        let zone = quote(zone);
        return format!(
            "{shown} has a zone, {zone}: write a global or a unique local address, which needs none"
        );
    }
    if let Some((network, length)) = text.split_once('/')
        && network.parse::<IpAddr>().is_ok()
    {
        let length = digits(length);
        return format!("{shown} is a network: write the address alone, without /{length}");
    }
    if let Some((host, port)) = host_and_port(text) {
        return match port {
            Some(port) => {
                format!("{shown} has a port: write the address alone, {host}, and port = {port}")
            }
            None => format!("{shown} is in brackets: write the address alone, {host}"),
        };
    }
    let hexadecimal = |c: char| c.is_ascii_hexdigit() || matches!(c, ':' | '.');
    if text.matches(':').count() > 1 && text.chars().all(hexadecimal) {
        format!(
            "{shown} is no IPv6 address: write eight groups of up to four hexadecimal digits, with \
             :: for one run of zeros"
        )
    } else if text.contains(|c: char| c.is_ascii_alphabetic()) {
        format!("{shown} is no address: names are not resolved, write the address")
    } else {
        format!(
            "{shown} is no IPv4 address: write four numbers from 0 to 255, without leading zeros"
        )
    }
}

/// The parts of `10.0.0.11:5060`, `[2001:db8::11]` or `[2001:db8::11]:5060`.
fn host_and_port(text: &str) -> Option<(IpAddr, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':')?)),
        None => text.split_once(':').map(|(host, port)| (host, Some(port)))?,
    };
    Some((host.parse().ok()?, port.map(str::parse).transpose().ok()?))
}

/// The digits of what may be anything, cut to what a prefix length may have.
fn digits(text: &str) -> String {
    text.chars().take(3).filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<IpAddr, String> {
        address(DeValue::parse(&format!("'{text}'")).expect(text).get_ref())
    }

    #[test]
    fn each_range_ends_where_it_says() {
        for (inside, outside) in [
            ("1.0.0.0", "0.255.255.255"),
            ("126.255.255.255", "127.0.0.0"),
            ("128.0.0.0", "127.255.255.255"),
            ("223.255.255.255", "224.0.0.0"),
            ("223.255.255.254", "239.255.255.255"),
            ("169.254.0.1", "255.255.255.254"),
            ("::1:0:0", "::ffff:ffff"),
            ("::1:0:1", "::"),
            ("::1:0:2", "::1"),
            ("::fffe:192.0.2.1", "::ffff:192.0.2.1"),
            ("fe7f:ffff::1", "fe80::1"),
            ("fec0::1", "febf:ffff::1"),
            ("feff:ffff::1", "ff00::1"),
            ("fd00::1", "ff02::1"),
            ("64:ff9b::1", "ffff::1"),
        ] {
            assert!(read(inside).is_ok(), "{inside}");
            assert!(read(outside).is_err(), "{outside}");
        }
    }

    #[test]
    fn both_families_are_read_as_they_are_usually_written() {
        for (text, canonical) in [
            ("192.0.2.100", "192.0.2.100"),
            ("2001:db8::100", "2001:db8::100"),
            ("2001:DB8:0:0:0:0:0:0100", "2001:db8::100"),
            ("64:ff9b::192.0.2.1", "64:ff9b::c000:201"),
        ] {
            assert_eq!(read(text).map(|address| address.to_string()), Ok(canonical.to_owned()));
        }
    }

    #[test]
    fn whatever_else_is_written_is_told_what_to_write() {
        for (text, part) in [
            ("::ffff:192.0.2.1", "write it as IPv4, 192.0.2.1"),
            ("fe80::1%eth0", "has a zone, \"eth0\""),
            ("2001:db8::1%2", "has a zone, \"2\""),
            ("fe80::1", "is a link-local address"),
            ("2001:db8::/32", "is a network: write the address alone, without /32"),
            ("[2001:db8::1]", "is in brackets: write the address alone, 2001:db8::1"),
            ("[2001:db8::1]:5060", "write the address alone, 2001:db8::1, and port = 5060"),
            ("10.0.0.11:5060", "write the address alone, 10.0.0.11, and port = 5060"),
            ("2001:db8:::1", "is no IPv6 address"),
            ("1:2:3:4:5:6:7:8:9", "is no IPv6 address"),
            ("10.0.0.13.", "is no IPv4 address"),
            ("imp1:5060", "names are not resolved"),
            ("", "is no IPv4 address"),
        ] {
            let message = read(text).expect_err(text);
            assert!(message.contains(part), "{message}");
        }
    }
}
