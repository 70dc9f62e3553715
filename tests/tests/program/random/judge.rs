//! What is wrong with what came out, if anything.

use super::{
    answers,
    model::Model,
    view::{ICMP, ICMP6, TCP, View, sum},
};
use crate::rig::{Raw, Verdict};

/// Checks the program's answer to a frame, and notes what it says of connections.
pub fn judge(model: &mut Model, sent: &[u8], out: &Raw) -> Result<(), &'static str> {
    match out.verdict {
        Verdict::Pass if out.bytes != sent => Err("it passed, but not byte for byte"),
        Verdict::Pass => Ok(()),
        Verdict::Drop => {
            ends_here(model, sent);
            Ok(())
        }
        Verdict::Redirect => went_on(model, sent, &out.bytes),
        Verdict::Tx if answers::is_one(sent, &out.bytes) => {
            ends_here(model, sent);
            answers::judge(sent, &out.bytes)
        }
        Verdict::Tx => went_on(model, sent, &out.bytes),
        Verdict::Aborted => Err("the program failed"),
    }
}

fn ends_here(model: &mut Model, sent: &[u8]) {
    let segment = View::of(sent).filter(|view| view.protocol == TCP && !view.is_later());
    if let Some(ends) = segment.and_then(|view| view.ends(sent)) {
        model.ends_here(ends);
    }
}

/// Both frames, and where things are in them.
struct Pair<'a> {
    sent: &'a [u8],
    came: &'a [u8],
    before: View,
    after: View,
    /// Bytes of the packet, counted from its beginning, that may differ.
    changes: Vec<std::ops::Range<usize>>,
}

fn went_on(model: &mut Model, sent: &[u8], came: &[u8]) -> Result<(), &'static str> {
    let before = View::of(sent).ok_or("it went on, but is no packet")?;
    let after = View::of(came).ok_or("what went on is no packet")?;
    let (l3, ttl) = (before.l3, before.ttl_at());
    if before.l4 > before.end || before.end > sent.len() {
        return Err("it went on, but its lengths contradict each other");
    }
    if after.l4 - after.l3 != before.l4 - l3 || after.protocol != before.protocol {
        return Err("its headers changed");
    }
    if came.get(after.ttl_at()).copied() != sent[ttl].checked_sub(1) || sent[ttl] < 2 {
        return Err("its TTL is not one less");
    }
    let addresses = before.addresses_at();
    let mut changes = vec![ttl - l3..ttl + 1 - l3, addresses.start - l3..addresses.end - l3];
    if !before.is_six() {
        changes.push(10..12);
    }
    let mut pair = Pair { sent, came, before, after, changes };
    if pair.before.header_error(sent) != pair.after.header_error(came) {
        return Err("its header's checksum is not as right or as wrong as it came");
    }
    match pair.before.protocol {
        TCP if pair.before.is_later() => pair.later(model)?,
        TCP => pair.segment(model)?,
        ICMP | ICMP6 => pair.error(model)?,
        _ => return Err("it is none of the protocols that go on"),
    }
    pair.nothing_else()
}

impl Pair<'_> {
    fn addresses(&self) -> [(std::net::IpAddr, std::net::IpAddr); 2] {
        [&self.before, &self.after].map(|view| (view.source, view.destination))
    }

    fn later(&self, model: &Model) -> Result<(), &'static str> {
        let [sent, came] = self.addresses();
        let (id, _) = self.before.fragment.ok_or("no fragment")?;
        if model.follows(sent, id, came) { Ok(()) } else { Err("it does not follow the first") }
    }

    fn segment(&mut self, model: &mut Model) -> Result<(), &'static str> {
        let sent = self.before.ends(self.sent).ok_or("it went on without ports")?;
        let came = self.after.ends(self.came).ok_or("its ports are gone")?;
        model.goes_on(sent, came)?;
        if let Some((id, _)) = self.before.fragment {
            let [sent, came] = self.addresses();
            model.note_first(sent, id, came);
        }
        let l4 = self.before.l4 - self.before.l3;
        self.changes.extend([l4..l4 + 4, l4 + 16..l4 + 18]);
        self.carried()
    }

    fn carried(&self) -> Result<(), &'static str> {
        if self.before.carried_error(self.sent) != self.after.carried_error(self.came) {
            return Err("its checksum is not as right or as wrong as it came");
        }
        Ok(())
    }

    fn error(&mut self, model: &Model) -> Result<(), &'static str> {
        const NO_QUOTATION: &str = "an error went on that quotes no TCP packet";
        let quoted = |view: &View, frame: &[u8]| {
            let at = view.l4 + 8;
            if view.is_six() { View::of_ipv6(frame, at) } else { View::of_ipv4(frame, at) }
        };
        let before = quoted(&self.before, self.sent).ok_or(NO_QUOTATION)?;
        let after = quoted(&self.after, self.came).ok_or(NO_QUOTATION)?;
        let about = before.ends(self.sent).ok_or(NO_QUOTATION)?;
        let told = after.ends(self.came).ok_or(NO_QUOTATION)?;
        if !model.is_about(about, told) {
            return Err("the error is told to be about another packet");
        }
        if self.before.destination != about.0.ip() || self.after.destination != told.0.ip() {
            return Err("the error does not go to who sent the packet");
        }
        if ![self.before.source, told.1.ip()].contains(&self.after.source) {
            return Err("the error is told by somebody else");
        }
        if before.header_error(self.sent) != after.header_error(self.came) {
            return Err("the quoted header's checksum is not as right or as wrong as it came");
        }
        let l3 = self.before.l3;
        let (addresses, l4) = (before.addresses_at(), before.l4 - l3);
        let icmp = self.before.l4 - l3;
        self.changes.extend([icmp + 2..icmp + 4, l4..l4 + 4]);
        self.changes.push(addresses.start - l3..addresses.end - l3);
        if !before.is_six() {
            self.changes.push(before.l3 + 10 - l3..before.l3 + 12 - l3);
        }
        if before.l4 + 18 <= self.sent.len().min(self.before.end) {
            self.changes.push(l4 + 16..l4 + 18);
            let sums = |view: &View, frame: &[u8]| {
                let parts = [view.addresses_at(), view.l4..view.l4 + 4, view.l4 + 16..view.l4 + 18];
                parts.into_iter().map(|part| sum(&frame[part])).sum::<u32>() % 0xffff
            };
            if sums(&before, self.sent) != sums(&after, self.came) {
                return Err("the quoted segment's checksum is not as right or as wrong as it came");
            }
        }
        self.carried()
    }

    fn nothing_else(&self) -> Result<(), &'static str> {
        let (sent, came) = (&self.sent[self.before.l3..], &self.came[self.after.l3..]);
        if sent.len() != came.len() {
            return Err("its length changed");
        }
        let may_change = |at: usize| self.changes.iter().any(|range| range.contains(&at));
        let same = |(at, (a, b)): (usize, (&u8, &u8))| a == b || may_change(at);
        if !sent.iter().zip(came).enumerate().all(same) {
            return Err("more than its translation changed");
        }
        Ok(())
    }
}
