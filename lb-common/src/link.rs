//! VLANs: which tags on which device stand for which interface (IEEE 802.1Q, 802.1ad).
//!
//! The program is attached to the device at the bottom and sees tags; routes and addresses belong
//! to the sub-interfaces. Devices without tags need no entry.

/// How many tags a frame of ours has at most.
pub const MAX_TAGS: usize = 2;
/// How many VLAN sub-interfaces there are at most.
pub const MAX_VLANS: u32 = 4096;

/// A device, and the VLAN tags of a frame there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkKey {
    /// The device's interface index.
    pub device: u32,
    /// The outer tag (see [`LinkKey::tag`]).
    pub outer: u16,
    /// The inner tag; 0: there is none, or it has a priority alone.
    pub inner: u16,
}

impl LinkKey {
    /// The identifier's bits in a tag.
    pub const ID: u16 = 0x0fff;
    /// The type of IEEE 802.1ad tags; all others are of 802.1Q.
    pub const SERVICE: u16 = 0x88a8;
    const OF_SERVICE: u16 = 0x8000;

    /// How a tag stands in a key, from its type and its control word: one identifier may be two
    /// VLANs.
    #[inline(always)]
    pub const fn tag(protocol: u16, control: u16) -> u16 {
        let of_service = if protocol == Self::SERVICE { Self::OF_SERVICE } else { 0 };
        control & Self::ID | of_service
    }
}

/// A tag as it stands in a frame, big-endian.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The tag's protocol, 0x8100 or 0x88a8.
    pub protocol: [u8; 2],
    /// Priority and identifier.
    pub control: [u8; 2],
}

/// How frames leave by a VLAN sub-interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// The interface index of the device at the bottom.
    pub device: u32,
    /// How many of `tags` are used.
    pub count: u32,
    /// The tags, outermost first.
    pub tags: [Tag; MAX_TAGS],
}

impl Egress {
    /// Frames with these tags, outermost first, each a protocol and an identifier; what is more
    /// than [`MAX_TAGS`] is left out.
    pub fn new(device: u32, tags: &[(u16, u16)]) -> Self {
        let mut egress = Self { device, ..Self::default() };
        for (place, (protocol, id)) in egress.tags.iter_mut().zip(tags) {
            *place = Tag { protocol: protocol.to_be_bytes(), control: id.to_be_bytes() };
            egress.count += 1;
        }
        egress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_in_a_key_has_its_type_and_no_priority() {
        assert_eq!(LinkKey::tag(0x8100, 0xe064), 100);
        let of_service = LinkKey::tag(LinkKey::SERVICE, 0xf064);
        assert_eq!((of_service & LinkKey::ID, of_service == 100), (100, false));
    }
}
