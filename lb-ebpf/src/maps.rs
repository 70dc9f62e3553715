//! The maps that the program and the daemon share. The daemon alone writes the configuration;
//! the flow tables are behind [`crate::flows`], the ports of translated addresses behind
//! [`crate::snat`].

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, PerCpuArray, ProgramArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    AddressRole, Backend, BackendCounters, Egress, Endpoint, HANDOFF_RING_BYTES, Ip, LinkKey,
    MAGLEV_WORDS, MAX_ADDRESSES, MAX_BACKENDS, MAX_INTERFACES, MAX_SERVICES, MAX_VLANS, OUTCOMES,
    Service, Step,
};

/// The inner maps of one array may differ in size (`BPF_F_INNER_MAP`, kernel 5.10).
const INNER_MAP: usize = 0x1000;

/// Services number from 1; 0 counts what belongs to none.
const SERVICE_NUMBERS: usize = MAX_SERVICES as usize + 1;

/// VIP and port → service.
#[btf_map]
pub static SERVICES: HashMap<Endpoint, Service, { MAX_SERVICES as usize }> = HashMap::new();

/// Service → VIP and port.
#[btf_map]
pub static VIPS: Array<Endpoint, SERVICE_NUMBERS> = Array::new();

/// What an address is to the balancer: VIP, translated address, node.
#[btf_map]
pub static ADDRESSES: HashMap<Ip, AddressRole, { MAX_ADDRESSES as usize }> = HashMap::new();

/// Slot → backend.
#[btf_map]
pub static BACKENDS: Array<Backend, { MAX_BACKENDS as usize }> = Array::new();

/// Service → its Maglev table of `MaglevWord`s, replaced as a whole.
///
/// The values' type is an integer: with a structure, Linux 6.1 would take no table that userspace
/// makes without BTF (`bpf_map_meta_equal` compares `timer_off`, kernel/bpf/map_in_map.c).
#[btf_map]
pub static MAGLEV: ArrayOfMaps<Array<u64, { MAGLEV_WORDS as usize }, INNER_MAP>, SERVICE_NUMBERS> =
    ArrayOfMaps::new();

/// Interface → itself: the ones by which packets may be redirected.
#[btf_map]
pub static INTERFACES: DevMapHash<{ MAX_INTERFACES as usize }> = DevMapHash::new();

/// Interface → itself: the ones to which the kernel redirects no frame that lies in several buffers.
#[btf_map]
pub static ONE_BUFFER: HashMap<u32, u32, { MAX_INTERFACES as usize }> = HashMap::new();

/// Device and VLAN tags → the interface that they stand for.
#[btf_map]
pub static VLANS: HashMap<LinkKey, u32, { MAX_VLANS as usize }> = HashMap::new();

/// VLAN interface → how its frames leave.
#[btf_map]
pub static EGRESSES: HashMap<u32, Egress, { MAX_VLANS as usize }> = HashMap::new();

/// The programs behind the first one; with the feature `tells`, also the one that tells.
#[btf_map]
pub static STEPS: ProgramArray<{ Step::ALL.len() + cfg!(feature = "tells") as usize }> =
    ProgramArray::new();

/// What each backend got and sent, by slot.
#[btf_map]
pub static BACKEND_COUNTERS: PerCpuArray<BackendCounters, { MAX_BACKENDS as usize }> =
    PerCpuArray::new();

/// Packets by service and outcome: `service * OUTCOMES.len() + outcome`. What was forwarded or
/// returned is in [`BACKEND_COUNTERS`] alone.
#[btf_map]
pub static OUTCOME_COUNTERS: PerCpuArray<u64, { SERVICE_NUMBERS * OUTCOMES.len() }> =
    PerCpuArray::new();

/// Packets for the kernel to send: `Handoff`s (libbpf wants no value type here).
#[btf_map]
pub static HANDOFFS: RingBuf<(), { HANDOFF_RING_BYTES as usize }> = RingBuf::new();
