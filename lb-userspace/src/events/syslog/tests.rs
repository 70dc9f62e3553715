use std::{
    io::{ErrorKind, Read as _},
    net::{TcpListener, UdpSocket},
    os::unix::net::UnixDatagram,
    path::PathBuf,
    thread,
    time::SystemTime,
};

use tokio::time::sleep;

use super::*;
use crate::config::SyslogTarget;

/// How long a message may take here.
const SOON: Duration = Duration::from_secs(10);

fn outlet(target: SyslogTarget) -> Outlet {
    Outlet::open(&Syslog { target, facility: 3 })
}

fn event(seq: u64) -> Stamped {
    let event = Event::new(Kind::Order, Severity::Info, format!("event {seq}"));
    Stamped { seq, time: SystemTime::UNIX_EPOCH, event }
}

/// Waits until `is_so`.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_datagram_is_a_message() {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    receiver.set_read_timeout(Some(SOON)).expect("its timeout");
    let target = SyslogTarget::Udp(receiver.local_addr().expect("its address"));
    let outlet = outlet(target);
    for seq in [1, 2] {
        outlet.send(&event(seq));
    }
    until("both to be sent", || outlet.counts().sent == 2).await;
    for seq in [1, 2] {
        let mut datagram = [0; 2048];
        let length = receiver.recv(&mut datagram).expect("a message");
        let text = String::from_utf8_lossy(&datagram[..length]);
        assert!(text.starts_with("<30>1 1970-01-01T00:00:00.000Z "), "{text}");
        assert!(text.ends_with(&format!("[meta sequenceId=\"{seq}\"] event {seq}")), "{text}");
    }
    outlet.close().await;
}

#[tokio::test]
async fn a_socket_of_this_host_is_a_receiver() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("log");
    let receiver = UnixDatagram::bind(&path).expect("a socket");
    receiver.set_read_timeout(Some(SOON)).expect("its timeout");
    let outlet = outlet(SyslogTarget::Unix(path));
    outlet.send(&event(1));
    outlet.close().await;
    let mut datagram = [0; 2048];
    let length = receiver.recv(&mut datagram).expect("a message");
    assert!(datagram[..length].ends_with(b" event 1"));
}

/// The messages of a stream, each of which says its length.
fn messages(stream: &[u8]) -> Vec<String> {
    let mut rest = stream;
    let mut messages = Vec::new();
    while !rest.is_empty() {
        let digits = rest.iter().position(|byte| *byte == b' ').expect("a length");
        let length = String::from_utf8_lossy(&rest[..digits]).parse::<usize>().expect("digits");
        let message = &rest[digits + 1..][..length];
        messages.push(String::from_utf8_lossy(message).into_owned());
        rest = &rest[digits + 1 + length..];
    }
    messages
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_is_opened_again() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    listener.set_nonblocking(true).expect("it to be asked, not waited for");
    let outlet = outlet(SyslogTarget::Tcp(listener.local_addr().expect("its address")));
    for seq in [1, 3] {
        outlet.send(&event(seq));
        let mut accepted = None;
        until("a connection", || {
            accepted = listener.accept().ok();
            accepted.is_some()
        })
        .await;
        let (mut stream, _) = accepted.expect("the connection");
        outlet.send(&event(seq + 1));
        until("both to be sent", || outlet.counts().sent == seq + 1).await;
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("its timeout");
        let mut taken = Vec::new();
        let error = stream.read_to_end(&mut taken).expect_err("it stays open");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        let texts = messages(&taken);
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[1].ends_with(&format!(" event {}", seq + 1)), "{texts:?}");
    }
    assert_eq!(outlet.counts().lost, 0);
    outlet.close().await;
}

#[tokio::test]
async fn nobody_waits_for_a_receiver_that_is_not_there() {
    let mut outlet = outlet(SyslogTarget::Unix(PathBuf::from("/nonexistent/log")));
    let begun = Instant::now();
    for seq in 1..=2 * QUEUE as u64 {
        outlet.send(&event(seq));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    // One of them may be with the task.
    let lost = outlet.counts().lost;
    assert!((QUEUE as u64 - 1..=QUEUE as u64).contains(&lost), "{lost}");
    until("the trouble to be known", || outlet.course.trouble().is_some()).await;
    let news = outlet.news(Instant::now()).expect("news");
    assert_eq!(
        (news.severity, news.text.as_str()),
        (
            Severity::Warning,
            "syslog unix:///nonexistent/log: cannot be reached: No such file or directory \
             (os error 2); trying again"
        )
    );
    let begun = Instant::now();
    outlet.close().await;
    assert!(begun.elapsed() < LAST_MESSAGES + Duration::from_secs(1));
}

#[tokio::test]
async fn datagrams_that_nobody_takes_are_known_to_be_lost() {
    let gone = UdpSocket::bind("127.0.0.1:0").expect("a socket").local_addr().expect("its address");
    let outlet = outlet(SyslogTarget::Udp(gone));
    for seq in 1..=3 {
        outlet.send(&event(seq));
        until("it to be sent", || outlet.counts().sent == seq).await;
        // The refusal is on its way.
        thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(outlet.counts().lost, 2);
    assert!(outlet.course.trouble().is_some());
    let receiver = UdpSocket::bind(gone).expect("the same port");
    for seq in 4..=6 {
        outlet.send(&event(seq));
        until("it to be sent", || outlet.counts().sent == seq).await;
    }
    assert_eq!((outlet.counts().lost, outlet.course.trouble()), (3, None));
    drop(receiver);
    outlet.close().await;
}

#[test]
fn a_receiver_is_told_of_when_it_is_lost_and_when_it_is_back() {
    let mut told = Told::default();
    let start = Instant::now();
    let trouble = || Some("refused".to_owned());
    assert_eq!(told.news(None, 0, start), None);
    let warned = Some((Severity::Warning, "refused; trying again".to_owned()));
    assert_eq!(told.news(trouble(), 2, start), warned);
    assert_eq!(told.news(None, 7, start + QUIET / 2), None, "what is told goes there as well");
    assert_eq!(told.news(trouble(), 7, start + QUIET), None, "it is known");
    let lost = Some((Severity::Warning, "9 messages were lost".to_owned()));
    assert_eq!(told.news(None, 9, start + QUIET), lost);
    assert_eq!(told.news(None, 9, start + 3 * QUIET), None);
    assert_eq!(told.news(trouble(), 9, start + 4 * QUIET), warned);
    let back = Some((Severity::Info, "messages are taken again".to_owned()));
    assert_eq!(told.news(None, 9, start + 5 * QUIET), back);
}
