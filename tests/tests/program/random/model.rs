//! Who is translated to whom: what the program has done so far, and what it may do.

use std::{
    collections::{HashMap, HashSet},
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
};

use lb_userspace::desired::{Desired, DesiredService};

/// Source and destination.
pub type Ends = (SocketAddr, SocketAddr);

/// What is known of connections from the packets that went on.
pub struct Model {
    desired: Desired,
    ports: RangeInclusive<u16>,
    /// From a backend to whom it sees, and in whose name → from the VIP to the client. A backend
    /// that sees the client itself cannot tell its connections to two VIPs apart.
    answers: HashMap<(Ends, SocketAddr), Ends>,
    /// Client and VIP of packets that did not go on: they may have opened connections, from ports
    /// that nobody has seen, beside one of which later packets do go on.
    unseen: HashSet<Ends>,
    /// The port of a VIP from which connections of nodes leave → the last one that had it.
    nodes: HashMap<SocketAddr, SocketAddr>,
    /// Addresses and identification of a first fragment → the same as it went on.
    fragments: HashMap<(IpAddr, IpAddr, u32), (IpAddr, IpAddr)>,
}

impl Model {
    /// Of a balancer that gives out these ports.
    pub fn new(desired: Desired, ports: RangeInclusive<u16>) -> Self {
        Self {
            desired,
            ports,
            answers: HashMap::new(),
            unseen: HashSet::new(),
            nodes: HashMap::new(),
            fragments: HashMap::new(),
        }
    }

    /// A packet went on with other ends.
    pub fn goes_on(&mut self, sent: Ends, came: Ends) -> Result<(), &'static str> {
        let is_of_another = self.nodes.get(&sent.1).is_some_and(|node| *node != came.1);
        if self.answers.get(&(sent, came.0)) == Some(&came) && !is_of_another {
            return Ok(());
        }
        let service = self.desired.services.iter().find(|service| service.vip == sent.1);
        if let Some(service) = service {
            self.may_forward(service, sent, came)?;
        } else {
            if self.unseen.contains(&(came.1, came.0)) && self.speaks_for(sent.0, came.0) {
                self.note_answer(sent, came);
                if self.nodes.contains_key(&sent.1) {
                    self.nodes.insert(sent.1, came.1);
                }
                return Ok(());
            }
            self.may_leave(sent, came)?;
            self.nodes.insert(came.0, sent.0);
        }
        self.note_answer((came.1, came.0), (sent.1, sent.0));
        Ok(())
    }

    /// What comes from `answer` goes on as `told` from now on.
    fn note_answer(&mut self, answer: Ends, told: Ends) {
        if answer.1 != told.1 {
            // The port that the backend sees is of one connection alone.
            for service in &self.desired.services {
                self.answers.remove(&(answer, service.vip));
            }
        }
        self.answers.insert((answer, told.0), told);
    }

    /// Whether what an end says may be said in the name of another one.
    fn speaks_for(&self, end: SocketAddr, name: SocketAddr) -> bool {
        let mut backends = self.desired.backends.iter();
        end == name || backends.any(|its| its.vip == name && its.address == end)
    }

    fn may_forward(
        &self,
        service: &DesiredService,
        (client, _): Ends,
        (seen, far): Ends,
    ) -> Result<(), &'static str> {
        let its = |backend: &&lb_userspace::desired::DesiredBackend| backend.service == service.id;
        if !self.desired.backends.iter().filter(its).any(|backend| backend.address == far) {
            return Err("it went to no backend of its service");
        }
        if service.snat.is_empty() {
            return if seen == client { Ok(()) } else { Err("the client's address changed") };
        }
        let may = service.snat.contains(&seen.ip()) && self.ports.contains(&seen.port());
        if may { Ok(()) } else { Err("it left from no address and port of its service") }
    }

    fn may_leave(&self, (node, to): Ends, (seen, far): Ends) -> Result<(), &'static str> {
        let desired = &self.desired;
        let is_node = |ip: IpAddr| desired.backends.iter().any(|its| its.address.ip() == ip);
        let vips: HashSet<_> = desired.services.iter().map(|service| service.vip.ip()).collect();
        let of_node = desired.services.iter().any(|service| {
            let mut nodes = desired.backends.iter().filter(|its| its.service == service.id);
            service.outbound_nat
                && service.vip.ip() == seen.ip()
                && nodes.any(|its| its.address.ip() == node.ip())
        });
        if !of_node {
            return Err("it is neither for a service nor of a node that leaves from there");
        }
        if far != to || is_node(to.ip()) || vips.contains(&to.ip()) {
            return Err("a node's packet went where it must not go");
        }
        let of_service = desired.services.iter().any(|service| service.vip == seen);
        if of_service || !self.ports.contains(&seen.port()) {
            return Err("a node's packet left from a port that is not given out");
        }
        Ok(())
    }

    /// A packet did not go on.
    pub fn ends_here(&mut self, sent: Ends) {
        self.unseen.insert(sent);
    }

    /// Whether an answer to `quoted`, had its receiver sent one, would have come back as the answer
    /// to `told`: what an error may be told to be about.
    pub fn is_about(&self, quoted: Ends, told: Ends) -> bool {
        let ((from, to), (told_from, told_to)) = (quoted, told);
        self.answers.get(&((to, from), told_to)) == Some(&(told_to, told_from))
            || self.answers.get(&((told_from, told_to), from)) == Some(&(from, to))
            || self.unseen.contains(&told)
            || self.unseen.contains(&(to, from))
    }

    /// A first fragment went on.
    pub fn note_first(&mut self, sent: (IpAddr, IpAddr), id: u32, came: (IpAddr, IpAddr)) {
        self.fragments.insert((sent.0, sent.1, id), came);
    }

    /// Whether a later one follows the first.
    pub fn follows(&self, sent: (IpAddr, IpAddr), id: u32, came: (IpAddr, IpAddr)) -> bool {
        self.fragments.get(&(sent.0, sent.1, id)) == Some(&came)
    }
}
