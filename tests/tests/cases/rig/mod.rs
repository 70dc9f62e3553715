//! A balancer for cases of every kind: one namespace with a trunk to the clients and one to the
//! nodes, untagged and in VLANs, both families, services of every mode.
//!
//! ```text
//!   client 198.18.c.7 ── gateway 10.1.c.254 ── front [balancer] back ── node 10.2.n.11, .12, .13
//!   fd00:c:c::7          fd00:1:c::fe                                   fd00:2:n::b, ::c, ::d
//! ```
//!
//! The VLANs' sub-interfaces are veth devices that carry their subnets; the program is told which
//! tags stand for them. Nobody is at the far ends.

mod plan;
mod run;
mod table;
mod talk;
mod way;

pub use plan::{
    BLACKHOLE_CLIENT, Device, Family, Mode, NODE, NODES, PROHIBITED_CLIENT, SMALL_MTU,
    SMALL_MTU_CLIENT, UNREACHABLE_CLIENT, VIP,
};
pub use run::{Rig, Verdict};
pub use table::{Expected, Table, table};
pub use talk::{Heading, Talk};
pub use way::{Way, straight_ways, ways};
