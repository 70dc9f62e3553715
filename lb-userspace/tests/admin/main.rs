//! The admin socket and the command `lb`, against a daemon that has no datapath.

mod check;
mod cli;
mod clients;
mod fake;
mod flows;
mod http;
mod place;
mod routes;
