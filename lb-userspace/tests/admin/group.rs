//! A group whose members may use the socket as well.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    process::{Command, Output},
};

use lb_userspace::{admin::Server, config::AdminGroup};
use nix::unistd::{getegid, geteuid};

use crate::{
    cli::{LB, done, refused},
    fake::{self, Daemon},
};

/// A user who is not root, and a group that has no name.
const NOBODY: u32 = 65_534;
const GROUP: u32 = 45_454;

/// `lb show summary` and `lb drain`, by a user of this group.
fn as_member_of(group: u32, daemon: &Daemon) -> [Output; 2] {
    // Where every user may run it.
    let binary = daemon.socket().with_file_name("lb");
    if !binary.exists() {
        fs::copy(LB, &binary).unwrap();
        fs::set_permissions(&binary, PermissionsExt::from_mode(0o755)).unwrap();
    }
    [&["show", "summary"], &["drain", "csta/imp1"]].map(|args| {
        let mut command = Command::new(&binary);
        command.arg("--socket").arg(daemon.socket()).args(args);
        command.uid(NOBODY).gid(group).output().unwrap()
    })
}

#[test]
fn members_see_and_order_and_others_do_neither() {
    if !geteuid().is_root() {
        println!("only root makes a process of another user");
        return;
    }
    let daemon = Daemon::of_group(&AdminGroup::Id(GROUP));
    let socket = fs::metadata(daemon.socket()).unwrap();
    assert_eq!((socket.mode() & 0o7777, socket.uid(), socket.gid()), (0o660, 0, GROUP));
    for output in as_member_of(GROUP, &daemon) {
        done(output);
    }
    assert_eq!(daemon.orders().len(), 1);
    for output in as_member_of(GROUP + 1, &daemon) {
        let said = refused(output);
        assert!(said.contains("permission denied") && said.contains("admin_group"), "{said}");
    }
    assert_eq!(daemon.orders().len(), 1);
}

#[test]
fn a_group_has_a_name_of_this_host() {
    let directory = fake::directory();
    let path = directory.path().join("lb.sock");
    let unknown = AdminGroup::Name("no-such-group-of-lb".to_owned());
    let said = Server::bind_for(&path, Some(&unknown)).unwrap_err().to_string();
    assert!(said.starts_with("there is no group no-such-group-of-lb here"), "{said}");
    assert!(!path.exists());

    // One's own can be given by everybody.
    let own = nix::unistd::Group::from_gid(getegid()).unwrap().expect("it has a name");
    let server = Server::bind_for(&path, Some(&AdminGroup::Name(own.name))).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().gid(), getegid().as_raw());
    drop(server);
}

#[test]
fn a_check_says_that_there_is_no_such_group() {
    let directory = fake::directory();
    let path = directory.path().join("lb.toml");
    let config = |group: &str| {
        let text = format!(
            "interfaces = ['eth0']\nadmin_group = {group}\n[[service]]\nname = 'a'\n\
             vip = '192.0.2.100'\nbackend = [{{ name = 'imp1', address = '10.0.0.11' }}]"
        );
        fs::write(&path, text).unwrap();
        Command::new(LB).args(["check", "--config"]).arg(&path).output().unwrap()
    };
    done(config("45454"));
    let said = refused(config("'no-such-group-of-lb'"));
    assert!(said.contains("lb.toml: admin_group: there is no group no-such-group-of-lb"), "{said}");
}
