//! Whom the socket belongs to beside root.

use nix::unistd::{Gid, Group};

use super::AdminError;
use crate::config::AdminGroup;

/// The number of the group, as the host knows it.
///
/// # Errors
/// Where the host has no group of this name, or cannot say.
pub fn id_of(group: &AdminGroup) -> Result<Gid, AdminError> {
    match group {
        AdminGroup::Id(id) => Ok(Gid::from_raw(*id)),
        AdminGroup::Name(name) => match Group::from_name(name) {
            Ok(Some(found)) => Ok(found.gid),
            Ok(None) => Err(AdminError::UnknownGroup(name.clone())),
            Err(errno) => Err(AdminError::Groups { group: name.clone(), source: errno.into() }),
        },
    }
}
