//! What lb asks of the kernel's network configuration, against the kernel.

mod forwarding;
mod neighbours;
mod rig;
mod vips;
mod xdp_mode;
