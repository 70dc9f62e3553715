//! The beginning of a TCP packet in an ICMP error.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};

use crate::packet::ip::Extension;
use crate::packet::sum;

/// What an ICMP error says of the packet that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quoted {
    /// Who had sent it.
    pub source: SocketAddr,
    /// Whom it was for.
    pub destination: SocketAddr,
    /// Time to live, the hop limit of IPv6, when it was quoted.
    pub ttl: u8,
    /// TCP sequence number.
    pub sequence: u32,
    /// Bytes of the packet from the IP header on, as its header says: at least what is quoted.
    pub length: usize,
    /// Whether the checksum of its IPv4 header is right; IPv6 has none.
    pub header_sum_right: Option<bool>,
    /// Whether its TCP checksum is right, where the whole segment is quoted.
    pub segment_sum_right: Option<bool>,
}

impl Quoted {
    /// Reads a quotation, which may end anywhere after the first 8 bytes of TCP.
    ///
    /// # Errors
    /// When that much is not there, for other packets than TCP, for a later fragment, and when
    /// more is quoted than the packet has.
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let ip = match bytes.first().map(|first| first >> 4) {
            Some(4) => read_v4(bytes)?,
            Some(6) => read_v6(bytes)?,
            _ => bail!("no IP packet is quoted"),
        };
        ensure!(ip.protocol == IpNumber::TCP.0, "protocol {} is quoted, not TCP", ip.protocol);
        ensure!(bytes.len() <= ip.length, "more is quoted than the packet's {} bytes", ip.length);
        let segment = &bytes[ip.header..];
        let Some(&[a, b, c, d, e, f, g, h]) = segment.first_chunk() else {
            bail!("{} bytes of TCP are quoted", segment.len());
        };
        let source = SocketAddr::new(ip.source, u16::from_be_bytes([a, b]));
        let destination = SocketAddr::new(ip.destination, u16::from_be_bytes([c, d]));
        let whole = (bytes.len() == ip.length && !ip.more_fragments).then_some(segment);
        let segment_sum_right = whole.map(|segment| {
            let sum = sum::with_pseudo_header(ip.source, ip.destination, IpNumber::TCP.0, segment)?;
            anyhow::Ok(sum == sum::RIGHT)
        });
        Ok(Self {
            source,
            destination,
            ttl: ip.ttl,
            sequence: u32::from_be_bytes([e, f, g, h]),
            length: ip.length,
            header_sum_right: ip.sum_right,
            segment_sum_right: segment_sum_right.transpose()?,
        })
    }
}

struct Head {
    source: std::net::IpAddr,
    destination: std::net::IpAddr,
    ttl: u8,
    protocol: u8,
    /// Bytes before the segment.
    header: usize,
    length: usize,
    more_fragments: bool,
    sum_right: Option<bool>,
}

fn read_v4(bytes: &[u8]) -> Result<Head> {
    let slice = Ipv4HeaderSlice::from_slice(bytes).context("no IPv4 header is quoted")?;
    ensure!(slice.fragments_offset().value() == 0, "a later fragment is quoted");
    Ok(Head {
        source: Ipv4Addr::from(slice.source()).into(),
        destination: Ipv4Addr::from(slice.destination()).into(),
        ttl: slice.ttl(),
        protocol: slice.protocol().0,
        header: slice.slice().len(),
        length: slice.total_len().into(),
        more_fragments: slice.more_fragments(),
        sum_right: Some(sum::ones_complement(slice.slice()) == sum::RIGHT),
    })
}

fn read_v6(bytes: &[u8]) -> Result<Head> {
    let slice = Ipv6HeaderSlice::from_slice(bytes).context("no IPv6 header is quoted")?;
    let mut header = slice.slice().len();
    let mut protocol = slice.next_header().0;
    while Extension::is_one(protocol) {
        let (extension, _) = Extension::split(&bytes[header..])?;
        protocol = extension[0];
        header += extension.len();
    }
    Ok(Head {
        source: slice.source_addr().into(),
        destination: slice.destination_addr().into(),
        ttl: slice.hop_limit(),
        protocol,
        header,
        length: slice.slice().len() + usize::from(slice.payload_length()),
        more_fragments: false,
        sum_right: None,
    })
}
