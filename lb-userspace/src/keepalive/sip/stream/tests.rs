mod random;

use super::*;

const CALL: &str = "abc@10.0.0.1";

fn answer(status: &str) -> String {
    format!("SIP/2.0 {status}\r\nCall-ID: {CALL}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
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
    for (status, code) in [("200 OK", 200), ("404 Not Found", 404), ("503 ", 503), ("699", 699)] {
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
    assert_eq!(taken.into_iter().find(|taken| *taken != Ok(None)), Some(Err(Unusable::TooLong)));
    assert!(stream.header.capacity() < 4 * HEADER);

    let mut stream = Stream::new(CALL);
    let start = answer("183 Progress").replace("Length: 0", "Length: 1000000000");
    assert_eq!(stream.take(start.as_bytes()), Ok(None));
    let mut taken = (0..2 * ALL / 1000).map(|_| stream.take(&[b'x'; 1000]));
    assert_eq!(taken.find(|taken| *taken != Ok(None)), Some(Err(Unusable::TooLong)));
    assert!(stream.header.capacity() < 1000, "a body is not kept");
}
