//! What networks really send, case by case: the object that `lb` carries, fed by the kernel's
//! `BPF_PROG_TEST_RUN`, and every byte that comes out compared with what an independent library
//! says it should be.
//!
//! A case is a name, a frame and what becomes of it. It is described once, and run in every mode,
//! family and tagging in which it means something (see [`rig::Way`]); what fails is listed with
//! all of that and the bytes, when the table is through.

mod answers;
mod direct;
mod errors;
mod extensions;
mod fragments;
mod hostile;
mod malformed;
mod plain;
mod rig;
mod strange;
mod vlans;
