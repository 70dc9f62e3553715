//! The test kit of lb: everything that a suite, the lab and the demo need around the balancer, and
//! nothing of the balancer itself.
//!
//! [`netns`] makes network namespaces, [`lab`] wires them up as client, balancer and nodes,
//! [`peer`] and [`sipp`] are real TCP peers to run in them, [`daemon`] runs `lb` between them,
//! [`balanced`] is all of that put together, [`terminal`] is where its operator sits. [`packet`] builds and judges single frames with an
//! independent library, [`driver`] feeds a program with many of them, and [`generator`] sends them
//! through a lab, to where [`sink`] counts them. [`bench`] is what benchmarks say.
//!
//! Linux only; making namespaces needs root.

pub mod balanced;
pub mod bench;
pub mod bpf;
pub mod daemon;
pub mod driver;
pub mod generator;
mod instructions;
pub mod lab;
pub mod limits;
pub mod netns;
pub mod packet;
pub mod peer;
pub mod pins;
pub mod sink;
pub mod sipp;
pub mod terminal;
pub mod traces;
pub mod verdict;
pub mod wait;
