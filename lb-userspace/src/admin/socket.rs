//! The socket's place in the file system: root's alone or a group's as well, one daemon's at a time.

use std::{
    fs::{self, DirBuilder, File, Permissions, TryLockError},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt, lchown},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen},
    unistd::Gid,
};
use thiserror::Error;

/// How long another process may hold the directory of the socket, while it makes its own there.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

/// Why there is no admin socket.
#[derive(Debug, Error)]
pub enum AdminError {
    /// Another daemon has it.
    #[error("another lb answers on {}: stop it, or give this one another admin_socket", .0.display())]
    Taken(PathBuf),
    /// Something that is not a socket is there; it is left alone.
    #[error(
        "{} is there and is no socket: move it away, or choose another admin_socket",
        .0.display()
    )]
    NotASocket(PathBuf),
    /// The directory cannot be made.
    #[error("cannot create the directory {} of the admin socket", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The group of the socket is none of this host's.
    #[error(
        "there is no group {0} here, which admin_group names: make it (`groupadd --system {0}`), or \
         name another"
    )]
    UnknownGroup(String),
    /// The host cannot say which group it is.
    #[error("cannot look up the group {group}, which admin_group names")]
    Groups {
        /// The group.
        group: String,
        /// Why.
        source: io::Error,
    },
    /// Other processes keep the directory locked.
    #[error("another process has locked {}, the directory of the admin socket", .0.display())]
    Locked(PathBuf),
    /// The socket cannot be made or used.
    #[error("cannot {what} the admin socket {}", path.display())]
    Socket {
        /// The verb.
        what: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A listening socket, and its name in the file system, which goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    listener: UnixListener,
    name: Name,
}

/// The name of a socket. Dropping it removes it, where it still is the same socket.
#[derive(Debug)]
pub(super) struct Name {
    path: PathBuf,
    device_and_inode: (u64, u64),
}

impl Socket {
    /// Listens on `path` with mode 0600, or 0660 where a group has it as well, and makes its directory
    /// (0755) where there is none. The socket of a dead daemon is replaced.
    pub(super) fn bind(path: &Path, group: Option<Gid>) -> Result<Self, AdminError> {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(directory)
            .map_err(|source| AdminError::Directory { path: directory.to_owned(), source })?;

        // Held from the look at what is there until the socket is made: of two daemons that start
        // at the same time, one sees the other.
        let _lock = lock(directory)?;
        remove_stale(path)?;
        let failed =
            |what| move |source| AdminError::Socket { what, path: path.to_owned(), source };
        let listener = listen_on(path).map_err(failed("create"))?;
        let made = fs::symlink_metadata(path).map_err(failed("examine"))?;
        let name = Name { path: path.to_owned(), device_and_inode: (made.dev(), made.ino()) };
        if let Some(group) = group {
            open_to(path, group).map_err(failed("give a group"))?;
        }
        Ok(Self { listener, name })
    }

    /// The two parts: a non-blocking listener, and the name to be kept as long.
    pub(super) fn into_parts(self) -> (UnixListener, Name) {
        (self.listener, self.name)
    }
}

impl Name {
    /// The path of the socket.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|found| (found.dev(), found.ino()) == self.device_and_inode);
        if ours && let Err(error) = fs::remove_file(&self.path) {
            log::warn!("cannot remove the admin socket {}: {error}", self.path.display());
        }
    }
}

fn lock(directory: &Path) -> Result<File, AdminError> {
    let failed = |source| AdminError::Directory { path: directory.to_owned(), source };
    let file = File::open(directory).map_err(failed)?;
    let end = Instant::now() + LOCK_LIMIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
            Err(TryLockError::WouldBlock) if Instant::now() < end => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(AdminError::Locked(directory.to_owned())),
        }
    }
}

fn remove_stale(path: &Path) -> Result<(), AdminError> {
    let failed = |what| move |source| AdminError::Socket { what, path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("examine")(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(AdminError::NotASocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match knock(path) {
        // A full backlog: someone listens, but does not accept.
        Ok(()) | Err(Errno::EAGAIN) => Err(AdminError::Taken(path.to_owned())),
        Err(Errno::ECONNREFUSED) => fs::remove_file(path).map_err(failed("replace")),
        Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(failed("examine")(error.into())),
    }
}

/// Connects without waiting.
fn knock(path: &Path) -> nix::Result<()> {
    let socket = unix_socket()?;
    connect(socket.as_raw_fd(), &UnixAddr::new(path)?)
}

fn listen_on(path: &Path) -> io::Result<UnixListener> {
    let socket = File::from(unix_socket()?);
    // Before bind, so that the name never has another mode: the kernel's unix_bind gives it the
    // mode of the socket's own inode (net/unix/af_unix.c, unix_bind_bsd).
    socket.set_permissions(Permissions::from_mode(0o600))?;
    let socket = OwnedFd::from(socket);
    bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&socket, Backlog::new(BACKLOG)?)?;
    Ok(UnixListener::from(socket))
}

/// Gives the socket to a group, and then its members the right to connect. Nobody can have put another
/// file in its place: the directory is root's, or one in which each removes his own files only.
fn open_to(path: &Path, group: Gid) -> io::Result<()> {
    lchown(path, None, Some(group.as_raw()))?;
    fs::set_permissions(path, Permissions::from_mode(0o660))
}

fn unix_socket() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    nix::sys::socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
}
