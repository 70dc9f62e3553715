//! Fragments: a frame cut up as a host or a router does it, and put together again as the
//! destination does it (RFC 791 section 3.2, RFC 8200 section 4.5).

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice};

use super::ip::Extension;
use super::link::{IPV4, IPV6, Link};
use super::sum;

/// Offsets count in these.
const UNIT: usize = 8;
const FRAGMENT_HEADER: u8 = IpNumber::IPV6_FRAGMENTATION_HEADER.0;
/// Of the 16 bits with flags and offset of IPv4.
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_V4: u16 = 0x2000;
/// Of the 16 bits with offset and flag of IPv6.
const MORE_V6: u16 = 1;

/// Cuts a frame into fragments that carry so many bytes each, all multiples of 8, and a last one
/// with the rest. On IPv4, Don't Fragment is cleared and the packet gets the low half of the
/// identification. The fragment header of IPv6 comes after hop-by-hop options and routing header.
///
/// # Errors
/// When the frame is no IP packet or is padded, is a fragment, has IPv4 options, or the sizes are
/// not multiples of 8 or leave nothing for the last fragment.
pub fn cut(frame: &[u8], identification: u32, sizes: &[usize]) -> Result<Vec<Vec<u8>>> {
    let (link, ether_type, packet) = Link::read(frame)?;
    let whole = Piece::read(ether_type, packet)?;
    ensure!(whole.offset == 0 && !whole.more, "it is a fragment already");
    ensure!(
        ether_type == IPV6 || whole.header.len() == 20,
        "which IPv4 options go where is not known here"
    );
    let mut rest = whole.data;
    let mut offset = 0;
    let mut fragments = Vec::new();
    for &size in sizes.iter().chain([&usize::MAX]) {
        let more = size != usize::MAX;
        ensure!(!more || size % UNIT == 0 && size > 0, "a fragment of {size} bytes");
        let (data, after) = if more {
            rest.split_at_checked(size).context("the fragments are larger than the packet")?
        } else {
            (rest, &[][..])
        };
        ensure!(!data.is_empty(), "nothing is left for the last fragment");
        let header = match ether_type {
            IPV4 => whole.header_v4(identification as u16, offset, more, data.len())?,
            _ => whole.header_v6(identification, offset, more, data.len())?,
        };
        let mut bytes = Vec::new();
        link.write(ether_type, &mut bytes)?;
        bytes.extend(header);
        bytes.extend(data);
        fragments.push(bytes);
        offset += data.len();
        rest = after;
    }
    Ok(fragments)
}

/// Puts fragments in any order together to one frame, and judges them: the same headers on all,
/// right IPv4 checksums, lengths that agree with the frames, data without hole or overlap, more
/// fragments announced on all but the last.
///
/// # Errors
/// For whatever is wrong, and when a fragment is missing.
pub fn join(fragments: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
    let mut pieces = BTreeMap::new();
    let mut common = None;
    for fragment in fragments {
        let (link, ether_type, packet) = Link::read(fragment.as_ref())?;
        let piece = Piece::read(ether_type, packet)?;
        ensure!(piece.more || piece.offset > 0, "one of them is no fragment");
        let its = (link, ether_type, piece.common());
        let first = common.get_or_insert_with(|| its.clone());
        ensure!(its == *first, "the headers differ: {its:?}, {first:?}");
        let offset = piece.offset;
        ensure!(pieces.insert(offset, piece).is_none(), "two fragments begin at {offset}");
    }
    let (link, ether_type, _) = common.context("there is no fragment")?;
    let mut data = Vec::<u8>::new();
    let last = pieces.len().saturating_sub(1);
    for (i, (offset, piece)) in pieces.iter().enumerate() {
        ensure!(*offset == data.len(), "up to {} there is data, next comes {offset}", data.len());
        ensure!(piece.more == (i < last), "at {offset} more fragments is {}", piece.more);
        ensure!(i == last || piece.data.len() % UNIT == 0, "{offset} ends between two units");
        data.extend(piece.data);
    }
    let first = pieces.first_key_value().context("there is no fragment")?.1;
    let header = match ether_type {
        IPV4 => first.header_v4(first.identification as u16, 0, false, data.len())?,
        _ => first.header_v6_alone(data.len())?,
    };
    let mut bytes = Vec::new();
    link.write(ether_type, &mut bytes)?;
    bytes.extend(header);
    bytes.extend(data);
    Ok(bytes)
}

/// A packet, whole or a fragment.
#[derive(Debug)]
struct Piece<'a> {
    /// What every fragment has: the IPv4 header; that of IPv6 with the extensions before the
    /// fragment header.
    header: &'a [u8],
    /// Where in it the number of what follows is: of the data, the fragment header left out.
    next_at: usize,
    next: u8,
    identification: u32,
    offset: usize,
    more: bool,
    data: &'a [u8],
}

