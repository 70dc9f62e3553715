//! The checksum of the Internet (RFC 1071), to judge what etherparse or a datapath has computed.

use std::net::IpAddr;

use anyhow::{Result, bail};

/// What a sum is over data with a right checksum in it.
pub(super) const RIGHT: u16 = 0xffff;

/// The one's complement sum of these bytes; the last one of an odd number counts as the high half
/// of a word.
pub(super) fn ones_complement(bytes: &[u8]) -> u16 {
    fold(words(bytes))
}

/// The sum of a segment or message with its pseudo header (RFC 9293 section 3.1, RFC 8200
/// section 8.1).
///
/// # Errors
/// When the addresses are of two families.
pub(super) fn with_pseudo_header(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    segment: &[u8],
) -> Result<u16> {
    let addresses = match (source, destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => words(&from.octets()) + words(&to.octets()),
        (IpAddr::V6(from), IpAddr::V6(to)) => words(&from.octets()) + words(&to.octets()),
        _ => bail!("{source} and {destination} are of two families"),
    };
    Ok(fold(addresses + u64::from(protocol) + segment.len() as u64 + words(segment)))
}

fn words(bytes: &[u8]) -> u64 {
    let words = bytes.chunks(2).map(|word| [word[0], word.get(1).copied().unwrap_or(0)]);
    words.map(|word| u64::from(u16::from_be_bytes(word))).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard() {
        // RFC 1071, section 3.
        assert_eq!(ones_complement(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
        assert_eq!(ones_complement(&[0x12]), 0x1200);
    }
}
