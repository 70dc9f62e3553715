//! What goes on around a balancer that runs, and is not to trouble it: a storm of reloads, a clock that is set, a log
//! that nobody reads.

mod clock;
mod log;
mod reloads;
mod rig;
