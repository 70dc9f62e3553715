//! The scheduler with real sockets.

use tokio::net::TcpListener;

use super::*;

#[tokio::test]
async fn real_nodes_are_told_apart() {
    told_apart(Ipv4Addr::LOCALHOST.into()).await;
}

#[tokio::test]
async fn real_nodes_of_ipv6_are_told_apart() {
    told_apart(Ipv6Addr::LOCALHOST.into()).await;
}

async fn told_apart(local: IpAddr) {
    let fast = Keepalive {
        interval: Duration::from_millis(200),
        retry_interval: Duration::from_millis(50),
        timeout: Duration::from_millis(500),
        ..settings()
    };
    let listener = TcpListener::bind((local, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, mut events) = mpsc::channel(16);
    let mut keepalives = Keepalives::new(&Handle::current(), sender);
    keepalives.reconcile(&[Target { address, ..target(1, fast) }]);
    let next = async |events: &mut mpsc::Receiver<Event>| {
        let event = timeout(secs(10), events.recv()).await.expect("a change in time").unwrap();
        (event.change, event.reason)
    };
    assert_eq!(next(&mut events).await.0, Change::Up);
    drop(listener);
    let refused = "tcp connection refused, 3 of 3".to_string();
    assert_eq!(next(&mut events).await, (Change::Down, refused));
    let _listener = TcpListener::bind(address).await.unwrap();
    let succeeded = "tcp connect succeeded, 2 of 2".to_string();
    assert_eq!(next(&mut events).await, (Change::Up, succeeded));
}