impl<'a> Piece<'a> {
    fn read(ether_type: u16, packet: &'a [u8]) -> Result<Self> {
        match ether_type {
            IPV4 => Self::read_v4(packet),
            IPV6 => Self::read_v6(packet),
            other => bail!("{other:#06x} is neither IPv4 nor IPv6"),
        }
    }

    fn read_v4(packet: &'a [u8]) -> Result<Self> {
        let slice = Ipv4HeaderSlice::from_slice(packet).context("no IPv4 header")?;
        let length = slice.slice().len();
        let (header, data) = packet.split_at(length);
        ensure!(sum::ones_complement(header) == sum::RIGHT, "an IPv4 checksum is wrong");
        ensure!(usize::from(slice.total_len()) == packet.len(), "an IPv4 length is wrong");
        ensure!(header[6] & 0x80 == 0, "the reserved bit of IPv4 is set");
        Ok(Self {
            header,
            next_at: 9,
            next: slice.protocol().0,
            identification: slice.identification().into(),
            offset: usize::from(slice.fragments_offset().value()) * UNIT,
            more: slice.more_fragments(),
            data,
        })
    }

    fn read_v6(packet: &'a [u8]) -> Result<Self> {
        let slice = Ipv6HeaderSlice::from_slice(packet).context("no IPv6 header")?;
        let length = slice.slice().len();
        ensure!(
            usize::from(slice.payload_length()) == packet.len() - length,
            "an IPv6 length is wrong"
        );
        // The unfragmentable part ends after the last of these two.
        let (mut end, mut next_at, mut next) = (length, 6, packet[6]);
        let (mut at, mut at_next_at) = (length, 6);
        while Extension::is_one(packet[at_next_at]) {
            let number = packet[at_next_at];
            let (extension, _) = Extension::split(&packet[at..])?;
            at_next_at = at;
            at += extension.len();
            if matches!(number, Extension::HOP_BY_HOP | Extension::ROUTING)
                || extension[0] == FRAGMENT_HEADER
            {
                (end, next_at, next) = (at, at_next_at, extension[0]);
            }
        }
        let (header, data) = packet.split_at(end);
        if next != FRAGMENT_HEADER {
            return Ok(Self {
                header,
                next_at,
                next,
                identification: 0,
                offset: 0,
                more: false,
                data,
            });
        }
        let Some((&[next, reserved, a, b, c, d, e, f], data)) = data.split_first_chunk() else {
            bail!("a fragment header is cut short");
        };
        let word = u16::from_be_bytes([a, b]);
        ensure!(reserved == 0 && word & 0b110 == 0, "a reserved bit of a fragment header is set");
        Ok(Self {
            header,
            next_at,
            next,
            identification: u32::from_be_bytes([c, d, e, f]),
            offset: usize::from(word & !0b111),
            more: word & MORE_V6 != 0,
            data,
        })
    }

    /// The header without what differs from fragment to fragment, and what all fragments agree in.
    fn common(&self) -> (Vec<u8>, u8, u32) {
        let mut header = self.header.to_vec();
        if header[0] >> 4 == 4 {
            header[2..4].fill(0);
            header[6] &= (DONT_FRAGMENT >> 8) as u8;
            header[7] = 0;
            header[10..12].fill(0);
        } else {
            header[4..6].fill(0);
        }
        (header, self.next, self.identification)
    }

    fn header_v4(&self, id: u16, offset: usize, more: bool, data: usize) -> Result<Vec<u8>> {
        let mut header = self.header.to_vec();
        let length = u16::try_from(header.len() + data).context("the packet is too long")?;
        let offset = u16::try_from(offset / UNIT).context("the packet is too long")?;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[4..6].copy_from_slice(&id.to_be_bytes());
        let flags = if more { MORE_V4 } else { 0 };
        header[6..8].copy_from_slice(&(flags | offset).to_be_bytes());
        header[10..12].fill(0);
        let sum = !sum::ones_complement(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        Ok(header)
    }

    fn header_v6(&self, id: u32, offset: usize, more: bool, data: usize) -> Result<Vec<u8>> {
        let mut header = self.header_v6_alone(UNIT + data)?;
        header[self.next_at] = FRAGMENT_HEADER;
        let offset = u16::try_from(offset).context("the packet is too long")?;
        header.extend([self.next, 0]);
        header.extend((offset | if more { MORE_V6 } else { 0 }).to_be_bytes());
        header.extend(id.to_be_bytes());
        Ok(header)
    }

    /// The header with its extensions, before so many bytes of data.
    fn header_v6_alone(&self, data: usize) -> Result<Vec<u8>> {
        const HEADER: usize = 40;
        let mut header = self.header.to_vec();
        let length = u16::try_from(header.len() - HEADER + data).context("packet too long")?;
        header[4..6].copy_from_slice(&length.to_be_bytes());
        header[self.next_at] = self.next;
        Ok(header)
    }
}
