//! The socket in the file system: whose it is, and what is replaced, refused and removed.

use std::{
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{MetadataExt, symlink},
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    sync::Barrier,
    thread,
};

use lb_userspace::admin::Server;
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};

use crate::{
    fake::{self, Daemon},
    http::answered_at_once,
};

#[test]
fn the_socket_is_its_owners_alone() {
    let directory = fake::directory();
    let path = directory.path().join("a/b/lb.sock");
    let server = Server::bind(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
    assert_eq!(fs::metadata(directory.path().join("a/b")).unwrap().mode() & 0o7777, 0o755);
    drop(server);
    assert!(!path.exists());
}

#[test]
fn the_socket_of_a_dead_daemon_is_replaced() {
    let directory = fake::directory();
    let path = directory.path().join("lb.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let server = Server::bind(&path).unwrap();
    UnixStream::connect(&path).unwrap();
    drop(server);
}

#[test]
fn the_socket_of_a_live_daemon_is_left_alone() {
    let daemon = Daemon::start();
    let refused = Server::bind(&daemon.socket()).unwrap_err().to_string();
    let start = format!("another lb answers on {}", daemon.socket().display());
    assert!(refused.starts_with(&start), "{refused}");
    answered_at_once(&daemon.socket());
}

#[test]
fn the_socket_of_a_daemon_that_accepts_nothing_is_left_alone() {
    let directory = fake::directory();
    let path = directory.path().join("lb.sock");
    let _listening = UnixListener::bind(&path).unwrap();
    // Until the queue is full; from then on connecting would wait.
    let waiting: Vec<_> = (0..10_000).map_while(|_| connect_at_once(&path)).collect();
    assert!(waiting.len() < 10_000);
    let refused = Server::bind(&path).unwrap_err().to_string();
    assert!(refused.starts_with("another lb answers on"), "{refused}");
}

fn connect_at_once(path: &Path) -> Option<OwnedFd> {
    let stream =
        socket::socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_NONBLOCK, None)
            .unwrap();
    socket::connect(stream.as_raw_fd(), &UnixAddr::new(path).unwrap()).ok().map(|()| stream)
}

#[test]
fn what_is_no_socket_is_never_deleted() {
    let directory = fake::directory();
    let file = directory.path().join("file");
    fs::write(&file, "precious").unwrap();
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    for path in [&file, &link, &directory.path().to_owned()] {
        let refused = Server::bind(path).unwrap_err().to_string();
        assert!(refused.contains("is no socket"), "{refused}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    assert!(link.is_symlink());
}

#[test]
fn impossible_paths_are_refused_with_their_name() {
    let directory = fake::directory();
    let long = directory.path().join("x".repeat(120));
    let refused = Server::bind(&long).unwrap_err().to_string();
    assert!(refused.contains(&long.display().to_string()), "{refused}");

    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let refused = Server::bind(&file.join("lb.sock")).unwrap_err().to_string();
    assert!(refused.contains(&file.display().to_string()), "{refused}");
}

#[test]
fn of_several_that_start_at_the_same_time_one_has_the_socket() {
    const DAEMONS: usize = 4;
    let directory = fake::directory();
    // Enough rounds that without the lock one of them goes wrong.
    for round in 0..200 {
        let path = directory.path().join(format!("{round}.sock"));
        drop(UnixListener::bind(&path).unwrap());
        let together = Barrier::new(DAEMONS);
        let servers: Vec<_> = thread::scope(|scope| {
            let start = || {
                together.wait();
                Server::bind(&path)
            };
            let starts: Vec<_> = (0..DAEMONS).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().unwrap()).collect()
        });
        assert_eq!(servers.iter().filter(|server| server.is_ok()).count(), 1, "round {round}");
        UnixStream::connect(&path).unwrap();
    }
}

#[test]
fn a_socket_that_has_come_in_its_place_is_not_removed() {
    let directory = fake::directory();
    let path = directory.path().join("lb.sock");
    let first = Server::bind(&path).unwrap();
    fs::rename(&path, directory.path().join("moved")).unwrap();
    let second = Server::bind(&path).unwrap();
    drop(first);
    UnixStream::connect(&path).unwrap();
    drop(second);
    assert!(!path.exists());
}
