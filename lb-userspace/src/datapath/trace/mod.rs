//! Looks at packets, before and behind the programs (`lb trace`).

mod kernel;
mod record;
mod telling;

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd, BorrowedFd, OwnedFd, RawFd},
    time::Duration,
};

use aya::{
    Ebpf, EbpfLoader, GlobalData,
    maps::{Array, Map, MapData, PerCpuArray, ProgramArray, RingBuf},
    programs::ProgramFd,
};
use lb_common::{
    ENTRY,
    trace::{
        NEXT_MAP, TELL_PROGRAM, TELLING, TOLD_MAP, TRACE_COUNTS, TRACE_RECORDS, TRACE_SETTINGS,
        TraceCounts, TraceSettings, UNTIL_MAP, USUAL, WATCH,
    },
};
use log::warn;

pub use record::Record;
use telling::{Shared, Telling};

use super::{
    Datapath, Geometry, clock::monotonic, error::DatapathError, handles, pins::Pins, program_of,
    syscall::wait_for_packets, take,
};

/// The object that the build script made, aligned for the ELF reader.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/trace.o"));

/// All that is read to look at packets.
pub(super) static OBJECTS: [&[u8]; 2] = [OBJECT, telling::OBJECT];

/// Tells of packets; dropping it puts the usual program back on the interfaces.
pub struct Tracer {
    /// The interfaces' links to the program that watches.
    links: Vec<OwnedFd>,
    entry: ProgramFd,
    watch: ProgramFd,
    /// The kernel empties both when their last descriptors go.
    _programs: (ProgramArray<MapData>, OwnedFd),
    until: Array<MapData, u64>,
    records: RingBuf<MapData>,
    counts: PerCpuArray<MapData, TraceCounts>,
    /// Where both are kept meanwhile.
    pins: Option<Pins>,
}

/// How many packets were asked for and not told of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// More came in a second than a CPU tells of.
    pub over_rate: u64,
    /// More came than were read.
    pub ring_full: u64,
}

impl Datapath {
    /// What is needed to look at packets; the maps and programs for it are made by
    /// [`Preparation::load`], which takes a while.
    ///
    /// # Errors
    /// Where the kernel does not say what it has.
    pub fn prepare_trace(&mut self) -> Result<Preparation, DatapathError> {
        let copy = |(name, fd): (&String, &OwnedFd)| Ok((name.clone(), fd.try_clone()?));
        let maps = self.descriptors.iter().map(copy);
        let maps = maps.collect::<io::Result<_>>().map_err(failed("keep a map"))?;
        let links = self.attachments.iter().map(|attachment| {
            let id = attachment.link_id().map_err(io::Error::other)?;
            handles::of_link(id)
        });
        let links = links.collect::<io::Result<Vec<_>>>().map_err(failed("open a link"))?;
        let program = program_of(&mut self.ebpf, ENTRY)?;
        let entry = program.fd().and_then(|fd| Ok(fd.try_clone()?));
        let entry = entry.map_err(DatapathError::verify(ENTRY))?;
        let Geometry { flow_capacity, seed } = self.geometry;
        let pins = self.pins.as_ref().map(|(pins, _)| pins.clone());
        Ok(Preparation { shared: Shared { maps, seed, flow_capacity }, links, entry, pins })
    }
}

fn failed(operation: &'static str) -> impl FnOnce(io::Error) -> DatapathError {
    move |source| DatapathError::Trace { operation, source }
}

/// What a datapath has that is needed to look at its packets.
pub struct Preparation {
    shared: Shared,
    /// Of the interfaces.
    links: Vec<OwnedFd>,
    /// The program that they lead to.
    entry: ProgramFd,
    /// Where the datapath is kept, if it is to outlive this process.
    pins: Option<Pins>,
}

