//! A table of cases: runs them all, and tells of all that failed.

use lb_common::Outcome;
use lb_tests::{
    netns::Netns,
    packet::{Frame, icmp::Icmp},
};

use super::{Device, Rig, Verdict, Way, plan, run::Ran};

/// How many failures are told in full.
const TOLD: usize = 12;

/// What becomes of a frame.
pub enum Expected {
    /// It leaves by another device as these bytes, and nothing else is to be said of it.
    Redirect(Vec<u8>),
    /// It leaves by the device of arrival as these bytes.
    Tx(Vec<u8>),
    /// It has these bytes in the end, counted for a service.
    Is(Verdict, Vec<u8>, u32, Outcome),
    /// Its sender gets these bytes, and it is counted for a service.
    Answered(Vec<u8>, u32, Outcome),
    /// To the kernel's stack byte for byte, as nobody's.
    Passes(Outcome),
    /// To nobody by XDP, counted for a service: dropped, or handed over.
    Gone(u32, Outcome),
}

pub struct Table<'a> {
    pub rig: Rig<'a>,
    cases: usize,
    failures: Vec<String>,
    port: u16,
}

/// Runs cases on a balancer of their own with services for these ways.
///
/// # Panics
/// When one of them failed; its message tells which.
pub fn table(ways: &[Way], cases: impl FnOnce(&mut Table<'_>) + Send) {
    let netns = Netns::create("cases").expect("a namespace for the balancer");
    plan::wire(&netns).expect("devices with addresses, routes and neighbours");
    let run = || {
        let rig = Rig::new(&netns, ways);
        let mut table = Table { rig, cases: 0, failures: Vec::new(), port: 20_000 };
        cases(&mut table);
        println!("{} cases", table.cases);
        let (failures, cases) = (table.failures, table.cases);
        let told = failures.iter().take(TOLD).map(String::as_str).collect::<Vec<_>>().join("\n\n");
        let names = failures.iter().map(|text| text.lines().next().unwrap_or_default());
        let names = names.collect::<Vec<_>>().join("\n");
        assert!(
            failures.is_empty(),
            "{} of {cases} cases failed:\n{told}\n\nall that failed:\n{names}",
            failures.len(),
        );
        assert!(cases > 0, "there were no cases");
        Ok(())
    };
    netns.run(run).expect("a thread in the namespace");
}

impl Table<'_> {
    /// A port that no connection has had.
    pub fn port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }

    /// One case: what becomes of a frame that arrives at a device.
    pub fn case(&mut self, name: &str, device: Device, frame: &[u8], expected: &Expected) {
        self.cases += 1;
        let ran = self.rig.run(device, frame);
        if let Some(wrong) = wrong(frame, &ran, expected) {
            self.failures.push(format!(
                "{name}\n  {wrong}\n  {:?}, counted {:?}\n  in  {}\n  out {}",
                ran.verdict,
                ran.counted,
                hex(frame),
                hex(&ran.bytes)
            ));
        }
    }

    /// One case: the frame passes to the kernel byte for byte, whatever its name is.
    pub fn refused(&mut self, name: &str, device: Device, frame: &[u8]) {
        self.cases += 1;
        let ran = self.rig.run(device, frame);
        let named = matches!(ran.counted[..], [(0, Outcome::Malformed | Outcome::NotOurs, 1)]);
        if ran.verdict != Verdict::Pass || ran.bytes != frame || !named {
            self.failures.push(format!(
                "{name}\n  does not pass: {:?}, counted {:?}\n  in  {}\n  out {}",
                ran.verdict,
                ran.counted,
                hex(frame),
                hex(&ran.bytes)
            ));
        }
    }
}

fn wrong(frame: &[u8], ran: &Ran, expected: &Expected) -> Option<String> {
    let (verdict, bytes, counted) = match expected {
        Expected::Redirect(bytes) => (Verdict::Redirect, Some(bytes.as_slice()), None),
        Expected::Tx(bytes) => (Verdict::Tx, Some(bytes.as_slice()), None),
        Expected::Is(verdict, bytes, service, outcome) => {
            (*verdict, Some(bytes.as_slice()), Some((*service, *outcome, 1)))
        }
        Expected::Answered(bytes, service, outcome) => {
            (Verdict::Tx, Some(bytes.as_slice()), Some((*service, *outcome, 1)))
        }
        Expected::Passes(outcome) => (Verdict::Pass, Some(frame), Some((0, *outcome, 1))),
        Expected::Gone(service, outcome) => (Verdict::Drop, None, Some((*service, *outcome, 1))),
    };
    let counted: Vec<_> = counted.into_iter().collect();
    if (ran.verdict, &ran.counted) != (verdict, &counted) {
        return Some(format!("should be {verdict:?}, counted {counted:?}"));
    }
    let bytes = bytes.filter(|bytes| *bytes != ran.bytes)?;
    Some(format!(
        "should be {}\n  which is {}\n  and came {}",
        hex(bytes),
        read(bytes),
        read(&ran.bytes)
    ))
}

/// A frame, as the oracle reads it.
fn read(bytes: &[u8]) -> String {
    match (Frame::judge(bytes), Icmp::judge(bytes)) {
        (Ok(frame), _) => format!("{frame:?}"),
        (_, Ok(icmp)) => format!("{icmp:?}, about {:?}", icmp.quoted()),
        (Err(tcp), Err(icmp)) => format!("no right frame: {tcp:#}; {icmp:#}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 160;
    let shown: String = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN { format!("{shown}… ({} bytes)", bytes.len()) } else { shown }
}
