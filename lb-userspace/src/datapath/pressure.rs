//! Which flows to forget when the table of proven flows is nearly full.

/// The table is nearly full from this part of its capacity on, in sixteenths.
const NEARLY_FULL: u64 = 15;
/// A flow that was idle for less, in ticks, is never forgotten: it is in use.
const SPARED: u32 = 120;

/// The idle time, in ticks, from which on proven flows are forgotten so that a sixteenth of the
/// capacity becomes free; nothing where the table is not nearly full or all flows are in use.
pub(super) fn forget_from(idle: &mut [u32], capacity: u32) -> Option<u32> {
    let capacity = u64::from(capacity);
    if (idle.len() as u64) * 16 < capacity * NEARLY_FULL {
        return None;
    }
    let too_many = (capacity / 16).max(1) as usize;
    let (_, oldest, _) = idle.select_nth_unstable(idle.len().checked_sub(too_many)?);
    Some((*oldest).max(SPARED))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_with_room_forgets_nothing() {
        assert_eq!(forget_from(&mut [1000; 14], 16), None);
        assert_eq!(forget_from(&mut [], 0), None);
    }

    #[test]
    fn the_idlest_sixteenth_goes() {
        let mut idle: Vec<u32> = (1000..1160).collect();
        assert_eq!(forget_from(&mut idle, 160), Some(1150));
    }

    #[test]
    fn flows_in_use_stay_whatever_comes() {
        let mut idle = vec![3; 160];
        assert_eq!(forget_from(&mut idle, 160), Some(SPARED));
    }
}
