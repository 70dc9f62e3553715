//! The tables themselves: proven and unproven flows, of each family.

use aya_ebpf::{
    btf_maps::{HashMap, LruHashMap},
    macros::btf_map,
};
use lb_common::{Flow, FlowKey, Ip, Ip4, UNPROVEN_CAPACITY, UNPROVEN6_CAPACITY};

/// The daemon sets the real capacity when it loads the program.
const DEFAULT_CAPACITY: usize = 1 << 20;

/// Its memory is taken entry by entry (`BPF_F_NO_PREALLOC`): most balancers have no IPv6 flows.
const NO_PREALLOC: usize = 1;

#[btf_map]
pub static PROVEN: HashMap<FlowKey<Ip4>, Flow, DEFAULT_CAPACITY> = HashMap::new();

#[btf_map]
pub static UNPROVEN: LruHashMap<FlowKey<Ip4>, Flow, { UNPROVEN_CAPACITY as usize }> =
    LruHashMap::new();

#[btf_map]
pub static PROVEN6: HashMap<FlowKey<Ip>, Flow, DEFAULT_CAPACITY, NO_PREALLOC> = HashMap::new();

#[btf_map]
pub static UNPROVEN6: LruHashMap<FlowKey<Ip>, Flow, { UNPROVEN6_CAPACITY as usize }> =
    LruHashMap::new();

/// One of the tables.
pub trait Table<K> {
    fn find(&self, key: &K) -> Option<*mut Flow>;
    /// Whether the entry is there now.
    fn put(&self, key: &K, flow: &Flow, flags: u32) -> bool;
    /// Whether there was an entry.
    fn take_out(&self, key: &K) -> bool;
}

macro_rules! tables { ($($map:ident),+) => { $(
    impl<K, const N: usize, const F: usize> Table<K> for &'static $map<K, Flow, N, F> {
        #[inline(always)]
        fn find(&self, key: &K) -> Option<*mut Flow> {
            self.get_ptr_mut(key)
        }

        #[inline(always)]
        fn put(&self, key: &K, flow: &Flow, flags: u32) -> bool {
            self.insert(key, flow, flags.into()).is_ok()
        }

        #[inline(always)]
        fn take_out(&self, key: &K) -> bool {
            self.remove(key).is_ok()
        }
    }
)+ } }
tables!(HashMap, LruHashMap);
