//! Packets as a file that tcpdump and Wireshark read (pcapng).
//!
//! Each packet that is sent on or answered stands there twice: as it came, by the interface "NAME in",
//! and as it left, by "NAME out". What was decided is the comment of the first.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::{self, Write},
    time::Duration,
};

use pcap_file::{
    DataLink, PcapError,
    pcapng::{
        PcapNgBlock as _, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
        },
    },
};

use super::line::line;
use crate::trace::{MAX_FRAME, TraceRow};

/// Times are nanoseconds: of ten to the power of minus this (if_tsresol).
const NANOSECONDS: u8 = 9;

/// A file, up to a size.
pub(super) struct Pcap<W: Write> {
    writer: PcapNgWriter<Counted<W>>,
    /// The numbers of the interfaces that were described.
    interfaces: HashMap<String, u32>,
    most: u64,
}

/// Whether there is room for more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Left,
    None,
}

impl<W: Write> Pcap<W> {
    /// Begins a file of at most so many bytes.
    pub(super) fn new(writer: W, most: u64) -> io::Result<Self> {
        let writer = PcapNgWriter::new(Counted { writer, bytes: 0 }).map_err(io_error)?;
        Ok(Self { writer, interfaces: HashMap::new(), most })
    }

    /// Writes a packet, all of it or, where there is no room for it, nothing.
    pub(super) fn write(&mut self, row: &TraceRow) -> io::Result<Room> {
        let Some(frames) = &row.frames else { return Ok(Room::Left) };
        // Options, two descriptions of interfaces, the fixed parts of blocks.
        let comment = line(row);
        let more = frames.came.len() + frames.left.len() + comment.len() + 512;
        if self.writer.get_ref().bytes + more as u64 > self.most {
            return Ok(Room::None);
        }
        let time = humantime::parse_rfc3339(&row.time).ok();
        let time = time.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok());
        let time = time.unwrap_or_default();
        let came = format!("{} in", row.interface);
        let comment = EnhancedPacketOption::Comment(Cow::Borrowed(&comment));
        self.frame((&came, time), (&frames.came, frames.came_len), vec![comment])?;
        if row.sent.is_some() {
            let left = format!("{} out", row.out_interface.as_deref().unwrap_or("kernel"));
            self.frame((&left, time), (&frames.left, frames.left_len), Vec::new())?;
        }
        self.writer.get_mut().flush()?;
        Ok(Room::Left)
    }

    fn frame(
        &mut self,
        (interface, timestamp): (&str, Duration),
        (data, original_len): (&[u8], u32),
        options: Vec<EnhancedPacketOption<'_>>,
    ) -> io::Result<()> {
        let interface_id = self.interface(interface)?;
        let data = Cow::Borrowed(data);
        let block = EnhancedPacketBlock { interface_id, timestamp, original_len, data, options };
        self.writer.write_block(&block.into_block()).map(drop).map_err(io_error)
    }

    fn interface(&mut self, name: &str) -> io::Result<u32> {
        if let Some(&number) = self.interfaces.get(name) {
            return Ok(number);
        }
        let options = vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let snaplen = MAX_FRAME as u32;
        let block = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen, options };
        self.writer.write_block(&block.into_block()).map_err(io_error)?;
        let number = self.interfaces.len() as u32;
        self.interfaces.insert(name.to_owned(), number);
        Ok(number)
    }
}

fn io_error(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

/// Counts what is written.
struct Counted<W> {
    writer: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

#[cfg(test)]
mod tests {
    use pcap_file::pcapng::{Block, PcapNgReader};

    use super::*;
    use crate::trace::{Frames, Packet};

    fn row(len: usize) -> TraceRow {
        TraceRow {
            time: "2026-01-02T03:04:05.000006Z".to_owned(),
            interface: "front".to_owned(),
            packet: Packet::default(),
            outcome: "forwarded".to_owned(),
            action: "sent".to_owned(),
            service: None,
            backend: None,
            out_interface: Some("back".to_owned()),
            sent: Some(Packet::default()),
            frames: Some(Frames {
                came: vec![1; len],
                came_len: 9_000,
                left: vec![2; len],
                left_len: 9_000,
            }),
        }
    }

    /// Interface, time, first byte, and whether there is a comment.
    type Read = (u32, Duration, u8, bool);

    /// Interfaces by number, and frames.
    fn read(file: &[u8]) -> (Vec<String>, Vec<Read>) {
        let mut reader = PcapNgReader::new(file).expect("a file");
        let (mut interfaces, mut frames) = (Vec::new(), Vec::new());
        while let Some(block) = reader.next_block() {
            match block.expect("a block") {
                Block::InterfaceDescription(interface) => {
                    let name = interface.options.iter().find_map(|option| match option {
                        InterfaceDescriptionOption::IfName(name) => Some(name.to_string()),
                        _ => None,
                    });
                    interfaces.push(name.expect("a name"));
                }
                Block::EnhancedPacket(packet) => {
                    assert_eq!(packet.original_len, 9_000);
                    let comment = |option: &EnhancedPacketOption<'_>| matches!(option, EnhancedPacketOption::Comment(text) if text.contains("forwarded"));
                    let commented = packet.options.iter().any(comment);
                    frames.push((packet.interface_id, packet.timestamp, packet.data[0], commented));
                }
                other => panic!("{other:?}"),
            }
        }
        (interfaces, frames)
    }

    #[test]
    fn each_packet_is_there_before_and_after() {
        let mut file = Vec::new();
        let mut pcap = Pcap::new(&mut file, 10_000).expect("it begins");
        for _ in 0..2 {
            assert_eq!(pcap.write(&row(61)).expect("it is written"), Room::Left);
        }
        let passed = TraceRow { sent: None, ..row(61) };
        assert_eq!(pcap.write(&passed).expect("it is written"), Room::Left);
        drop(pcap);
        let (interfaces, frames) = read(&file);
        assert_eq!(interfaces, ["front in", "back out"]);
        let time = Duration::new(1_767_323_045, 6_000);
        let (came, left) = ((0, time, 1, true), (1, time, 2, false));
        assert_eq!(frames, [came, left, came, left, came]);
    }

    #[test]
    fn the_file_stays_within_its_size() {
        let mut file = Vec::new();
        let mut pcap = Pcap::new(&mut file, 20_000).expect("it begins");
        let mut written = 0;
        while pcap.write(&row(1500)).expect("it is written") == Room::Left {
            written += 1;
        }
        assert_eq!(pcap.write(&row(1500)).expect("nothing is written"), Room::None);
        drop(pcap);
        assert!((15_000..=20_000).contains(&file.len()), "{}", file.len());
        assert_eq!(read(&file).1.len(), 2 * written);
    }
}
