//! Words that several CPUs and the daemon change at a time.
//!
//! `core`'s atomics do not exist for this target; the instructions do (Linux 5.12, `-Ctarget-cpu=v3`;
//! Documentation/bpf/standardization/instruction-set.rst, "Atomic operations").

/// The same number, of which the compiler knows nothing from here on.
#[inline(always)]
pub fn opaque(number: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: it changes nothing. (Without an instruction the kernel refuses the line numbers.)
        unsafe { core::arch::asm!("{0} += 0", inout(reg) number, options(nomem, nostack)) };
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    number
}

/// The same number, of which the verifier knows nothing from here on: what it has walked with one
/// number it does not walk again with others.
#[inline(always)]
pub fn forgotten(number: u64) -> u64 {
    /// The daemon may write the map in which it is, for all that the verifier knows.
    static mut ZERO: u64 = 0;
    // SAFETY: nobody writes it.
    number ^ unsafe { (&raw const ZERO).read_volatile() }
}

/// Puts `new` in the place of `old`; what was there, `old` where it worked.
///
/// # Safety
/// `word` is valid, aligned, and in a map.
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u64, old: u64, new: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let was;
        // SAFETY: the caller's; the instruction compares with r0, and leaves there what it found.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) word,
                new = in(reg) new,
                inout("r0") old => was,
            );
        }
        was
    }
    #[cfg(not(target_arch = "bpf"))]
    unreachable!("the program does not run here: {word:p}, {old}, {new}")
}

/// Adds `number`, modulo 2^64.
///
/// # Safety
/// As of [`compare_exchange`].
#[inline(always)]
pub unsafe fn add(word: *mut u64, number: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) += {number}",
            word = in(reg) word,
            number = in(reg) number,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    unreachable!("the program does not run here: {word:p}, {number}")
}

/// Sets `bits`.
///
/// # Safety
/// As of [`compare_exchange`].
#[inline(always)]
pub unsafe fn set(word: *mut u64, bits: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) |= {bits}",
            word = in(reg) word,
            bits = in(reg) bits,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    unreachable!("the program does not run here: {word:p}, {bits}")
}

/// Clears `bits`.
///
/// # Safety
/// As of [`compare_exchange`].
#[inline(always)]
pub unsafe fn clear(word: *mut u64, bits: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) &= {kept}",
            word = in(reg) word,
            kept = in(reg) !bits,
        );
    }
    #[cfg(not(target_arch = "bpf"))]
    unreachable!("the program does not run here: {word:p}, {bits}")
}
