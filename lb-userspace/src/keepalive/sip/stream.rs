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
    pub fn take(&mut self, mut bytes: &[u8]) -> Result<Option<u16>, Unusable> {
        self.all += bytes.len();
        if self.all > ALL {
            return Err(Unusable::TooLong);
        }
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CALL: &str = "abc@10.0.0.1";

    fn answer(status: &str) -> String {
        format!(
            "SIP/2.0 {status}\r\nCall-ID: {CALL}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        )
    }

    /// In pieces of every length, the result is the same.
    fn said(text: &str) -> Result<Option<u16>, Unusable> {
        let whole = Stream::new(CALL).take(text.as_bytes());
        for length in 1..text.len().min(200) {
            let mut stream = Stream::new(CALL);
            let mut pieces = text.as_bytes().chunks(length).map(|piece| stream.take(piece));
            let in_pieces = pieces.find(|taken| *taken != Ok(None)).unwrap_or(Ok(None));
            assert_eq!(in_pieces, whole, "in pieces of {length}");
        }
        whole
    }

    #[test]
    fn a_final_answer_has_its_status() {
        for (status, code) in [("200 OK", 200), ("404 Not Found", 404), ("503 ", 503), ("699", 699)]
        {
            assert_eq!(said(&answer(status)), Ok(Some(code)));
        }
    }

    #[test]
    fn compact_and_odd_writing_is_understood() {
        let text = "SIP/2.0 200 OK\r\ni:abc@10.0.0.1\r\ncseq:\t1  OPTIONS\r\nL: 0\r\nX: a:b\r\n folded\r\n\r\n";
        assert_eq!(said(text), Ok(Some(200)));
        assert_eq!(said(&format!("\r\n\r\n{text}")), Ok(Some(200)));
    }

    #[test]
    fn what_is_no_final_answer_to_the_question_is_waited_over() {
        let others = [
            answer("100 Trying"),
            answer("180 Ringing"),
            answer("200 OK").replace(CALL, "other"),
            answer("200 OK").replace("1 OPTIONS", "2 OPTIONS"),
            answer("200 OK").replace("1 OPTIONS", "1 INFO"),
            answer("503 No").replace("1 OPTIONS", "10 OPTIONS"),
            "INFO sip:x SIP/2.0\r\nCall-ID: 1\r\nContent-Length: 19\r\n\r\nSIP/2.0 503 No\r\n\r\n "
                .to_owned(),
        ];
        for other in &others {
            assert_eq!(said(other), Ok(None), "{other}");
            assert_eq!(said(&format!("{other}{}", answer("200 OK"))), Ok(Some(200)), "{other}");
        }
        assert_eq!(said(&format!("{}{}", others.concat(), answer("480 Later"))), Ok(Some(480)));
    }

    #[test]
    fn other_protocols_are_told_apart() {
        for text in [
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            "SIP/2.0 20 OK\r\n\r\n",
            "SIP/2.0 2000 OK\r\n\r\n",
            "SIP/2.0 abc\r\n\r\n",
            "SIP/2.0 099 no\r\n\r\n",
            "SIP/3.0 200 OK\r\n\r\n",
            "SSH-2.0-OpenSSH\r\n\r\n",
            "SIP/2.0 200 OK\r\nContent-Length: -1\r\n\r\n",
            "SIP/2.0 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n",
        ] {
            assert_eq!(said(text), Err(Unusable::NotSip), "{text}");
        }
    }

    #[test]
    fn endless_headers_and_bodies_end() {
        let mut stream = Stream::new(CALL);
        let line = "X-Padding: 0123456789012345678901234567890123456789\r\n";
        let taken = (0..HEADER).map(|_| stream.take(line.as_bytes()));
        assert_eq!(
            taken.into_iter().find(|taken| *taken != Ok(None)),
            Some(Err(Unusable::TooLong))
        );
        assert!(stream.header.capacity() < 4 * HEADER);

        let mut stream = Stream::new(CALL);
        let start = answer("183 Progress").replace("Length: 0", "Length: 1000000000");
        assert_eq!(stream.take(start.as_bytes()), Ok(None));
        let mut taken = (0..2 * ALL / 1000).map(|_| stream.take(&[b'x'; 1000]));
        assert_eq!(taken.find(|taken| *taken != Ok(None)), Some(Err(Unusable::TooLong)));
        assert!(stream.header.capacity() < 1000, "a body is not kept");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_judged(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..20)
        ) {
            let mut stream = Stream::new(CALL);
            for piece in pieces {
                if stream.take(&piece) != Ok(None) {
                    break;
                }
            }
        }

        #[test]
        fn a_damaged_answer_is_judged_however_it_is_cut(
            at in 0usize..90, byte: u8, length in 1usize..50
        ) {
            let mut text = answer("200 OK").into_bytes();
            let at = at % text.len();
            text[at] = byte;
            let whole = Stream::new(CALL).take(&text);
            let mut stream = Stream::new(CALL);
            let mut pieces = text.chunks(length).map(|piece| stream.take(piece));
            prop_assert_eq!(pieces.find(|taken| *taken != Ok(None)).unwrap_or(Ok(None)), whole);
        }
    }
}
