//! The admin socket and the command `lb`, against a daemon that has no datapath.

mod check;
mod cli;
mod clients;
mod fake;
mod flows;
mod group;
mod http;
mod place;
mod random;
mod routes;
