//! `lb trace`: packets as the program sees them, a line each, or a file of them.

mod args;
mod line;
mod pcap;

use std::{
    fs::File,
    io::{self, BufWriter, ErrorKind, Write},
    path::Path,
};

use anyhow::{Context as _, bail};
use tokio::signal::unix::{SignalKind, signal};

pub(super) use args::Trace;

use super::complain;
use crate::{
    admin::Client,
    trace::{LeftOut, TraceEvent, TraceRow},
};
use line::line;
use pcap::{Pcap, Room};

/// Where packets go.
enum Sink {
    Lines(Box<dyn Write>),
    Json(Box<dyn Write>),
    File(Pcap<Box<dyn Write>>),
}

/// Whether it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    GoOn,
    /// Nobody reads any longer.
    Unread,
    /// The file is as large as it may be.
    Full,
}

/// Has packets told of, until there are enough, or SIGINT or SIGTERM.
///
/// # Errors
/// Where the daemon refuses, or what it tells cannot be written.
pub(super) async fn run(client: &Client, trace: &Trace) -> anyhow::Result<()> {
    // Before the daemon is asked: it is no use to trace for a file that cannot be made.
    let mut sink = Sink::open(trace)?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut stream = client.trace(&trace.options()).await?;
    let (mut packets, mut said) = (0u64, LeftOut::default());
    let mut ended = Ok(());
    loop {
        let event = tokio::select! {
            event = stream.next() => event,
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        };
        match event {
            Ok(Some(TraceEvent::Packet(row))) => {
                match sink.write(&row).with_context(|| to(trace))? {
                    Next::GoOn => packets += 1,
                    Next::Unread => return Ok(()),
                    Next::Full => {
                        complain("lb: the file is as large as --max-size lets it be");
                        break;
                    }
                }
            }
            Ok(Some(TraceEvent::Begun)) => complain("lb: looking at packets, Ctrl-C ends it"),
            Ok(Some(TraceEvent::Failed(why))) => bail!(why),
            Ok(Some(TraceEvent::LeftOut(left_out))) => {
                if left_out != said {
                    complain(format_args!("lb: {}", left_out_text(said, left_out)));
                    said = left_out;
                }
            }
            Ok(None) => break,
            Err(error) => {
                ended = Err(error.into());
                break;
            }
        }
    }
    if let Some(path) = trace.pcap.as_deref().filter(|path| !is_stdout(path)) {
        complain(format_args!(
            "lb: {packets} packets in {}, {} left out",
            path.display(),
            said.sum()
        ));
    }
    ended
}

impl Sink {
    fn open(trace: &Trace) -> anyhow::Result<Self> {
        let stdout = || Box::new(io::stdout()) as Box<dyn Write>;
        let Some(path) = &trace.pcap else {
            return Ok(if trace.json { Self::Json(stdout()) } else { Self::Lines(stdout()) });
        };
        let writer: Box<dyn Write> = if is_stdout(path) {
            Box::new(BufWriter::new(io::stdout()))
        } else {
            let file = File::create(path);
            let file = file.with_context(|| format!("cannot write {}", path.display()))?;
            Box::new(BufWriter::new(file))
        };
        let pcap = Pcap::new(writer, trace.max_size);
        Ok(Self::File(pcap.with_context(|| format!("cannot write {}", path.display()))?))
    }

    fn write(&mut self, row: &TraceRow) -> anyhow::Result<Next> {
        let written = match self {
            Self::Lines(out) => writeln!(out, "{}", line(row)).map(|()| Room::Left),
            Self::Json(out) => serde_json::to_string(row)
                .map_err(io::Error::from)
                .and_then(|text| writeln!(out, "{text}"))
                .map(|()| Room::Left),
            Self::File(pcap) => pcap.write(row),
        };
        match written {
            Ok(Room::Left) => Ok(Next::GoOn),
            Ok(Room::None) => Ok(Next::Full),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Next::Unread),
            Err(error) => Err(error.into()),
        }
    }
}

/// What cannot be written where that fails.
fn to(trace: &Trace) -> String {
    let file = trace.pcap.as_deref().filter(|path| !is_stdout(path));
    let place = file.map_or("stdout".into(), |path| path.display().to_string());
    format!("cannot write the packets to {place}")
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

/// What was left out since the last word on it.
fn left_out_text(before: LeftOut, now: LeftOut) -> String {
    let over = now.over_rate.saturating_sub(before.over_rate);
    let unread = now.unread.saturating_sub(before.unread);
    let over_text = format!("{over} over the rate (raise --rate, or ask for fewer by --client)");
    let unread_text = format!("{unread} not read in time");
    let parts: Vec<_> = [(over, over_text), (unread, unread_text)]
        .into_iter()
        .filter_map(|(count, text)| (count > 0).then_some(text))
        .collect();
    format!("packets left out: {}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_left_out_is_said_once() {
        let before = LeftOut { over_rate: 5, unread: 1 };
        let now = LeftOut { over_rate: 12, unread: 1 };
        let text = "packets left out: 7 over the rate (raise --rate, or ask for fewer by --client)";
        assert_eq!(left_out_text(before, now), text);
        let now = LeftOut { over_rate: 5, unread: 3 };
        assert_eq!(left_out_text(before, now), "packets left out: 2 not read in time");
    }
}
