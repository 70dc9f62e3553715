//! The programs that take the place of the usual ones while somebody looks: the same, but that they go
//! on to the one that tells.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io,
    os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
};

use aya_obj::{EbpfSectionKind, Object};
use lb_common::{
    BUCKETS, ENTRY, SEED, Step,
    table::Buckets,
    trace::{TELL, TOLD_MAP},
};

use super::kernel;
use crate::datapath::{STEPS, handles::name_in_kernel};

/// The object that the build script made, aligned for the ELF reader.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tells.o"));

/// What the usual programs have that these have as well.
pub(super) struct Shared {
    /// Their maps, by the kernel's names of them.
    pub(super) maps: BTreeMap<String, OwnedFd>,
    /// The seed of their tables, and for how many flows these are.
    pub(super) seed: u64,
    pub(super) flow_capacity: u32,
}

/// The loaded programs.
pub(super) struct Telling {
    /// The one by which packets enter.
    pub(super) entry: OwnedFd,
    /// Those that others call. The kernel empties it when its last descriptor goes.
    pub(super) steps: OwnedFd,
}

impl Telling {
    /// Loads them. They say how visits end in the map `told`, and go on to the program `tell`.
    pub(super) fn load(
        shared: &Shared,
        told: BorrowedFd<'_>,
        tell: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let steps = kernel::program_array(TELL + 1)?;
        let mut object = Object::parse(OBJECT).map_err(io::Error::other)?;
        let types = types(&mut object)?;
        let own = HashMap::from([(STEPS, steps.as_fd()), (TOLD_MAP, told)]);
        // Its code has their numbers until the kernel has it.
        let _constants = link(&mut object, shared, &own)?;
        let load = |name: &str| {
            let program = object.programs.get(name);
            let code = program.and_then(|program| object.functions.get(&program.function_key()));
            let code = code.ok_or_else(|| io::Error::other(format!("the object has no {name}")))?;
            kernel::load_xdp(name, code, types.as_fd())
        };
        for &step in Step::ALL {
            let program = load(step.as_str())?;
            kernel::set_program(steps.as_fd(), step as u32, program.as_fd())?;
        }
        kernel::set_program(steps.as_fd(), TELL, tell)?;
        Ok(Self { entry: load(ENTRY)?, steps })
    }
}

/// Gives the kernel the types of the object, as far as it knows such.
fn types(object: &mut Object) -> io::Result<OwnedFd> {
    let none = || io::Error::new(io::ErrorKind::Unsupported, "this kernel takes no BTF");
    let features = aya::features().btf().ok_or_else(none)?;
    let types = object.fixup_and_sanitize_btf(features).map_err(io::Error::other)?;
    kernel::load_types(&types.ok_or_else(none)?.to_bytes())
}

/// Puts the numbers of its maps into the object's code: of `own`, of its constants, which are made
/// here, else of those that are shared.
fn link(
    object: &mut Object,
    shared: &Shared,
    own: &HashMap<&str, BorrowedFd<'_>>,
) -> io::Result<Vec<OwnedFd>> {
    let seed = shared.seed.to_ne_bytes();
    let buckets = Buckets::of_table(shared.flow_capacity).map(|part| part.to_bits().to_ne_bytes());
    let globals =
        HashMap::from([(SEED, (&seed[..], true)), (BUCKETS, (buckets.as_flattened(), true))]);
    object.patch_map_data(globals).map_err(io::Error::other)?;
    let descriptions = std::mem::take(&mut object.maps);
    let mut constants = HashMap::new();
    for (name, description) in &descriptions {
        if description.section_kind() == EbpfSectionKind::Rodata {
            constants.insert(name.as_str(), kernel::constants(description.data())?);
        }
    }
    // Those that no program has a use for are nowhere.
    let known = descriptions.iter().filter_map(|(name, description)| {
        let own = own.get(name.as_str()).map(|fd| fd.as_raw_fd());
        let constant = || constants.get(name.as_str()).map(|fd| fd.as_raw_fd());
        let shared = || shared.maps.get(name_in_kernel(name)).map(|fd| fd.as_raw_fd());
        Some((name.as_str(), own.or_else(constant).or_else(shared)?, description))
    });
    let sections: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object.relocate_maps(known, &sections).map_err(io::Error::other)?;
    object.relocate_calls(&sections).map_err(io::Error::other)?;
    Ok(constants.into_values().collect())
}
