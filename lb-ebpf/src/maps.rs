//! The maps that the program and the daemon share. The daemon alone writes the configuration;
//! the flow tables are behind [`crate::flows`].

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, DevMapHash, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use lb_common::{
    Backend, BackendCounters, Endpoint, HANDOFF_RING_BYTES, MAGLEV_WORDS, MAX_BACKENDS,
    MAX_INTERFACES, MAX_SERVICES, OUTCOMES, PORT_WORDS, PortRoles, Returns, Service,
};

/// The inner maps of one array may differ in size (`BPF_F_INNER_MAP`, kernel 5.10).
const INNER_MAP: usize = 0x1000;

/// Services number from 1; 0 counts what belongs to none.
const SERVICE_NUMBERS: usize = MAX_SERVICES as usize + 1;

/// Which ports are a service's or a backend's.
#[btf_map]
pub static PORT_ROLES: Array<PortRoles, { PORT_WORDS as usize }> = Array::new();

/// VIP and port → service.
#[btf_map]
pub static SERVICES: HashMap<Endpoint, Service, { MAX_SERVICES as usize }> = HashMap::new();

/// Backend's address and port → the services that it serves.
#[btf_map]
pub static RETURNS: HashMap<Endpoint, Returns, { MAX_BACKENDS as usize }> = HashMap::new();

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
