//! Features of network drivers, as `ethtool -k` lists them: read and switched by the ioctl
//! `SIOCETHTOOL` (include/uapi/linux/ethtool.h, `ethtool_gfeatures` and `ethtool_sfeatures`).
//!
//! A feature is known to userspace by its name alone; which bit it is differs between kernels.

use std::ffi::c_char;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

const ETHTOOL_GSTRINGS: u32 = 0x1b;
const ETHTOOL_GSSET_INFO: u32 = 0x37;
const ETHTOOL_GFEATURES: u32 = 0x3a;
const ETHTOOL_SFEATURES: u32 = 0x3b;
/// The set of strings that are names of features.
const ETH_SS_FEATURES: u32 = 4;
/// Length of a string, with zeroes behind it.
const ETH_GSTRING_LEN: usize = 32;
/// Features in a block of the kernel's.
const BLOCK: usize = u32::BITS as usize;

/// The drivers of the network namespace that it was opened in.
#[derive(Debug)]
pub struct Ethtool {
    socket: OwnedFd,
}

/// A feature of an interface's driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// It is on.
    pub active: bool,
    /// It can be switched.
    pub changeable: bool,
}

impl Ethtool {
    /// Any socket will do: the ioctl is about an interface.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Inet, SockType::Datagram, flags, None)?;
        Ok(Self { socket })
    }

    /// The feature called `name`; `None` where the kernel has none of that name.
    pub fn feature(&self, interface: &str, name: &str) -> io::Result<Option<Feature>> {
        let names = self.names(interface)?;
        let Some(bit) = position(&names, name) else { return Ok(None) };
        let blocks = blocks(&names);
        // Command, number of blocks, and of each: available, requested, active, never_changed.
        let mut request = vec![0; 2 + 4 * blocks];
        request[0] = ETHTOOL_GFEATURES;
        request[1] = blocks as u32;
        // SAFETY: the kernel writes as many blocks as the request says, and it has room for those.
        unsafe { self.call(interface, &mut request) }?;
        let (block, mask) = (2 + 4 * (bit / BLOCK), 1 << (bit % BLOCK));
        let has = |word: u32| word & mask != 0;
        Ok(Some(Feature { active: has(request[block + 2]), changeable: has(request[block]) }))
    }

    /// Switches the feature called `name`. What the driver makes of it is to be read again.
    pub fn set(&self, interface: &str, name: &str, on: bool) -> io::Result<()> {
        let names = self.names(interface)?;
        let bit = position(&names, name).ok_or(io::ErrorKind::NotFound)?;
        let blocks = blocks(&names);
        // Command, number of blocks, and of each: valid, requested.
        let mut request = vec![0; 2 + 2 * blocks];
        request[0] = ETHTOOL_SFEATURES;
        request[1] = blocks as u32;
        let (block, mask) = (2 + 2 * (bit / BLOCK), 1 << (bit % BLOCK));
        request[block] = mask;
        request[block + 1] = if on { mask } else { 0 };
        // SAFETY: the kernel reads as many blocks as the request says, which are there.
        unsafe { self.call(interface, &mut request) }
    }

    /// The names of all features, in the order of their bits.
    fn names(&self, interface: &str) -> io::Result<Vec<[u8; ETH_GSTRING_LEN]>> {
        // Command, reserved, the sets asked for in 64 bits, the length of the one.
        let mut info = [0_u32; 5];
        info[0] = ETHTOOL_GSSET_INFO;
        let sets = (1_u64 << ETH_SS_FEATURES).to_ne_bytes();
        for (word, bytes) in info[2..4].iter_mut().zip(sets.as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        // SAFETY: one set is asked for, so the kernel writes one length, for which there is room.
        unsafe { self.call(interface, &mut info) }?;
        let count = info[4] as usize;

        // Command, set, number of strings, and the strings.
        let mut strings = vec![0; 3 + count * ETH_GSTRING_LEN / size_of::<u32>()];
        strings[0] = ETHTOOL_GSTRINGS;
        strings[1] = ETH_SS_FEATURES;
        strings[2] = info[4];
        // SAFETY: the kernel writes all strings of the set. Their number is a constant of the
        // running kernel (net/ethtool/common.c, `netdev_features_strings`), and there is room for
        // as many.
        unsafe { self.call(interface, &mut strings) }?;
        let bytes: Vec<u8> = strings[3..].iter().flat_map(|word| word.to_ne_bytes()).collect();
        Ok(bytes.as_chunks().0.to_vec())
    }

    /// Carries out the command that `request` begins with, on an interface.
    ///
    /// # Safety
    /// `request` has the layout of the command, with room for all that the kernel writes there.
    unsafe fn call(&self, interface: &str, request: &mut [u32]) -> io::Result<()> {
        let mut name = [0; libc::IFNAMSIZ];
        // The kernel takes a shorter name for one that ends with a zero.
        if interface.len() >= name.len() {
            return Err(io::Error::from_raw_os_error(libc::ENODEV));
        }
        for (to, from) in name.iter_mut().zip(interface.bytes()) {
            *to = from as c_char;
        }
        let ifru_data = request.as_mut_ptr().cast();
        let mut arguments =
            libc::ifreq { ifr_name: name, ifr_ifru: libc::__c_anonymous_ifr_ifru { ifru_data } };
        // SAFETY: `arguments` is what SIOCETHTOOL takes, and outlives the call, as does what it
        // points at; that this is of the right size is the caller's word.
        let result =
            unsafe { libc::ioctl(self.socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut arguments) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

fn position(names: &[[u8; ETH_GSTRING_LEN]], wanted: &str) -> Option<usize> {
    names.iter().position(|name| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        name[..end] == *wanted.as_bytes()
    })
}

/// Blocks that hold all features: the kernel takes no other number of them.
fn blocks(names: &[[u8; ETH_GSTRING_LEN]]) -> usize {
    names.len().div_ceil(BLOCK)
}
