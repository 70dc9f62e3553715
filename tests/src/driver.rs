//! Feeds a program with many different frames at full speed.
//!
//! `BPF_PROG_TEST_RUN` repeats a program over one buffer and restores nothing in between, so a
//! program that translates packets would see its own output from the second time on. The driver
//! is a small XDP program in front of it, which copies the next of many prepared frames into the
//! buffer and goes on to the program under test by a tail call.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::bpf::{self, MapType, Run};
use crate::instructions::{
    ADD_K, ADD_X, CALL, EXIT, JGE_K, JGT_X, JLT_K, LDX_DW, LDX_W, MOV_K, MOV_X, MUL_K,
    PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, STX_DW, map, op,
};

/// Frames are copied by words of this many bytes.
const WORD: usize = 8;
/// The helper `bpf_tail_call(ctx = r1, map = r2, index = r3)`.
const TAIL_CALL: i32 = 12;
const XDP_ABORTED: i32 = 0;

/// Frames in the kernel's memory, which several drivers may share.
#[derive(Debug)]
pub struct Frames {
    map: OwnedFd,
    first: Vec<u8>,
    count: usize,
}

impl Frames {
    /// Prepares frames of one length, given one after the other, for a kernel that sees them as
    /// they are: a multiple of eight bytes each.
    ///
    /// # Errors
    /// When there is no frame or another length, and when the kernel refuses the map.
    pub fn new(length: usize, bytes: &[u8]) -> io::Result<Self> {
        let whole = length.is_multiple_of(WORD) && bytes.len().is_multiple_of(length);
        if !whole || bytes.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let map = bpf::create_map(MapType::Array, bytes.len(), 1)?;
        // SAFETY: the value has the size of which the map was made.
        unsafe { bpf::update_map(&map, 0, bytes)? };
        Ok(Self { map, first: bytes[..length].to_vec(), count: bytes.len() / length })
    }

    /// The first of them.
    pub fn first(&self) -> &[u8] {
        &self.first
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// The driver for one sequence of frames and one program under test.
#[derive(Debug)]
pub struct Driver {
    program: OwnedFd,
    /// The kernel empties an array of programs when its last descriptor goes.
    _programs: OwnedFd,
    first: Vec<u8>,
}

impl Driver {
    /// Runs go through the first `count` of these frames in their order, again and again.
    ///
    /// # Errors
    /// When there are not so many, and when the kernel refuses the maps or the program.
    pub fn new(frames: &Frames, count: usize, under_test: BorrowedFd<'_>) -> io::Result<Self> {
        if count == 0 || count > frames.count {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        // Which frame is next. It is this driver's own: the frames may be others' too.
        let next = bpf::create_map(MapType::Array, WORD, 1)?;
        let programs = bpf::create_map(MapType::Programs, 4, 1)?;
        // SAFETY: a program's descriptor has the four bytes of the map's values.
        unsafe { bpf::update_map(&programs, 0, &under_test.as_raw_fd().to_ne_bytes())? };
        let code = instructions(frames.first.len(), count, &next, &frames.map, &programs);
        let program = bpf::load_xdp(&code)?;
        Ok(Self { program, _programs: programs, first: frames.first.clone() })
    }

    /// Sends the next `count` frames to the program, as if they had come in by an interface of
    /// this thread's namespace.
    ///
    /// # Errors
    /// As [`bpf::test_run`].
    pub fn run(&self, count: u32, ingress: u32) -> io::Result<Run> {
        bpf::test_run(self.program.as_fd(), &self.first, count, ingress)
    }

    /// As [`Driver::run`] with frames that really go where the program's verdict sends them.
    ///
    /// # Errors
    /// As [`bpf::live_run`].
    pub fn run_live(&self, count: u32, ingress: u32) -> io::Result<()> {
        bpf::live_run(self.program.as_fd(), &self.first, count, ingress)
    }
}

/// The driver's program, in the words of `linux/bpf.h`.
fn instructions(
    length: usize,
    count: usize,
    next: &OwnedFd,
    frames: &OwnedFd,
    programs: &OwnedFd,
) -> Vec<u64> {
    let count = count as i32;
    let mut code = vec![
        op(LDX_W, 2, 1, 0, 0), // r2 = ctx->data
        op(LDX_W, 3, 1, 4, 0), // r3 = ctx->data_end
        op(MOV_X, 4, 2, 0, 0), // r4 = r2
        op(ADD_K, 4, 0, 0, length as i32),
    ];
    let [next, next_rest] = map(6, PSEUDO_MAP_VALUE, next); // r6 = &next
    let body = [
        next,
        next_rest,
        op(LDX_DW, 8, 6, 0, 0), // r8 = the next frame
        op(MOV_X, 9, 8, 0, 0),
        op(ADD_K, 9, 0, 0, 1), // r9 = the one after it
        op(JLT_K, 9, 0, 1, count),
        op(MOV_K, 9, 0, 0, 0),
        op(STX_DW, 6, 9, 0, 0),
    ];
    code.extend(body);
    // What follows up to the end, for the two jumps there.
    let mut rest = map(7, PSEUDO_MAP_VALUE, frames).to_vec(); // r7 = &frames
    rest.push(op(MUL_K, 8, 0, 0, length as i32));
    rest.push(op(ADD_X, 7, 8, 0, 0)); // r7 = &frame
    for word in (0..length).step_by(WORD) {
        rest.push(op(LDX_DW, 0, 7, word as i16, 0));
        rest.push(op(STX_DW, 2, 0, word as i16, 0));
    }
    rest.extend(map(2, PSEUDO_MAP_FD, programs));
    rest.push(op(MOV_K, 3, 0, 0, 0));
    rest.push(op(CALL, 0, 0, 0, TAIL_CALL));
    // Both for the verifier alone: the buffer has room, and the counter stays in bounds.
    code.insert(4, op(JGT_X, 4, 3, (body.len() + 1 + rest.len()) as i16, 0));
    code.push(op(JGE_K, 8, 0, rest.len() as i16, count));
    code.extend(rest);
    code.push(op(MOV_K, 0, 0, 0, XDP_ABORTED));
    code.push(op(EXIT, 0, 0, 0, 0));
    code
}
