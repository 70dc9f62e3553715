//! The tables themselves, and how an entry of each tells whose it is.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps},
    macros::btf_map,
};
use lb_common::{
    Address, Backend, Flow, FlowKey, Ip, Ip4,
    table::{self, Bucket, Entry, Head, Id, Tail, WAYS, WideEntry},
};

use crate::atomic::opaque;

/// The daemon sets the real numbers when it loads the program.
const DEFAULT_BUCKETS: usize = 1 << 19;
/// The daemon shares the entries by memory (`BPF_F_MMAPABLE`, kernel 5.5); and so they begin on
/// cache lines.
const MMAPABLE: usize = 0x400;
/// The inner maps of one array may differ in size (`BPF_F_INNER_MAP`, kernel 5.10).
const INNER_MAP: usize = 0x1000;

#[btf_map]
static NARROW: Array<Bucket, DEFAULT_BUCKETS, MMAPABLE> = Array::new();

/// Of words, as `maps::MAGLEV`: Linux 6.1 takes no structures here.
type WideBucket = [u64; size_of::<WideEntry>() / 8 * WAYS as usize];

/// The daemon puts the table in when the configuration needs it.
#[btf_map]
static WIDE: ArrayOfMaps<Array<WideBucket, 2, { INNER_MAP | MMAPABLE }>, 1> = ArrayOfMaps::new();

/// A cache line, in bytes.
pub const LINE: usize = 64;

/// One of the tables, and which of its flows.
pub trait Table {
    /// Addresses in its flows' keys.
    type Address: Address;
    /// The size of an entry, in bytes.
    const ENTRY: usize;
    /// Entries in a cache line.
    const PER_LINE: u32 = (LINE / Self::ENTRY) as u32;
    /// Whether nodes opened its flows.
    const OUTBOUND: bool;

    fn hash(key: &FlowKey<Self::Address>, seed: u64) -> u64;

    /// The first entry's head of a bucket.
    fn bucket(number: u32) -> Option<*mut u8>;

    /// Which entries of a cache line are of the key's client, by a bit each.
    ///
    /// # Safety
    /// The line is one of a table.
    unsafe fn of_client(line: *mut u8, key: &FlowKey<Self::Address>) -> u32;

    /// Whether an entry is of the key's client.
    ///
    /// # Safety
    /// The head is one of the table.
    unsafe fn is_of_client(head: *mut Head, key: &FlowKey<Self::Address>) -> bool;

    /// Whether an entry is of the key's VIP.
    ///
    /// # Safety
    /// The head is one of the table, and `backend` that of its slot.
    unsafe fn is_to_vip(head: *mut Head, key: &FlowKey<Self::Address>, backend: &Backend) -> bool;

    /// Writes all of an entry but its life.
    ///
    /// # Safety
    /// The head is one of the table, and nobody else's.
    unsafe fn write(head: *mut Head, key: &FlowKey<Self::Address>, flow: &Flow);
}

/// The rest of the entry with this head.
///
/// # Safety
/// The head is one of a table.
#[inline(always)]
pub unsafe fn tail(head: *mut Head) -> *mut Tail {
    // SAFETY: the caller's.
    unsafe { &raw mut (*head.cast::<Entry>()).tail }
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
        let is = |way: usize| is_zero(client.differs(unsafe { (*line.add(way)).head.id })) << way;
        is(0) | is(1)
    }

    #[inline(always)]
    unsafe fn is_of_client(head: *mut Head, key: &FlowKey<Ip4>) -> bool {
        // SAFETY: the caller's.
        Id::narrow(key.client, key.client_port, 0).differs(unsafe { (*head).id }) == 0
    }

    #[inline(always)]
    unsafe fn is_to_vip(_: *mut Head, key: &FlowKey<Ip4>, backend: &Backend) -> bool {
        Ip4::from_ip(backend.vip) == key.vip && backend.vip_port == key.vip_port
    }

    #[inline(always)]
    unsafe fn write(head: *mut Head, key: &FlowKey<Ip4>, flow: &Flow) {
        let id = Id::narrow(key.client, key.client_port, flow.backend);
        // SAFETY: the caller's.
        unsafe { write(head, id, flow) };
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
    unsafe fn is_of_client(head: *mut Head, key: &FlowKey<Ip>) -> bool {
        // SAFETY: the caller's.
        let (id, client) = unsafe { ((*head).id, (*head.cast::<WideEntry>()).client) };
        let ([a, b], [c, d]) = (client.to_be_halves(), key.client.to_be_halves());
        let port = id.port().to_be_word() ^ key.client_port.to_be_word();
        a ^ c | b ^ d | u64::from(port) == 0
    }

    #[inline(always)]
    unsafe fn is_to_vip(head: *mut Head, key: &FlowKey<Ip>, _: &Backend) -> bool {
        // SAFETY: the caller's.
        let (id, vip) = unsafe { ((*head).id, (*head.cast::<WideEntry>()).vip) };
        id.is_outbound() == OUTBOUND && id.vip_port() == key.vip_port && vip == key.vip
    }

    #[inline(always)]
    unsafe fn write(head: *mut Head, key: &FlowKey<Ip>, flow: &Flow) {
        let id = Id::wide(key.client_port, key.vip_port, OUTBOUND, flow.backend);
        // SAFETY: the caller's.
        unsafe {
            write(head, id, flow);
            let wide = head.cast::<WideEntry>();
            (&raw mut (*wide).client).write_volatile(key.client);
            (&raw mut (*wide).vip).write_volatile(key.vip);
        }
    }
}

/// Part by part, into the table: a whole one would be put together on the stack first.
#[inline(always)]
unsafe fn write(head: *mut Head, id: Id, flow: &Flow) {
    // SAFETY: the caller's.
    unsafe {
        let tail = tail(head);
        (&raw mut (*head).id).write_volatile(id);
        (&raw mut (*tail).client_ack).write_volatile(flow.client_ack);
        (&raw mut (*tail).backend_ack).write_volatile(flow.backend_ack);
        (&raw mut (*tail).client_isn).write_volatile(flow.client_isn);
        (&raw mut (*tail).snat_port).write_volatile(flow.snat.port);
        (&raw mut (*tail).snat_pair).write_volatile(flow.snat.pair);
    }
}

/// 1 where a number below 2^63 is zero, without a branch: which entry of a line a flow has cannot be
/// foretold, and a wrong guess costs more than all the rest.
#[inline(always)]
pub fn is_zero(number: u64) -> u32 {
    (opaque(number).wrapping_sub(1) >> 63) as u32
}
