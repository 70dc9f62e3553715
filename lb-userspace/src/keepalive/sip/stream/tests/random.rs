//! Whatever a node says is judged, alike however it is cut, and in bounded memory.

use proptest::{prelude::*, sample::Index};

use super::*;

/// What a stream keeps at most beside the piece that it was given last.
const KEPT: usize = 2 * HEADER;

/// What comes of these bytes, cut at these places.
fn judge(bytes: &[u8], cuts: &[Index]) -> Result<Result<Option<u16>, Unusable>, TestCaseError> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    cuts.sort_unstable();
    let (mut stream, mut from, mut largest) = (Stream::new(CALL), 0, 0);
    for to in cuts.into_iter().chain([bytes.len()]) {
        let judged = stream.take(&bytes[from..to]);
        largest = largest.max(to - from);
        let kept = stream.header.capacity();
        prop_assert!(kept <= 2 * (KEPT + largest), "{} bytes are kept", kept);
        if judged != Ok(None) {
            return Ok(judged);
        }
        from = to;
    }
    Ok(Ok(None))
}

fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..12)
}

/// A message that a node might send, ours or another.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let first = prop::sample::select(vec![
        "SIP/2.0 100 Trying",
        "SIP/2.0 200 OK",
        "SIP/2.0 503 Service Unavailable",
        "SIP/2.0 2000 OK",
        "INFO sip:lb@10.0.0.1 SIP/2.0",
        "HTTP/1.1 200 OK",
    ]);
    let call = prop::sample::select(vec!["Call-ID: ", "i:", "CALL-ID :", "X-Call-ID: "]);
    let named = prop::sample::select(vec![CALL, "other@10.0.0.1", ""]);
    let order = prop::sample::select(vec!["CSeq: 1 OPTIONS", "CSeq: 1 INFO", "CSEQ:1\tOPTIONS"]);
    let length = prop_oneof![3 => Just(None), 1 => (0u64..2000).prop_map(Some), 1 => any::<u64>().prop_map(Some)];
    let body = prop::collection::vec(any::<u8>(), 0..200);
    (first, call, named, order, length, body).prop_map(
        |(first, call, named, order, length, body)| {
            let length = length.unwrap_or(body.len() as u64);
            let head = format!("{first}\r\n{call}{named}\r\n{order}\r\nl: {length}\r\n\r\n");
            [head.as_bytes(), &body].concat()
        },
    )
}

/// A place, how much is taken away there, and what is put in.
fn edit() -> impl Strategy<Value = (Index, usize, Vec<u8>)> {
    let meaningful = prop::sample::select(vec![
        "\r\n", "\r\n\r\n", "\n\n", "\r", ":", " ", "\0", "-1", "SIP/2.0 ", "\u{fffd}",
    ]);
    let put = prop_oneof![
        meaningful.prop_map(|text| text.as_bytes().to_vec()),
        prop::collection::vec(any::<u8>(), 0..6),
    ];
    (any::<Index>(), 0usize..20, put)
}

proptest! {
    #[test]
    fn noise_is_judged_however_it_is_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..3000), cuts in cuts()
    ) {
        prop_assert_eq!(judge(&bytes, &cuts)?, judge(&bytes, &[])?);
    }

    #[test]
    fn damaged_messages_are_judged_however_they_are_cut(
        messages in prop::collection::vec(message(), 0..6),
        edits in prop::collection::vec(edit(), 0..4),
        cuts in cuts(),
    ) {
        let mut bytes = messages.concat();
        for (place, length, put) in edits {
            let from = place.index(bytes.len() + 1);
            let to = (from + length).min(bytes.len());
            bytes.splice(from..to, put);
        }
        prop_assert_eq!(judge(&bytes, &cuts)?, judge(&bytes, &[])?);
    }

    #[test]
    fn an_answer_after_much_else_counts_however_it_is_cut(
        before in ALL - 400..ALL + 100, after in 0usize..2000, cuts in cuts()
    ) {
        let start = answer("183 Progress").replace("Length: 0", &format!("Length: {before}"));
        let bytes = [start.as_bytes(), &vec![b'x'; before], answer("200 OK").as_bytes(), &vec![b'x'; after]].concat();
        prop_assert_eq!(judge(&bytes, &cuts)?, judge(&bytes, &[])?);
    }

    #[test]
    fn headers_about_the_longest_are_judged_however_they_are_cut(
        length in HEADER - 200..HEADER + 200, cuts in cuts()
    ) {
        let padding = format!("X: {}\r\nCall-ID", "x".repeat(length));
        let bytes = answer("200 OK").replacen("Call-ID", &padding, 1).into_bytes();
        prop_assert_eq!(judge(&bytes, &cuts)?, judge(&bytes, &[])?);
    }
}
