//! The programs of the object: a packet enters by one, and goes on to another where it needs more
//! than the common case. The verifier looks at each by itself.

/// The program that interfaces have.
pub const ENTRY: &str = "lb";

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// A program that another one calls.
        #[repr(u32)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Step { $($(#[$doc])* $name,)+ }

        impl Step {
            /// All of them, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The program's name in the object.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }
    };
}

steps! {
    /// Finds the headers of what is not a plain TCP packet.
    Sort = "sort";
    /// TCP over IPv4, in whatever state its connection is.
    Tcp4 = "tcp4";
    /// TCP over IPv6.
    Tcp6 = "tcp6";
    /// TCP over IPv4 that may answer to the port of a translated address.
    Paired4 = "paired4";
    /// TCP over IPv6 that may answer to the port of a translated address.
    Paired6 = "paired6";
    /// A TCP packet to a service without a connection, over IPv4.
    Admit4 = "admit4";
    /// A TCP packet to a service without a connection, over IPv6.
    Admit6 = "admit6";
    /// A TCP packet of a connection that a node has opened itself, over IPv4.
    Outbound4 = "outbound4";
    /// A TCP packet of a connection that a node has opened itself, over IPv6.
    Outbound6 = "outbound6";
    /// A TCP packet by which a node opens a connection itself, over IPv4.
    Open4 = "open4";
    /// A TCP packet by which a node opens a connection itself, over IPv6.
    Open6 = "open6";
    /// A TCP packet over IPv4 whose way is found.
    Send4 = "send4";
    /// A TCP packet over IPv6 whose way is found.
    Send6 = "send6";
    /// An ICMP error about a packet of ours.
    Icmp4 = "icmp4";
    /// An ICMPv6 error about a packet of ours.
    Icmp6 = "icmp6";
    /// An ICMP error about a packet whose way is found.
    Translate4 = "translate4";
    /// An ICMPv6 error about a packet whose way is found.
    Translate6 = "translate6";
    /// A later fragment of an IPv4 packet.
    Later4 = "later4";
    /// A later fragment of an IPv6 packet.
    Later6 = "later6";
    /// Tells the sender of an IPv4 packet why it does not go on.
    Answer4 = "answer4";
    /// Tells the sender of an IPv6 packet why it does not go on.
    Answer6 = "answer6";
    /// Hands a packet to the kernel's stack, which sends it.
    Handoff = "handoff";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_numbered_in_their_order() {
        for (number, step) in Step::ALL.iter().enumerate() {
            assert_eq!(*step as usize, number);
        }
    }
}
