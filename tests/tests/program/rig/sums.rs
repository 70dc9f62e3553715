//! How wrong a frame's checksums are, computed afresh from its bytes.

/// Where the IPv4 header begins.
const IP: usize = 14;

/// The one's complement sums of a frame's IPv4 header, and of its TCP segment with its pseudo
/// header, modulo 65535: 0 is right, and by what a translation kept as it came they stay equal.
///
/// # Panics
/// Where the lengths in the headers contradict the frame.
pub fn sums(frame: &[u8]) -> (u32, u32) {
    let ip = &frame[IP..];
    let header = usize::from(ip[0] & 0xf) * 4;
    let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
    let tcp = &ip[header..length];
    (sum(&ip[..header]) % 0xffff, (sum(&ip[12..20]) + 6 + tcp.len() as u32 + sum(tcp)) % 0xffff)
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .chunks(2)
        .map(|word| u32::from(word[0]) << 8 | u32::from(*word.get(1).unwrap_or(&0)))
        .sum()
}
