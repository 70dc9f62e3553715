//! What became of a packet.

/// What the XDP programs do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Sent out by XDP, or handed to the kernel to be sent.
    Transmit,
    /// Given to the kernel's stack, byte for byte as it came.
    Pass,
    /// Dropped, or replaced by an ICMP error or a RST to its sender.
    Drop,
}

macro_rules! outcomes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $action:ident;)+) => {
        /// Every way a packet's visit can end. Each is counted under its own name.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Outcome { $($(#[$doc])* $name,)+ }

        /// All outcomes, in the order of their counters.
        pub const OUTCOMES: &[Outcome] = &[$(Outcome::$name,)+];

        impl Outcome {
            /// Its name, as operators see it.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }

            /// What is done with the packet.
            pub const fn action(self) -> Action {
                match self { $(Self::$name => Action::$action,)+ }
            }
        }
    };
}

outcomes! {
    /// Translated and sent to a backend.
    Forwarded = "forwarded", Transmit;
    /// Translated and sent to a client.
    Returned = "returned", Transmit;
    /// An ICMP error about a packet of a flow: translated and sent to whom it concerns.
    IcmpTranslated = "icmp_translated", Transmit;
    /// Translated, and sent by the kernel's stack, since its next hop's link address is not known.
    NoNeighbour = "no_neighbour", Transmit;
    /// Translated, and sent by the kernel's stack, since its way out is no interface of ours.
    NotAttached = "not_attached", Transmit;
    /// Translated, and sent by the kernel's stack, since forwarding is off on the interface, or
    /// the route needs more than a link header (a tunnel).
    KernelRoute = "kernel_route", Transmit;
    /// Translated, and sent by the kernel's stack in fragments, since it is too large for the next
    /// link and may be fragmented.
    Fragmented = "fragmented", Transmit;
    /// Translated, and sent by the kernel's stack, since the frame lies in several buffers, and the
    /// driver of its way out takes only one from XDP.
    SeveralBuffers = "several_buffers", Transmit;
    /// Not for a service and not of a flow.
    NotOurs = "not_ours", Pass;
    /// Its headers contradict its length: the kernel discards it by its own rules.
    Malformed = "malformed", Pass;
    /// No backend of the service takes new connections, and nobody is told.
    NoBackend = "no_backend", Drop;
    /// No backend of the service takes new connections: the client was told by RST.
    Unavailable = "unavailable", Drop;
    /// Of a connection whose backend is down, suspended or drained: the sender was told by RST.
    BackendGone = "backend_gone", Drop;
    /// A fragment for a VIP whose first one did not come before it: its ports are not known.
    Fragment = "fragment", Drop;
    /// Flags that no stack sends, such as SYN together with FIN, or none at all.
    BadFlags = "bad_flags", Drop;
    /// From the address that it is for (LAND).
    Land = "land", Drop;
    /// For a service, from a VIP or an address that connections leave from: nobody else has it.
    SpoofedSource = "spoofed_source", Drop;
    /// A new connection of a client whose connections the service does not take.
    Denied = "denied", Drop;
    /// A new connection of a source that opens them faster than the service allows.
    TooManyNew = "too_many_new", Drop;
    /// For a service, from one of its own nodes, whose answer would not come back this way: the
    /// node was told by RST.
    Hairpin = "hairpin", Drop;
    /// No port is free to leave from, or its connection has just lost its own: the sender was told by
    /// RST.
    NoPort = "no_port", Drop;
    /// Its connection is not known, and proven ones have every entry of the flow table that it could
    /// have.
    TableFull = "table_full", Drop;
    /// An ICMP error about a packet of a flow, whose TTL ends here or that cannot be sent on: no
    /// error is told of an error.
    IcmpLost = "icmp_lost", Drop;
    /// Its TTL ends here: the sender was told by ICMP time exceeded.
    TtlExceeded = "ttl_exceeded", Drop;
    /// Too large for the next link: the sender was told by ICMP fragmentation needed, or packet too
    /// big.
    TooLarge = "too_large", Drop;
    /// No route to the next hop: the sender was told by ICMP network unreachable.
    NoRoute = "no_route", Drop;
    /// The route says prohibit: the sender was told by ICMP administratively prohibited.
    Prohibited = "prohibited", Drop;
    /// The route says blackhole: nobody is told.
    Blackhole = "blackhole", Drop;
    /// An ICMP error, a RST or a VLAN tag was due, and the frame had no room for it.
    NoHeadroom = "no_headroom", Drop;
    /// The kernel had to send it, and the ring to userspace was full.
    HandoffFull = "handoff_full", Drop;
    /// The kernel had to send it, and it is larger than what can be handed over.
    HandoffTooLarge = "handoff_too_large", Drop;
    /// A map of the configuration contradicts another: a defect, please report it.
    Inconsistent = "inconsistent", Drop;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_outcome_counts_in_its_own_place_under_its_own_name() {
        for (index, outcome) in OUTCOMES.iter().enumerate() {
            assert_eq!(*outcome as usize, index);
        }
        let names: HashSet<_> = OUTCOMES.iter().map(|outcome| outcome.as_str()).collect();
        assert_eq!(names.len(), OUTCOMES.len());
    }
}
