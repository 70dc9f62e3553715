//! The instructions of small programs, in the words of `linux/bpf.h`.

use std::os::fd::{AsRawFd as _, OwnedFd};

// Operation codes: class, width or operation, source.
pub(crate) const LDX_B: u8 = 0x71;
pub(crate) const LDX_H: u8 = 0x69;
pub(crate) const LDX_W: u8 = 0x61;
pub(crate) const LDX_DW: u8 = 0x79;
pub(crate) const STX_DW: u8 = 0x7b;
/// What it does to memory says the immediate: 0 adds.
pub(crate) const ATOMIC_DW: u8 = 0xdb;
pub(crate) const LD_IMM_DW: u8 = 0x18;
pub(crate) const ADD_K: u8 = 0x07;
pub(crate) const ADD_X: u8 = 0x0f;
pub(crate) const MUL_K: u8 = 0x27;
pub(crate) const MOV_K: u8 = 0xb7;
pub(crate) const MOV_X: u8 = 0xbf;
pub(crate) const JGE_K: u8 = 0x35;
pub(crate) const JGT_X: u8 = 0x2d;
pub(crate) const JNE_K: u8 = 0x55;
pub(crate) const JNE_X: u8 = 0x5d;
pub(crate) const JLT_K: u8 = 0xa5;
pub(crate) const CALL: u8 = 0x85;
pub(crate) const EXIT: u8 = 0x95;

/// What a map's descriptor in an instruction stands for: the map, or its only value.
pub(crate) const PSEUDO_MAP_FD: u8 = 1;
pub(crate) const PSEUDO_MAP_VALUE: u8 = 2;

/// One instruction: `struct bpf_insn`.
pub(crate) fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> u64 {
    let [low, high] = offset.to_ne_bytes();
    let [a, b, c, d] = immediate.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") {
        source << 4 | destination
    } else {
        destination << 4 | source
    };
    u64::from_ne_bytes([code, registers, low, high, a, b, c, d])
}

/// Two instructions that load a map's address.
pub(crate) fn map(destination: u8, what: u8, map: &OwnedFd) -> [u64; 2] {
    [op(LD_IMM_DW, destination, what, 0, map.as_raw_fd()), op(0, 0, 0, 0, 0)]
}
