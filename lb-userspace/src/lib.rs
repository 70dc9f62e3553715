//! The daemon of lb and the command of its operator.
//!
//! Control flows one way: the config file, keepalives and operators' orders → desired state
//! (plain data) → map writes.

pub mod access;
pub mod admin;
pub mod cli;
pub mod config;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod desired;
pub mod detach;
pub mod events;
pub mod explain;
pub mod keepalive;
pub mod listing;
pub mod maglev;
pub mod metrics;
pub mod net;
pub mod persist;
pub mod plan;
pub mod privileges;
pub mod report;
pub mod state;
pub mod top;
pub mod trace;
pub mod translations;
