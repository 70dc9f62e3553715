//! `lb trace` in the lab: real connections through the VIP, and what is told of their packets.

mod ending;
mod files;
mod looking;
mod telling;
