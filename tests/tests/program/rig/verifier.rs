//! What the kernel's verifier may walk of a program.

use std::fs;

use aya::programs::ProgramInfo;

/// The programs are made for this bound, which is far below the kernel's.
const MAX_VERIFIED_INSTRUCTIONS: u32 = 50_000;
/// The verifier of Linux 6.1 knows less of numbers that were spilled, copied or byte-swapped, and so
/// walks ways that cannot be, and takes fewer for the same as one that it has walked.
const MAX_VERIFIED_BY_AN_OLD_KERNEL: u32 = 2 * MAX_VERIFIED_INSTRUCTIONS;
/// The first kernel after that one on which the tests are run.
const NEWER_KERNEL: (u32, u32) = (6, 12);

/// That the running kernel's verifier walked a loaded program in bounds.
pub fn check_walk(name: &str, info: &ProgramInfo) {
    let max = match kernel() < NEWER_KERNEL {
        true => MAX_VERIFIED_BY_AN_OLD_KERNEL,
        false => MAX_VERIFIED_INSTRUCTIONS,
    };
    let verified = info.verified_instruction_count().expect("a count, since kernel 5.16");
    let size = info.size_translated().expect("a size") / 8;
    println!("{name}: the verifier walked {verified} instructions of its {size}");
    assert!(verified < max, "{name}: {verified}");
}

/// The first two numbers of the running kernel.
fn kernel() -> (u32, u32) {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("the kernel's release");
    let mut numbers = release.split('.').map(|number| number.parse().expect("a number"));
    (numbers.next().expect("a version"), numbers.next().expect("a patchlevel"))
}
