//! What the datapath counts for each backend.

/// Counts of one backend on one CPU; "in" is towards the backend. Bytes are those of the IP
/// packet, without the link's header.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendCounters {
    /// Packets sent to the backend.
    pub packets_in: u64,
    /// Bytes sent to the backend.
    pub bytes_in: u64,
    /// Packets from the backend to clients.
    pub packets_out: u64,
    /// Bytes from the backend to clients.
    pub bytes_out: u64,
    /// Connections that were given to the backend, proven or not.
    pub flows_new: u64,
    /// Connections that became proven.
    pub flows_proven: u64,
    /// Proven connections that ended.
    pub flows_ended: u64,
    /// Connections that had their proof while the table of proven flows was full.
    pub flows_refused: u64,
}

impl BackendCounters {
    /// The sum over CPUs.
    #[must_use]
    pub fn sum(counts: impl IntoIterator<Item = Self>) -> Self {
        counts.into_iter().fold(Self::default(), |a, b| Self {
            packets_in: a.packets_in + b.packets_in,
            bytes_in: a.bytes_in + b.bytes_in,
            packets_out: a.packets_out + b.packets_out,
            bytes_out: a.bytes_out + b.bytes_out,
            flows_new: a.flows_new + b.flows_new,
            flows_proven: a.flows_proven + b.flows_proven,
            flows_ended: a.flows_ended + b.flows_ended,
            flows_refused: a.flows_refused + b.flows_refused,
        })
    }
}
