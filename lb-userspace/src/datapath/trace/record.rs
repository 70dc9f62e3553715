//! Reads the records of packets.

use lb_common::trace::TraceHeader;

/// What is told of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What the programs say of it.
    pub header: TraceHeader,
    /// The first bytes of the frame as it came.
    pub before: Vec<u8>,
    /// The first bytes of the frame as it was left.
    pub after: Vec<u8>,
}

impl Record {
    /// The record of the ring's entry; none where that contradicts itself.
    pub fn parse(entry: &[u8]) -> Option<Self> {
        let (header, bytes) = entry.split_at_checked(size_of::<TraceHeader>())?;
        // SAFETY: `header` has the size of the structure, which is made of numbers alone and valid for
        // every bit pattern.
        let header = unsafe { header.as_ptr().cast::<TraceHeader>().read_unaligned() };
        let (before, bytes) = bytes.split_at_checked(header.before_kept as usize)?;
        let after = bytes.get(..header.after_kept as usize)?;
        Some(Self { header, before: before.to_vec(), after: after.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(header: &TraceHeader, bytes: &[u8]) -> Vec<u8> {
        let mut entry = [header.time, header.noted].map(u64::to_ne_bytes).concat();
        let words = [
            header.interface,
            header.action,
            header.before,
            header.before_kept,
            header.after,
            header.after_kept,
        ];
        entry.extend(words.map(u32::to_ne_bytes).concat());
        entry.extend(bytes);
        entry
    }

    #[test]
    fn a_record_gives_both_frames() {
        let header = TraceHeader {
            time: 1,
            noted: 2,
            interface: 3,
            action: 4,
            before: 60,
            before_kept: 2,
            after: 64,
            after_kept: 1,
        };
        let record = Record::parse(&entry(&header, &[7, 8, 9, 0, 0])).expect("a record");
        assert_eq!(record, Record { header, before: vec![7, 8], after: vec![9] });
        assert_eq!(Record::parse(&entry(&header, &[7, 8])), None);
        let lies = TraceHeader { before_kept: u32::MAX, ..header };
        assert_eq!(Record::parse(&entry(&lies, &[7, 8, 9])), None);
    }

    proptest! {
        #[test]
        fn no_entry_stops_it(entry: Vec<u8>) {
            if let Some(record) = Record::parse(&entry) {
                prop_assert!(record.before.len() + record.after.len() <= entry.len());
            }
        }
    }
}
