//! Loads the programs, on new maps or on those that an earlier process has left.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use aya::{
    EbpfLoader,
    maps::{MapData, ProgramArray},
};
use aya_obj::Object;
use lb_common::{BUCKETS, ENTRY, NARROW_MAP, NEWS_MAP, SEED, Step, hop::News, table};
use serde::{Deserialize, Serialize};

use super::{
    Datapath, STEPS,
    config_maps::ConfigMaps,
    counters::Counters,
    error::DatapathError,
    flows::{FlowTable, WideSlot},
    handles,
    leases::Leases,
    live::LiveSigns,
    pairs::PortRules,
    pins::{Pins, PinsError},
    program_of,
    removed::Removed,
    take,
    vlans::Vlans,
};

/// The object that the build script made, aligned for the ELF reader.
pub(super) static OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/lb-ebpf.o"));

/// What all programs on the same tables of flows have to agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Geometry {
    /// Room for so many proven flows of each family.
    pub flow_capacity: u32,
    /// What hashes begin with, so that nobody outside can tell who shares a bucket.
    pub seed: u64,
}

impl Geometry {
    /// That of new tables: the seed is of the operating system's randomness.
    pub fn new(flow_capacity: u32) -> Self {
        Self { flow_capacity, seed: RandomState::new().hash_one(flow_capacity) }
    }
}

impl Datapath {
    /// Creates the maps and loads the programs. Translated connections are given ports by `rules`.
    ///
    /// # Errors
    /// Where the kernel refuses.
    pub fn load(geometry: Geometry, rules: PortRules) -> Result<Self, DatapathError> {
        Self::load_with(geometry, rules, None)
    }

    /// As [`Datapath::load`], but what outlives this process is kept at `pins`. Where maps are there already,
    /// they are taken over; [`Datapath::take_over`] is to follow then.
    ///
    /// # Errors
    /// Also where these maps are not such as this object's.
    pub fn load_at(
        geometry: Geometry,
        rules: PortRules,
        pins: Pins,
    ) -> Result<Self, DatapathError> {
        Self::load_with(geometry, rules, Some(pins))
    }

    fn load_with(
        geometry: Geometry,
        rules: PortRules,
        pins: Option<Pins>,
    ) -> Result<Self, DatapathError> {
        let Geometry { flow_capacity, seed } = geometry;
        let kept = pins.as_ref().map(Pins::maps).transpose()?.unwrap_or_default();
        let taken_over = !kept.is_empty();
        let mut loader = EbpfLoader::new();
        for (name, path) in &kept {
            loader.map_pin_path(name, path);
        }
        let mut ebpf = loader
            // Nothing in the object is about the kernel's own types, whose description is large.
            .btf(None)
            .map_max_entries(NARROW_MAP, table::buckets(flow_capacity))
            .override_global(BUCKETS, &table::Buckets::of_table(flow_capacity), true)
            .override_global(SEED, &seed, true)
            .load(OBJECT)
            .map_err(|error| DatapathError::Load(Box::new(error)))?;
        if let Some(pins) = &pins {
            // A start that takes another one's place may meet the end of both: the place of links goes first.
            pins.create()?;
            if !taken_over {
                pins.keep_maps(&ebpf)?;
            }
        }
        let descriptors =
            handles::of_maps(&ebpf).map_err(DatapathError::map("of the programs", "keep"))?;
        let steps_kept = pins.as_ref().map(|pins| pins.keep_steps(&ebpf)).transpose()?;
        program_of(&mut ebpf, ENTRY)?.load().map_err(DatapathError::verify(ENTRY))?;
        let mut steps: ProgramArray<MapData> = take(&mut ebpf, STEPS)?;
        for &step in Step::ALL {
            let program = program_of(&mut ebpf, step.as_str())?;
            program.load().map_err(DatapathError::verify(step.as_str()))?;
            let program = program.fd().map_err(DatapathError::verify(step.as_str()))?;
            steps.set(step as u32, program, 0).map_err(DatapathError::map(STEPS, "write"))?;
        }
        let leases = Leases::default();
        let removed = Removed::new(pins.as_ref())?;
        let flows = FlowTable::new(&mut ebpf, geometry, leases.clone(), removed)?;
        let wide = WideSlot::new(&mut ebpf)?;
        let live = LiveSigns::new(&mut ebpf)?;
        let news_map = take(&mut ebpf, NEWS_MAP)?;
        let config = ConfigMaps::new(&mut ebpf, rules, leases, pins.clone())?;
        let vlans = Vlans::new(&mut ebpf)?;
        let counters = Counters::new(&mut ebpf)?;
        Ok(Self {
            ebpf,
            attachments: Vec::new(),
            _steps: steps,
            config,
            vlans,
            counters,
            flows,
            wide,
            live,
            news_map,
            news: News::default(),
            handoffs_failed: Arc::default(),
            geometry,
            pins: pins.zip(steps_kept),
            taken_over,
            descriptors,
        })
    }

    /// What in the maps that are kept at `pins` is not as in this object; nothing where all is.
    ///
    /// # Errors
    /// Where they cannot be looked at.
    pub fn unlike_kept(pins: &Pins, geometry: Geometry) -> Result<Option<String>, PinsError> {
        let Ok(object) = Object::parse(OBJECT) else { return Ok(Some("nothing is known".into())) };
        pins.differs(&object, table::buckets(geometry.flow_capacity))
    }
}
