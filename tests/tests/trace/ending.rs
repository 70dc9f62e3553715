//! That looking ends whatever ends it, and disturbs no connection.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use lb_tests::balanced::Balanced;
use nix::sys::signal::Signal;

use crate::looking::{Looking, attached, command, is_gone, packets};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn it_ends_with_its_client_however_that_ends() -> Result<()> {
    let balanced = Balanced::start()?;
    let usual = attached(&balanced)?;
    let held = balanced.hold(50)?;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let mut looking = Looking::start(&balanced, &[])?;
        thread::sleep(SECOND);
        let output = looking.end_by(signal)?;
        assert_eq!(output.status.success(), signal != Signal::SIGKILL, "{signal}");
        assert!(!output.stdout.is_empty(), "{signal}: nothing was shown");
        is_gone(&balanced, looking.program)?;
        assert_eq!(attached(&balanced)?, usual, "{signal}");
    }
    let report = held.stop();
    println!("{report}");
    assert!(report.breaks.is_empty() && report.moves.is_empty(), "{report}");
    assert!(report.worst_answer < SECOND, "{report}");
    Ok(())
}

#[test]
fn it_ends_after_a_count_and_after_a_time() -> Result<()> {
    let balanced = Balanced::start()?;
    let counting = Looking::start(&balanced, &["--count", "7", "--json"])?;
    let program = counting.program;
    balanced.short(20)?;
    let output = counting.wait()?;
    assert!(output.status.success(), "{output:?}");
    assert_eq!(packets(&output)?.len(), 7);
    is_gone(&balanced, program)?;

    let began = Instant::now();
    let timed = Looking::start(&balanced, &["--duration", "2s", "--drops"])?;
    let program = timed.program;
    let output = timed.wait()?;
    assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(began.elapsed() >= 2 * SECOND, "{:?}", began.elapsed());
    is_gone(&balanced, program)
}

#[test]
fn a_second_one_is_refused_and_the_first_goes_on() -> Result<()> {
    let balanced = Balanced::start()?;
    let first = Looking::start(&balanced, &["--json"])?;
    let second = command(&balanced, &["--count", "1"])?.output()?;
    assert_eq!(second.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&second.stderr),
        "lb: somebody else looks at packets: one `lb trace` at a time\n"
    );
    assert_eq!(balanced.short(3)?.ok, 3);
    assert!(first.packets()?.len() >= 3 * 7);
    Ok(())
}

#[test]
fn it_ends_with_the_daemon() -> Result<()> {
    let mut balanced = Balanced::start()?;
    let looking = Looking::start(&balanced, &[])?;
    let program = looking.program;
    let began = Instant::now();
    balanced.daemon.stop()?;
    assert!(began.elapsed() < 5 * SECOND, "{:?}", began.elapsed());
    let output = looking.wait()?;
    assert!(output.status.success(), "{output:?}");
    assert!(balanced.daemon.log().contains("nothing is left behind"));
    assert!(!lb_tests::bpf::exists(lb_tests::bpf::Object::Program, program)?);
    Ok(())
}

#[test]
fn who_does_not_read_is_not_told_for_ever_and_holds_up_nobody() -> Result<()> {
    let balanced = Balanced::start()?;
    let mut looking = Looking::start(&balanced, &["--rate", "100000"])?;
    // Its pipe is full after 64 KiB, and then its socket.
    let report = balanced.short(1500)?;
    assert_eq!(report.ok, 1500, "{report}");
    assert!(report.worst < 5 * SECOND, "{report}");
    assert_eq!(balanced.daemon.show("summary")?["services"], 1);
    looking.end_by(Signal::SIGKILL)?;
    is_gone(&balanced, looking.program)
}

#[test]
fn it_ends_where_its_file_finds_no_room() -> Result<()> {
    let balanced = Balanced::start()?;
    let usual = attached(&balanced)?;
    let looking = Looking::start(&balanced, &["--pcap", "/dev/full"])?;
    let program = looking.program;
    assert_eq!(balanced.short(20)?.ok, 20);
    let output = looking.wait()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let why = "lb: cannot write the packets to /dev/full: No space left on device (os error 28)\n";
    assert!(said.ends_with(why), "{said}");
    is_gone(&balanced, program)?;
    assert_eq!(attached(&balanced)?, usual);
    assert_eq!(balanced.short(20)?.ok, 20);
    Ok(())
}
