//! The tables themselves, and how an entry of each tells whose it is.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::{
    Address, Backend, Flow, FlowKey, Ip, Ip4,
    table::{self, Entry, Id, WAYS, WideEntry},
};

use crate::atomic::opaque;

/// The daemon sets the real numbers when it loads the program.
const DEFAULT_BUCKETS: usize = 1 << 19;
/// The daemon shares the entries by memory (`BPF_F_MMAPABLE`, kernel 5.5); and so they begin on
/// cache lines.
const MMAPABLE: usize = 0x400;
/// The inner maps of one array may differ in size (`BPF_F_INNER_MAP`, kernel 5.10).
const INNER_MAP: usize = 0x1000;

type Bucket = [Entry; WAYS as usize];

#[btf_map]
static NARROW: Array<Bucket, DEFAULT_BUCKETS, MMAPABLE> = Array::new();

/// Of words, as `maps::MAGLEV`: Linux 6.1 takes no structures here.
type WideBucket = [u64; size_of::<WideEntry>() / 8 * WAYS as usize];

/// The daemon puts the table in when the configuration needs it.
#[btf_map]
static WIDE: ArrayOfMaps<Array<WideBucket, 2, { INNER_MAP | MMAPABLE }>, 1> = ArrayOfMaps::new();

/// What hashes begin with: nobody outside knows it, and so nobody can choose ends that share
/// buckets.
#[unsafe(no_mangle)]
static SEED: u64 = 0;

/// One less than the buckets of a table.
#[unsafe(no_mangle)]
static BUCKET_MASK: u32 = 0;

/// One of the tables, and which of its flows.
pub trait Table {
    /// Addresses in its flows' keys.
    type Address: Address;
    /// The length of an entry, in bytes.
    const ENTRY: usize;
    /// Entries in a cache line, one or two.
    const PER_LINE: u32 = 64 / Self::ENTRY as u32;
    /// Whether nodes opened its flows.
    const OUTBOUND: bool;

    fn hash(key: &FlowKey<Self::Address>, seed: u64) -> u64;

    /// The first entry of a bucket.
    fn bucket(number: u32) -> Option<*mut u8>;

    /// Which entries of a cache line are of the key's client, by a bit each: the first, the second.
    ///
    /// # Safety
    /// The line is one of a table.
    unsafe fn of_client(line: *mut u8, key: &FlowKey<Self::Address>) -> u32;

    /// Whether an entry is of the key's client.
    ///
    /// # Safety
    /// The entry is one of the table.
    unsafe fn is_of_client(entry: *mut Entry, key: &FlowKey<Self::Address>) -> bool;

    /// Whether an entry is of the key's VIP.
    ///
    /// # Safety
    /// The entry is one of the table, and `backend` that of its slot.
    unsafe fn is_to_vip(entry: *mut Entry, key: &FlowKey<Self::Address>, backend: &Backend)
    -> bool;

    /// Writes all of an entry but its life.
    ///
    /// # Safety
    /// The entry is one of the table, and nobody else's.
    unsafe fn write(entry: *mut Entry, key: &FlowKey<Self::Address>, flow: &Flow);
}

/// Which buckets of a key are meant.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// Those where packets look first.
    First,
    /// Those for when proven flows have all of the first.
    Further,
}

/// The buckets of a key.
#[inline(always)]
pub fn choices<T: Table>(key: &FlowKey<T::Address>, choice: Choice) -> [u32; 2] {
    // SAFETY: globals of the program, which the daemon has set before it was loaded.
    let (seed, mask) =
        unsafe { ((&raw const SEED).read_volatile(), (&raw const BUCKET_MASK).read_volatile()) };
    let hash = T::hash(key, seed);
    table::choices(if choice == Choice::First { hash } else { table::further(hash) }, mask)
}

/// Not 0 once a flow has had to go further.
static mut OVERFLOWED: u64 = 0;

/// Whether a flow may lie further.
#[inline(always)]
pub fn overflowed() -> bool {
    // SAFETY: one machine word.
    unsafe { (&raw const OVERFLOWED).read_volatile() != 0 }
}

/// From now on flows may lie further.
#[inline(always)]
pub fn overflow() {
    // SAFETY: one machine word.
    unsafe { (&raw mut OVERFLOWED).write_volatile(1) };
}

/// IPv4 flows of services.
pub struct Narrow;

impl Table for Narrow {
    type Address = Ip4;
    const ENTRY: usize = size_of::<Entry>();
    const OUTBOUND: bool = false;

    #[inline(always)]
    fn hash(key: &FlowKey<Ip4>, seed: u64) -> u64 {
        table::hash_narrow(key.client, key.client_port, seed)
    }

    #[inline(always)]
    fn bucket(number: u32) -> Option<*mut u8> {
        NARROW.get_ptr_mut(number).map(|bucket| bucket.cast())
    }

