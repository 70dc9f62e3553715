//! The capabilities (capabilities(7)) that the daemon keeps.

use std::fmt::Write as _;

use caps::{CapSet, Capability, CapsHashSet, errors::CapsError};
use log::warn;
use nix::sys::prctl;

use super::PrivilegeError;

/// Those that are needed for as long as the daemon runs, each with its reason.
const NEEDED: [Capability; 4] = [
    // Attaching programs to interfaces, maps that redirect; addresses, neighbours and VLAN offload of
    // interfaces; what lies below /proc/sys/net.
    Capability::CAP_NET_ADMIN,
    // Resets of both sides of a connection, ICMP echoes, ARP and neighbour advertisements: sockets that
    // send whole packets.
    Capability::CAP_NET_RAW,
    // Making maps and loading programs, also later: tables of services that a reload adds, `lb trace`.
    Capability::CAP_BPF,
    // Programs that compare and keep pointers to packets: the kernel's verifier takes them from nobody
    // else (include/linux/bpf.h, bpf_allow_ptr_leaks).
    Capability::CAP_PERFMON,
];

/// Says which capabilities are missing that the daemon needs.
///
/// # Errors
/// Where one is missing.
pub fn check() -> Result<(), PrivilegeError> {
    let missing = missing(&caps::read(None, CapSet::Permitted)?);
    if missing.is_empty() { Ok(()) } else { Err(PrivilegeError::Missing(missing)) }
}

/// The names of those that are needed and not permitted.
fn missing(permitted: &CapsHashSet) -> String {
    list(NEEDED.iter().filter(|capability| !permitted.contains(capability)))
}

/// Gives up all others, for good: this thread gets none back by running a program either. What was kept,
/// by name.
pub(super) fn keep_needed() -> Result<String, PrivilegeError> {
    let needed = CapsHashSet::from(NEEDED);
    // Before the right to do so goes with the others.
    bound(&needed)?;
    // An old kernel or a small container may have no ambient set; then nothing is in it.
    if caps::runtime::ambient_set_supported().is_ok() {
        caps::clear(None, CapSet::Ambient)?;
    }
    caps::clear(None, CapSet::Inheritable)?;
    // Effective ones have to be permitted ones at every moment.
    caps::set(None, CapSet::Effective, &needed)?;
    caps::set(None, CapSet::Permitted, &needed)?;
    prctl::set_no_new_privs().map_err(|errno| {
        CapsError::from(format!("the kernel lets programs have more than lb: {errno}"))
    })?;
    Ok(list(NEEDED.iter()))
}

/// Takes all others out of the bounding set, which no program that is run can leave.
fn bound(needed: &CapsHashSet) -> Result<(), CapsError> {
    let others: Vec<_> = caps::read(None, CapSet::Bounding)?.difference(needed).copied().collect();
    if !others.is_empty() && !caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        // Nothing comes of it: programs that are run get no more than there is.
        warn!("the bounding set of capabilities stays as it is, for want of CAP_SETPCAP");
        return Ok(());
    }
    others.into_iter().try_for_each(|other| caps::drop(None, CapSet::Bounding, other))
}

fn list<'a>(capabilities: impl Iterator<Item = &'a Capability>) -> String {
    let mut text = String::new();
    for capability in capabilities {
        let separator = if text.is_empty() { "" } else { ", " };
        // Writing to a string does not fail.
        let _ = write!(text, "{separator}{capability}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let all = caps::all();
        assert_eq!(missing(&all), "");
        let mut less = all;
        less.remove(&Capability::CAP_BPF);
        less.remove(&Capability::CAP_NET_RAW);
        assert_eq!(missing(&less), "CAP_NET_RAW, CAP_BPF");
        assert_eq!(
            missing(&CapsHashSet::new()),
            "CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF, CAP_PERFMON"
        );
    }
}
