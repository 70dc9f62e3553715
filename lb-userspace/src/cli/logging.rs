//! The daemon's log on stderr: a line per event.

use std::{
    env,
    fs::File,
    io::{self, Write},
    os::{fd::AsFd, unix::fs::MetadataExt},
    time::SystemTime,
};

use env_logger::{Builder, Env, Target, fmt::Formatter};
use log::{Level, Record};

use super::log_outlet::LogOutlet;

/// Logs from `info` on, or as RUST_LOG says. The journal has its own timestamps and levels;
/// elsewhere each line begins with both.
pub(super) fn start() {
    let mut builder = Builder::from_env(Env::default().default_filter_or("info"));
    let note: fn(u64) -> String = if stderr_is_the_journal() {
        builder.format(journal_line);
        |left_out| format!("<{}>{}\n", priority(Level::Warn), left_out_text(left_out))
    } else {
        builder.format(plain_line);
        |left_out| {
            let time = humantime::format_rfc3339_millis(SystemTime::now());
            format!("{time} {:<5} {}\n", Level::Warn, left_out_text(left_out))
        }
    };
    builder.target(Target::Pipe(Box::new(LogOutlet::new(io::stderr(), note))));
    builder.init();
}

fn left_out_text(lines: u64) -> String {
    format!("missing here, since nobody read them or there was no room: lines of the log, {lines}")
}

/// As systemd.exec(5) says of `JOURNAL_STREAM`: device and inode of the stream, which stderr may
/// have been redirected away from.
fn stderr_is_the_journal() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else { return false };
    let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    stderr
        .and_then(|file| file.metadata())
        .is_ok_and(|found| stream == format!("{}:{}", found.dev(), found.ino()))
}

fn journal_line(to: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    // The journal would take each line for an event of the default level.
    for line in record.args().to_string().lines() {
        writeln!(to, "<{}>{line}", priority(record.level()))?;
    }
    Ok(())
}

fn plain_line(to: &mut Formatter, record: &Record<'_>) -> io::Result<()> {
    let time = to.timestamp_millis();
    writeln!(to, "{time} {:<5} {}", record.level(), record.args())
}

/// The levels of sd-daemon(3), which are those of syslog(3).
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}
