//! What lb asks of the kernel's network configuration, against the kernel.

mod changes;
mod forwarding;
mod neighbours;
mod neighbours6;
mod own;
mod rig;
mod scattering;
mod stacked;
mod vips;
mod vips6;
mod xdp_mode;
