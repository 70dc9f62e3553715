//! The kit itself, with the kernel routing in the balancer's place and no balancer program.

mod labs;
mod peers;
mod programs;
mod transfers;

use std::net::SocketAddr;

use lb_tests::lab::{Lab, LabPlan, PORT};
use lb_tests::peer::Server;

fn lab() -> Lab {
    Lab::build(LabPlan::default()).expect("a lab")
}

fn serve(lab: &Lab, i: usize) -> Server {
    let node = lab.node(i);
    Server::start(&node.netns, &node.name, node.address, PORT).expect("a server")
}

fn at_node(lab: &Lab, i: usize) -> SocketAddr {
    SocketAddr::new(lab.node(i).address, PORT)
}
