//! Says once that something is nearly full, and once that it has room again.

use std::collections::BTreeSet;

/// From this part on, in percent, something is nearly full.
const HIGH: u64 = 80;
/// Below this part, in percent, it has room again. What goes up and down between the two is told once.
const LOW: u64 = 70;

/// What has been nearly full since it last had room.
#[derive(Debug, Clone)]
pub struct Watermarks<K>(BTreeSet<K>);

/// What is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// It is nearly full.
    High,
    /// It has room again.
    Low,
}

impl<K> Default for Watermarks<K> {
    fn default() -> Self {
        Self(BTreeSet::new())
    }
}

impl<K: Ord> Watermarks<K> {
    /// What is to be told of `key`, of which `used` of `capacity` are in use. Nothing can be full that has
    /// no room at all.
    pub fn look(&mut self, key: K, used: u64, capacity: u64) -> Option<Crossing> {
        let part = used.saturating_mul(100);
        if capacity > 0 && part >= capacity.saturating_mul(HIGH) {
            return self.0.insert(key).then_some(Crossing::High);
        }
        let low = capacity == 0 || part < capacity.saturating_mul(LOW);
        (low && self.0.remove(&key)).then_some(Crossing::Low)
    }

    /// Forgets whatever is not there any more.
    pub fn retain(&mut self, is_there: impl FnMut(&K) -> bool) {
        self.0.retain(is_there);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_crossing_is_told_once() {
        let mut marks = Watermarks::default();
        let mut look = |used| marks.look("table", used, 1000);
        assert_eq!(look(799), None);
        assert_eq!(look(800), Some(Crossing::High));
        for used in [1000, 850, 799, 700, 800] {
            assert_eq!(look(used), None, "{used}");
        }
        assert_eq!(look(699), Some(Crossing::Low));
        assert_eq!(look(0), None);
        assert_eq!(look(1000), Some(Crossing::High));
    }

    #[test]
    fn each_thing_has_marks_of_its_own() {
        let mut marks = Watermarks::default();
        assert_eq!(marks.look(1, 9, 10), Some(Crossing::High));
        assert_eq!(marks.look(2, 9, 10), Some(Crossing::High));
        assert_eq!(marks.look(2, 1, 10), Some(Crossing::Low));
        marks.retain(|key| *key != 1);
        assert_eq!(marks.look(1, 9, 10), Some(Crossing::High), "it is another one");
    }

    #[test]
    fn what_has_no_room_is_never_full() {
        let mut marks = Watermarks::default();
        assert_eq!(marks.look((), 0, 0), None);
        assert_eq!(marks.look((), 8, 10), Some(Crossing::High));
        assert_eq!(marks.look((), 0, 0), Some(Crossing::Low));
    }

    proptest! {
        #[test]
        fn high_and_low_take_turns(uses in prop::collection::vec(0..=100_u64, 0..200)) {
            let mut marks = Watermarks::default();
            let told: Vec<_> = uses.iter().filter_map(|used| marks.look((), *used, 100)).collect();
            for (at, crossing) in told.iter().enumerate() {
                let turn = if at % 2 == 0 { Crossing::High } else { Crossing::Low };
                prop_assert_eq!(*crossing, turn);
            }
        }
    }
}
