//! The ends of a packet.

use lb_common::{Address as _, Ip, Ip4};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const SERVICE_VLAN: u16 = 0x88a8;
const ETHERNET: usize = 14;
const TAG: usize = 4;

/// Who sends a packet to whom; nobody to nobody where it is no IP packet.
#[derive(Clone, Copy)]
pub struct Ends {
    pub source: Ip,
    pub destination: Ip,
}

impl Ends {
    /// Of the frame of which these bytes were kept.
    ///
    /// # Safety
    /// There are [`lb_common::trace::HEADERS`] bytes at `frame`, of which the first `kept` are the
    /// frame's.
    #[inline(always)]
    pub unsafe fn of(frame: *const u8, kept: usize) -> Self {
        // SAFETY: the caller's; two tags and the headers fit.
        unsafe {
            let mut l3 = ETHERNET;
            let mut carried = be16(frame.add(l3 - 2));
            if carried == VLAN || carried == SERVICE_VLAN {
                l3 += TAG;
                carried = be16(frame.add(l3 - 2));
                if carried == VLAN || carried == SERVICE_VLAN {
                    l3 += TAG;
                    carried = be16(frame.add(l3 - 2));
                }
            }
            let ip = frame.add(l3);
            match carried {
                IPV4 if kept >= l3 + 20 => {
                    let ends = ip.add(12).cast::<u32>();
                    let end = |at: *const u32| Ip4::from_be_word(at.read_unaligned()).to_ip();
                    Self { source: end(ends), destination: end(ends.add(1)) }
                }
                IPV6 if kept >= l3 + 40 => {
                    let ends = ip.add(8).cast::<[u64; 2]>();
                    let end = |at: *const [u64; 2]| Ip::from_be_halves(at.read_unaligned());
                    Self { source: end(ends), destination: end(ends.add(1)) }
                }
                _ => Self { source: Ip::UNSPECIFIED, destination: Ip::UNSPECIFIED },
            }
        }
    }
}

#[inline(always)]
unsafe fn be16(at: *const u8) -> u16 {
    // SAFETY: the caller's.
    u16::from_be_bytes(unsafe { *at.cast::<[u8; 2]>() })
}
