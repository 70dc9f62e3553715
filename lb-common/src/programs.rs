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
    /// TCP over IPv4, with tags or as a first fragment.
    Tcp4 = "tcp4";
    /// TCP over IPv6.
    Tcp6 = "tcp6";
    /// A TCP packet without a connection, over IPv4.
    Admit4 = "admit4";
    /// A TCP packet without a connection, over IPv6.
    Admit6 = "admit6";
    /// A TCP packet over IPv6 whose way is found.
    Send6 = "send6";
    /// An ICMP error about a packet of ours.
    Icmp4 = "icmp4";
    /// An ICMPv6 error about a packet of ours.
    Icmp6 = "icmp6";
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
