//! What is measured of a contender, and how it takes a turn.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use lb_tests::{bench::Samples, peer::ShortPlan};

use crate::{
    contender::Contender,
    cpu::{self, Core},
    reference::Sink,
    traffic::{MANY, Stream},
};

/// Short connections in a turn, and how many are open at a time.
const CONNECTIONS: usize = 1_000;
const PARALLELISM: usize = 32;
/// Requests on one connection in a turn.
const REQUESTS: usize = 500;
/// Bytes from the client to a node in a turn.
const BULK: usize = 64 << 20;
const CHUNK: usize = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(5);

/// All that is measured of one contender.
pub struct Measured {
    /// Where single packets go through it.
    pub streams: Vec<Stream>,
    /// Microseconds a connection, by the clock and of processors.
    pub connection: Samples,
    pub connection_work: Samples,
    /// Microseconds from a request to its answer.
    pub latency: Samples,
    /// Nanoseconds a byte.
    pub byte: Samples,
    sink: Option<Sink>,
}

impl Measured {
    pub fn prepare(contender: &Contender) -> Result<Self> {
        let (mut streams, mut sink) = (Vec::new(), None);
        if contender.kind.forwards_packets() {
            sink = Some(Sink::attach(&contender.lab)?);
            streams = Stream::all(contender)?;
        }
        Ok(Self {
            streams,
            connection: Samples::default(),
            connection_work: Samples::default(),
            latency: Samples::default(),
            byte: Samples::default(),
            sink,
        })
    }

    /// A turn while so many flows are open; connections are measured while there are most.
    pub fn take_turn(&mut self, contender: &Contender, flows: u32) -> Result<()> {
        cpu::bind(Core::Others)?;
        if let Some(sink) = &self.sink {
            for stream in self.streams.iter_mut().filter(|its| its.scene.among() == flows) {
                stream.take_turn(contender, sink)?;
            }
        }
        if flows < MANY {
            return Ok(());
        }
        self.connect(contender)?;
        self.transfer(contender)?;
        cpu::bind(Core::Nodes)?;
        self.latency.extend(requests(contender)?);
        Ok(())
    }

    fn connect(&mut self, contender: &Contender) -> Result<()> {
        let before = contender.workers.worked()?;
        let targets = contender.targets.clone();
        let plan = ShortPlan::new(contender.target(), CONNECTIONS, PARALLELISM);
        let report = ShortPlan { targets, ..plan }.run(&contender.lab.client)?;
        let worked = contender.workers.worked()? - before;
        ensure!(report.failures() == 0, "{}: {report}", contender.kind.name());
        let each = |time: Duration| time.as_secs_f64() * 1e6 / CONNECTIONS as f64;
        self.connection.push(each(report.elapsed));
        self.connection_work.push(each(worked));
        Ok(())
    }

    fn transfer(&mut self, contender: &Contender) -> Result<()> {
        let took = contender.lab.client.run(|| {
            let (mut reader, mut writer) = open(contender)?;
            let begin = Instant::now();
            writer.write_all(format!("take {BULK}\n").as_bytes())?;
            let chunk = [0; CHUNK];
            for _ in 0..BULK / CHUNK {
                writer.write_all(&chunk)?;
            }
            let mut line = String::new();
            reader.read_line(&mut line)?;
            ensure!(line.ends_with(&format!(" {BULK}\n")), "the answer was {line:?}");
            Ok(begin.elapsed())
        })?;
        self.byte.push(took.as_nanos() as f64 / BULK as f64);
        Ok(())
    }
}

/// A connection, to read lines from and to write to.
fn open(contender: &Contender) -> Result<(BufReader<TcpStream>, TcpStream)> {
    let target = contender.target();
    let stream = TcpStream::connect_timeout(&target, PATIENCE)
        .with_context(|| format!("cannot connect to {target}"))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok((BufReader::new(stream.try_clone()?), stream))
}

/// One request after the other on one connection: the microseconds of each.
fn requests(contender: &Contender) -> Result<Vec<f64>> {
    contender.lab.client.run(|| {
        let (mut reader, mut writer) = open(contender)?;
        let mut line = String::new();
        (0..REQUESTS)
            .map(|i| {
                let begin = Instant::now();
                writer.write_all(format!("ask {i}\n").as_bytes())?;
                line.clear();
                reader.read_line(&mut line)?;
                let took = begin.elapsed();
                ensure!(line.ends_with(&format!(" {i}\n")), "asked {i}, the answer was {line:?}");
                Ok(took.as_secs_f64() * 1e6)
            })
            .collect()
    })
}