impl Preparation {
    /// Looks at the packets that the settings ask for, for as long as is said by [`Tracer::go_on`].
    ///
    /// # Errors
    /// Where the kernel does not take the programs, or not on an interface; then all is as before.
    pub fn load(self, settings: &TraceSettings) -> Result<Tracer, DatapathError> {
        let Self { shared, links, entry, pins } = self;
        let mut ebpf = EbpfLoader::new()
            .btf(None)
            .override_global(TRACE_SETTINGS, GlobalData::from(settings), true)
            .load(OBJECT)
            .map_err(|error| DatapathError::Load(Box::new(error)))?;
        let tell = load(&mut ebpf, TELL_PROGRAM)?;
        let watch = load(&mut ebpf, WATCH)?;
        let told = match ebpf.map(TOLD_MAP) {
            Some(Map::PerCpuArray(map)) => map.fd().as_fd(),
            _ => return Err(DatapathError::Missing(TOLD_MAP)),
        };
        let telling = Telling::load(&shared, told, tell.as_fd());
        let telling = telling.map_err(failed("load the programs"))?;
        let next = match ebpf.map(NEXT_MAP) {
            Some(Map::ProgramArray(map)) => map.fd().as_fd(),
            _ => return Err(DatapathError::Missing(NEXT_MAP)),
        };
        for (number, program) in [(TELLING, telling.entry.as_fd()), (USUAL, entry.as_fd())] {
            kernel::set_program(next, number, program).map_err(failed("write a map"))?;
        }
        if let Some(pins) = &pins {
            // Where this process is killed, the links outlive it, and lead to programs that call others.
            pins.give_up_trace()?;
            pins.keep_trace(next, telling.steps.as_fd())?;
        }
        let mut tracer = Tracer {
            links: Vec::new(),
            entry,
            watch,
            _programs: (take(&mut ebpf, NEXT_MAP)?, telling.steps),
            until: take(&mut ebpf, UNTIL_MAP)?,
            records: take(&mut ebpf, TRACE_RECORDS)?,
            counts: take(&mut ebpf, TRACE_COUNTS)?,
            pins,
        };
        for link in links {
            match kernel::replace(&link, tracer.entry.as_fd(), tracer.watch.as_fd()) {
                // The interface is gone.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(error) => return Err(failed("put the program on an interface")(error)),
                Ok(()) => tracer.links.push(link),
            }
        }
        Ok(tracer)
    }
}

fn load(ebpf: &mut Ebpf, name: &'static str) -> Result<ProgramFd, DatapathError> {
    let program = program_of(ebpf, name)?;
    program.load().map_err(DatapathError::verify(name))?;
    program.fd().and_then(|fd| Ok(fd.try_clone()?)).map_err(DatapathError::verify(name))
}

impl Tracer {
    /// Goes on for so long, from now on. When that is over, packets take their usual way, even where
    /// this process is no longer there to say so.
    ///
    /// # Errors
    /// Where the kernel cannot be told.
    pub fn go_on(&mut self, time: Duration) -> Result<(), DatapathError> {
        let until = monotonic() + time;
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.until.set(0, until, 0).map_err(DatapathError::map(UNTIL_MAP, "write"))
    }

    /// The next packet that was told of, if there is one. A record that contradicts itself is passed
    /// over.
    pub fn next_record(&mut self) -> Option<Record> {
        loop {
            if let Some(record) = Record::parse(&self.records.next()?) {
                return Some(record);
            }
        }
    }

    /// What was left out since the beginning.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn left_out(&self) -> Result<LeftOut, DatapathError> {
        let counts = self.counts.get(&0, 0).map_err(DatapathError::map(TRACE_COUNTS, "read"))?;
        Ok(counts.iter().fold(LeftOut::default(), |sum, cpu| LeftOut {
            over_rate: sum.over_rate + cpu.over_rate,
            ring_full: sum.ring_full + cpu.ring_full,
        }))
    }

    /// The program that interfaces have meanwhile, for test runs.
    pub fn program_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        for link in &self.links {
            match kernel::replace(link, self.watch.as_fd(), self.entry.as_fd()) {
                // The interface is gone.
                Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => {}
                Err(error) => warn!("cannot put the usual program back on an interface: {error}"),
                Ok(()) => {}
            }
        }
        // The kernel empties the maps of programs with their last descriptors, and packets may still be
        // on their way there.
        if let Err(error) = wait_for_packets() {
            warn!("packets on their way while lb trace ended may be lost: {error}");
        }
        if let Some(Err(error)) = self.pins.as_ref().map(Pins::give_up_trace) {
            warn!("{error}");
        }
    }
}

/// Readable when there are packets.
impl AsRawFd for Tracer {
    fn as_raw_fd(&self) -> RawFd {
        self.records.as_raw_fd()
    }
}
