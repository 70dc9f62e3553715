//! When a flow that is not proven is over.

use lb_common::{Flow, FlowState, table::ticks_since};

/// How long a closed flow's last packets are still known, in ticks: longer than TIME-WAIT lasts
/// in Linux.
const LINGER: u32 = 60;
/// How long a connection may take to open, in ticks: Linux gives up a SYN after 127 s.
const OPENING: u32 = 130;

/// Whether it is to be removed at the tick `now`.
pub(super) fn is_stale(flow: &Flow, now: u32) -> bool {
    let idle = ticks_since(flow.last_seen, now);
    match flow.state() {
        FlowState::Closed => idle > LINGER,
        FlowState::Opening | FlowState::Answered | FlowState::Recovering => idle > OPENING,
        // It was proven, and will be so again with its next packet.
        FlowState::Established | FlowState::Closing => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proven_flows_have_no_timer_and_others_have() {
        let mut flow = Flow::opening(1, 2, 1000);
        assert!(!is_stale(&flow, 1000 + OPENING));
        assert!(is_stale(&flow, 1001 + OPENING));
        flow.state = FlowState::Established as u8;
        assert!(!is_stale(&flow, 1_000_000));
        flow.state = FlowState::Closed as u8;
        assert!(!is_stale(&flow, 1000 + LINGER));
        assert!(is_stale(&flow, 1001 + LINGER));
        assert!(!is_stale(&flow, 900), "a packet came after the clock was read");
    }
}
