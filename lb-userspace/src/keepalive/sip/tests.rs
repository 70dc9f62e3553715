use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::net::TcpListener;

use super::*;

fn settings() -> Keepalive {
    Keepalive { timeout: Duration::from_millis(500), ..Keepalive::default() }
}

/// A node that hears the request and says what `answer` makes of it, in pieces; then it waits.
async fn node(local: IpAddr, answer: impl Fn(&str) -> Vec<String> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((local, 0)).await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let (mut text, mut buffer) = (String::new(), [0; 2048]);
        while !text.ends_with("\r\n\r\n") {
            let read = stream.read(&mut buffer).await.expect("the request");
            text += std::str::from_utf8(&buffer[..read]).expect("text");
        }
        for piece in answer(&text) {
            stream.write_all(piece.as_bytes()).await.expect("it listens");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // Until the keepalive ends.
        let _ = stream.read(&mut buffer).await;
    });
    address
}

fn value<'a>(request: &'a str, name: &str) -> &'a str {
    let mut lines = request.split("\r\n").filter_map(|line| line.split_once(": "));
    lines
        .find_map(|(its, value)| (its == name).then_some(value))
        .unwrap_or_else(|| panic!("{name}: {request}"))
}

/// What a user agent answers (RFC 3261, section 8.2.6).
fn answer(request: &str, status: &str) -> String {
    let copied = ["Via", "From", "To", "Call-ID", "CSeq"]
        .map(|name| format!("{name}: {}\r\n", value(request, name)));
    format!("SIP/2.0 {status}\r\n{}Content-Length: 0\r\n\r\n", copied.concat())
}

#[tokio::test]
async fn a_node_that_answers_is_up_and_the_request_is_as_the_rfc_has_it() {
    for local in [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()] {
        let address = node(local, move |request| {
            let host = if local.is_ipv4() { "127.0.0.1" } else { "[::1]" };
            assert!(request.starts_with(&format!("OPTIONS sip:{host}:")), "{request}");
            assert!(value(request, "Via").starts_with(&format!("SIP/2.0/TCP {host}:")));
            assert!(value(request, "Via").contains(";branch=z9hG4bK"));
            assert!(value(request, "From").contains(";tag="));
            assert_eq!(value(request, "Max-Forwards"), "70");
            assert_eq!(value(request, "CSeq"), "1 OPTIONS");
            assert_eq!(value(request, "Accept"), "application/csta+xml");
            assert_eq!(value(request, "Content-Length"), "0");
            vec![answer(request, "100 Trying"), answer(request, "200 OK")]
        });
        let latency = probe(address.await, &settings()).await.expect("it is up");
        assert!(latency >= Duration::from_millis(20), "the final answer counts: {latency:?}");
    }
}

#[tokio::test]
async fn each_request_has_numbers_of_its_own() {
    let address = SocketAddr::from(([10, 0, 0, 11], 5060));
    let requests = [(); 2].map(|()| Request::new(address, address).to_string());
    for name in ["Via", "From", "Call-ID"] {
        assert_ne!(value(&requests[0], name), value(&requests[1], name));
    }
}

async fn failure(
    settings: &Keepalive,
    said: impl Fn(&str) -> Vec<String> + Send + 'static,
) -> String {
    let address = node(Ipv4Addr::LOCALHOST.into(), said).await;
    probe(address, settings).await.expect_err("it is down").to_string()
}

#[tokio::test]
async fn a_node_that_does_not_serve_is_down() {
    let said = |status: &'static str| move |request: &str| vec![answer(request, status)];
    let its = settings();
    assert_eq!(failure(&its, said("503 Full")).await, "sip options answered by 503");
    assert_eq!(failure(&its, said("100 Trying")).await, "sip options not answered in time");
    let begun = Instant::now();
    assert_eq!(failure(&its, |_| Vec::new()).await, "sip options not answered in time");
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!(
        failure(&its, |_| vec!["220 smtp\r\n\r\n".to_owned()]).await,
        "the answer is no SIP"
    );
    let its = Keepalive { down_statuses: vec![404], ..its };
    assert_eq!(failure(&its, said("404 Not Found")).await, "sip options answered by 404");
    let address = node(Ipv4Addr::LOCALHOST.into(), said("503 Full")).await;
    probe(address, &its).await.expect("the list is the file's");
}

#[tokio::test]
async fn an_answer_byte_by_byte_costs_only_its_own_check() {
    let slow = |request: &str| answer(request, "200 OK").chars().map(String::from).collect();
    assert_eq!(failure(&settings(), slow).await, "sip options not answered in time");
}

#[tokio::test]
async fn endless_headers_end_the_check() {
    let endless = |_: &str| vec![format!("SIP/2.0 200 OK\r\n{}", "X: y\r\n".repeat(5000))];
    assert_eq!(failure(&settings(), endless).await, "too much said, and no answer to sip options");
}
