//! Where the frames of a [`generator`](crate::generator) end, and are counted: not in the stack of a host, which
//! would answer them.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use anyhow::{Context as _, Result};

use crate::bpf::{self, MapType};
use crate::generator::FRAME;
use crate::instructions::{
    ADD_K, ATOMIC_DW, EXIT, JGT_X, JNE_K, JNE_X, LDX_B, LDX_H, LDX_W, MOV_K, MOV_X,
    PSEUDO_MAP_VALUE, map, op,
};
use crate::netns::Netns;
use crate::verdict::{self, Verdict};

const ETHERTYPE: i16 = 12;
const IPV4: i32 = 0x0800_u16.to_be() as i32;
const PROTOCOL: i16 = 23;
const TCP: i32 = 6;

/// An XDP program that drops and counts generated frames, and lets others pass: those of a real stack are not as
/// long, since veth needs no padding.
#[derive(Debug)]
pub struct Sink {
    program: OwnedFd,
    counter: OwnedFd,
}

impl Sink {
    /// It has counted none.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn new() -> io::Result<Self> {
        let counter = bpf::create_map(MapType::Array, size_of::<u64>(), 1)?;
        let program = bpf::load_xdp(&instructions(&counter))?;
        Ok(Self { program, counter })
    }

    /// Puts it on an interface, in place of another program.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn attach(&self, netns: &Netns, interface: &str) -> Result<()> {
        verdict::attach_program(netns, interface, self.program.as_fd())
    }

    /// How many frames have come.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn count(&self) -> Result<u64> {
        let mut value = [0; size_of::<u64>()];
        // SAFETY: it is as long as the values of this map.
        unsafe { bpf::read_map(&self.counter, 0, &mut value) }.context("cannot read a counter")?;
        Ok(u64::from_ne_bytes(value))
    }
}

fn instructions(counter: &OwnedFd) -> Vec<u64> {
    let [counter, counter_rest] = map(1, PSEUDO_MAP_VALUE, counter); // r1 = &counter
    let sink = [
        counter,
        counter_rest,
        op(MOV_K, 2, 0, 0, 1),
        op(ATOMIC_DW, 1, 2, 0, 0), // counter += 1
        op(MOV_K, 0, 0, 0, Verdict::Drop as i32),
        op(EXIT, 0, 0, 0, 0),
    ];
    // All that is no generated frame goes on after this.
    let to_pass = |left: usize| (left + sink.len()) as i16;
    let mut code = vec![
        op(LDX_W, 2, 1, 0, 0), // r2 = ctx->data
        op(LDX_W, 3, 1, 4, 0), // r3 = ctx->data_end
        op(MOV_X, 4, 2, 0, 0),
        op(ADD_K, 4, 0, 0, FRAME as i32), // r4 = the end of a generated frame
        op(JGT_X, 4, 3, to_pass(5), 0),
        op(JNE_X, 4, 3, to_pass(4), 0),
        op(LDX_H, 5, 2, ETHERTYPE, 0),
        op(JNE_K, 5, 0, to_pass(2), IPV4),
        op(LDX_B, 5, 2, PROTOCOL, 0),
        op(JNE_K, 5, 0, to_pass(0), TCP),
    ];
    code.extend(sink);
    code.extend([op(MOV_K, 0, 0, 0, Verdict::Pass as i32), op(EXIT, 0, 0, 0, 0)]);
    code
}