    #[inline(always)]
    unsafe fn of_client(line: *mut u8, key: &FlowKey<Ip4>) -> u32 {
        let client = Id::narrow(key.client, key.client_port, 0);
        let line = line.cast::<Entry>();
        // SAFETY: the caller's.
        let (first, second) = unsafe { ((*line).id, (*line.add(1)).id) };
        is_zero(client.differs(first)) | is_zero(client.differs(second)) << 1
    }

    #[inline(always)]
    unsafe fn is_of_client(entry: *mut Entry, key: &FlowKey<Ip4>) -> bool {
        // SAFETY: the caller's.
        Id::narrow(key.client, key.client_port, 0).differs(unsafe { (*entry).id }) == 0
    }

    #[inline(always)]
    unsafe fn is_to_vip(_: *mut Entry, key: &FlowKey<Ip4>, backend: &Backend) -> bool {
        Ip4::from_ip(backend.vip) == key.vip && backend.vip_port == key.vip_port
    }

    #[inline(always)]
    unsafe fn write(entry: *mut Entry, key: &FlowKey<Ip4>, flow: &Flow) {
        let id = Id::narrow(key.client, key.client_port, flow.backend);
        // SAFETY: the caller's.
        unsafe { write(entry, id, flow) };
    }
}

/// IPv6 flows of services, or, `OUTBOUND`, flows of either family that nodes opened.
pub struct Wide<const OUTBOUND: bool>;

impl<const OUTBOUND: bool> Table for Wide<OUTBOUND> {
    type Address = Ip;
    const ENTRY: usize = size_of::<WideEntry>();
    const OUTBOUND: bool = OUTBOUND;

    #[inline(always)]
    fn hash(key: &FlowKey<Ip>, seed: u64) -> u64 {
        table::hash_wide(key, OUTBOUND, seed)
    }

    #[inline(always)]
    fn bucket(number: u32) -> Option<*mut u8> {
        WIDE.get_value_ptr_mut(0, &number).map(|bucket| bucket.cast())
    }

    #[inline(always)]
    unsafe fn of_client(line: *mut u8, key: &FlowKey<Ip>) -> u32 {
        // SAFETY: the caller's; an entry fills a line.
        unsafe { Self::is_of_client(line.cast(), key) }.into()
    }

    #[inline(always)]
    unsafe fn is_of_client(entry: *mut Entry, key: &FlowKey<Ip>) -> bool {
        let entry = entry.cast::<WideEntry>();
        // SAFETY: the caller's.
        let (id, client) = unsafe { ((*entry).entry.id, (*entry).client) };
        let ([a, b], [c, d]) = (client.to_be_halves(), key.client.to_be_halves());
        let port = id.port().to_be_word() ^ key.client_port.to_be_word();
        a ^ c | b ^ d | u64::from(port) == 0
    }

    #[inline(always)]
    unsafe fn is_to_vip(entry: *mut Entry, key: &FlowKey<Ip>, _: &Backend) -> bool {
        // SAFETY: the caller's.
        let (id, vip) = unsafe { ((*entry).id, (*entry.cast::<WideEntry>()).vip) };
        id.is_outbound() == OUTBOUND && id.vip_port() == key.vip_port && vip == key.vip
    }

    #[inline(always)]
    unsafe fn write(entry: *mut Entry, key: &FlowKey<Ip>, flow: &Flow) {
        let id = Id::wide(key.client_port, key.vip_port, OUTBOUND, flow.backend);
        // SAFETY: the caller's.
        unsafe {
            write(entry, id, flow);
            let wide = entry.cast::<WideEntry>();
            (&raw mut (*wide).client).write_volatile(key.client);
            (&raw mut (*wide).vip).write_volatile(key.vip);
        }
    }
}

/// Part by part, into the table: a whole one would be put together on the stack first.
#[inline(always)]
unsafe fn write(entry: *mut Entry, id: Id, flow: &Flow) {
    // SAFETY: the caller's.
    unsafe {
        (&raw mut (*entry).id).write_volatile(id);
        (&raw mut (*entry).client_ack).write_volatile(flow.client_ack);
        (&raw mut (*entry).backend_ack).write_volatile(flow.backend_ack);
        (&raw mut (*entry).client_isn).write_volatile(flow.client_isn);
        (&raw mut (*entry).snat_port).write_volatile(flow.snat.port);
        (&raw mut (*entry).snat_pair).write_volatile(flow.snat.pair);
    }
}

/// 1 where a number below 2^63 is zero, without a branch: which entry of a line a flow has cannot be
/// foretold, and a wrong guess costs more than all the rest.
#[inline(always)]
fn is_zero(number: u64) -> u32 {
    (opaque(number).wrapping_sub(1) >> 63) as u32
}
