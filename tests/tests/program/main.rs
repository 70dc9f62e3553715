//! The XDP program itself, by the kernel's `BPF_PROG_TEST_RUN`: the object that `lb` carries,
//! loaded and fed as the daemon does it, one frame in and one frame and verdict out, judged by a
//! packet library that shares no code with the datapath.
//!
//! Each test has a balancer of its own in a network namespace of its own (see [`rig`]).

mod access;
mod at_once;
mod capacity;
mod choosing;
mod complaints;
mod connections;
mod contested;
mod flags;
mod floods;
mod full_nat;
mod handoffs;
mod jumbo;
mod least;
mod malformed;
mod next_hops;
mod object;
mod outbound;
mod over;
mod ports;
mod pressure;
mod random;
mod recovery;
mod rig;
mod round_trip;
mod same_ends;
mod signs;
mod taken_over;
mod tiers;
mod trace;
mod translation;
mod untouched;
