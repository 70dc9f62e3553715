//! What a node says on a keepalive's connection: SIP messages one after the other (RFC 3261, section
//! 18.3), of which one answers. Bounded in memory whatever comes, and without I/O.

use super::CSEQ;

/// The most that the header of a message may have, in bytes.
const HEADER: usize = 16 << 10;
/// The most that a node may say before it answers, in bytes.
const ALL: usize = 1 << 20;
const END: &[u8] = b"\r\n\r\n";

/// Why what was said is of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is no SIP message.
    NotSip,
    /// A header or everything before the answer is too long.
    TooLong,
}

/// A stream in which an answer is looked for.
pub struct Stream<'a> {
    call_id: &'a str,
    /// What has come of a message's header.
    header: Vec<u8>,
    /// How much is still to come of the body of a message that is none of ours.
    body: usize,
    all: usize,
}

impl<'a> Stream<'a> {
    /// One in which nothing has come.
    pub fn new(call_id: &'a str) -> Self {
        Self { call_id, header: Vec::new(), body: 0, all: 0 }
    }

    /// Takes the next bytes; the status of the final answer as soon as its header has come. Provisional
    /// answers are waited over, and so is what answers something else or asks.
    pub fn take(&mut self, bytes: &[u8]) -> Result<Option<u16>, Unusable> {
        // What is beyond is not looked at: else it would depend on the pieces whether an answer counts.
        let room = ALL - self.all;
        let looked_at = bytes.get(..room).unwrap_or(bytes);
        self.all += looked_at.len();
        match self.look(looked_at) {
            Ok(None) if bytes.len() > room => Err(Unusable::TooLong),
            looked => looked,
        }
    }

    fn look(&mut self, mut bytes: &[u8]) -> Result<Option<u16>, Unusable> {
        loop {
            let skipped = self.body.min(bytes.len());
            self.body -= skipped;
            bytes = &bytes[skipped..];
            let Some(header) = self.header(&mut bytes)? else { return Ok(None) };
            let message = Message::parse(&header)?;
            if message.answers(self.call_id)
                && let Some(status @ 200..) = message.status
            {
                return Ok(Some(status));
            }
            self.body = message.body;
        }
    }

    /// The next whole header; nothing where more has to come.
    fn header(&mut self, bytes: &mut &[u8]) -> Result<Option<String>, Unusable> {
        if self.header.is_empty() {
            // Between messages there may be empty lines (section 7.5).
            let blank = bytes.iter().take_while(|byte| b"\r\n".contains(byte)).count();
            *bytes = &bytes[blank..];
        }
        let known = self.header.len();
        self.header.extend_from_slice(bytes);
        let from = known.saturating_sub(END.len() - 1);
        let end = self.header[from..].windows(END.len()).position(|window| window == END);
        let Some(end) = end.map(|end| from + end + END.len()) else {
            *bytes = &[];
            return if self.header.len() > HEADER { Err(Unusable::TooLong) } else { Ok(None) };
        };
        if end > HEADER {
            return Err(Unusable::TooLong);
        }
        *bytes = &bytes[end - known..];
        self.header.truncate(end);
        let header = String::from_utf8_lossy(&self.header).into_owned();
        self.header.clear();
        Ok(Some(header))
    }
}

/// What a header says.
struct Message<'a> {
    /// Nothing where it is a request.
    status: Option<u16>,
    call_id: &'a str,
    cseq: &'a str,
    /// The length of its body.
    body: usize,
}

impl<'a> Message<'a> {
    fn parse(header: &'a str) -> Result<Self, Unusable> {
        const VERSION: &str = "SIP/2.0";
        let mut lines = header.split("\r\n");
        let first = lines.next().unwrap_or_default();
        let status = match first.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix(' ')) {
            Some(rest) => {
                let code = rest.split(' ').next().filter(|code| code.len() == 3);
                let code = code.and_then(|code| code.parse().ok());
                Some(code.filter(|code| (100..700).contains(code)).ok_or(Unusable::NotSip)?)
            }
            None if first.ends_with(" SIP/2.0") => None,
            None => return Err(Unusable::NotSip),
        };
        let mut message = Self { status, call_id: "", cseq: "", body: 0 };
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            let (name, value) = (name.trim_end(), value.trim());
            let is = |names: &[&str]| names.iter().any(|its| name.eq_ignore_ascii_case(its));
            if is(&["Call-ID", "i"]) {
                message.call_id = value;
            } else if is(&["CSeq"]) {
                message.cseq = value;
            } else if is(&["Content-Length", "l"]) {
                message.body = value.parse().map_err(|_| Unusable::NotSip)?;
            }
        }
        Ok(message)
    }

    fn answers(&self, call_id: &str) -> bool {
        self.call_id == call_id && self.cseq.split_whitespace().eq(CSEQ.split(' '))
    }
}

#[cfg(test)]
mod tests;
