//! Bytes that follow from a seed: whoever knows it can make them, and judge them on arrival, so
//! nobody has to keep them.

/// A stream of pseudo-random bytes: the outputs of SplitMix64, which can begin anywhere.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    seed: u64,
    at: u64,
}

impl Stream {
    /// The stream of this seed, from its first byte.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, at: 0 }
    }

    /// Fills the buffer with the next bytes.
    pub(super) fn fill(&mut self, mut buffer: &mut [u8]) {
        while !buffer.is_empty() {
            let word = self.word(self.at / 8).to_le_bytes();
            let word = &word[(self.at % 8) as usize..];
            let length = word.len().min(buffer.len());
            let (now, rest) = buffer.split_at_mut(length);
            now.copy_from_slice(&word[..length]);
            buffer = rest;
            self.at += length as u64;
        }
    }

    fn word(&self, i: u64) -> u64 {
        let mut z = self.seed.wrapping_add(i.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Compares what arrives with what must.
#[derive(Debug)]
pub(super) struct Judge {
    expected: Stream,
    buffer: Vec<u8>,
    /// Where the first wrong byte is, from 0.
    pub(super) first_wrong: Option<u64>,
}

impl Judge {
    /// A judge of the stream of this seed.
    pub(super) fn new(seed: u64) -> Self {
        Self { expected: Stream::new(seed), buffer: Vec::new(), first_wrong: None }
    }

    /// Takes the bytes that have arrived next.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        let begin = self.expected.at;
        self.buffer.resize(bytes.len(), 0);
        self.expected.fill(&mut self.buffer);
        if self.first_wrong.is_none() && self.buffer != bytes {
            let same = self.buffer.iter().zip(bytes).take_while(|(a, b)| a == b).count();
            self.first_wrong = Some(begin + same as u64);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_the_same_in_whatever_pieces() {
        let mut whole = [0; 100];
        Stream::new(7).fill(&mut whole);

        let mut pieces = [0; 100];
        let mut stream = Stream::new(7);
        for (from, to) in [(0, 3), (3, 3), (3, 17), (17, 100)] {
            stream.fill(&mut pieces[from..to]);
        }
        assert_eq!(pieces, whole);
        let mut other = [0; 100];
        Stream::new(8).fill(&mut other);
        assert_ne!(other, whole);
    }

    #[test]
    fn the_first_wrong_byte_is_told() {
        let mut bytes = [0; 100];
        Stream::new(7).fill(&mut bytes);
        let mut judge = Judge::new(7);
        judge.take(&bytes[..33]);
        assert_eq!(judge.first_wrong, None);
        bytes[40] ^= 1;
        bytes[60] ^= 1;
        judge.take(&bytes[33..50]);
        judge.take(&bytes[50..]);
        assert_eq!(judge.first_wrong, Some(40));
    }
}
