//! Namespaces of runs that were killed before they could clean up.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::{DIRECTORY, Netns, PREFIX};

/// Deletes the namespaces, and ends the processes in them, that runs left behind which were
/// killed before they could clean up. Those of living processes stay. Returns the names.
///
/// # Errors
/// When one of them cannot be deleted.
pub fn remove_stale() -> Result<Vec<String>> {
    let mut removed = Vec::new();
    for name in list() {
        if maker(&name).is_none_or(|pid| Path::new(&format!("/proc/{pid}")).exists()) {
            continue;
        }
        // Another run may be removing the same one at this moment.
        let deleted = Netns::open(&name).and_then(Netns::delete);
        match deleted {
            Ok(()) => removed.push(name),
            Err(_) if !Path::new(DIRECTORY).join(&name).exists() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// The names of all namespaces of the kit on this machine.
pub fn list() -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(PREFIX))
        .collect()
}

/// The process that made a namespace of this name, where the name tells.
fn maker(name: &str) -> Option<u32> {
    let mut parts = name.strip_prefix(PREFIX)?.rsplit('-');
    parts.next()?.parse::<u32>().ok()?;
    let pid = parts.next()?.parse().ok()?;
    parts.next().map(|_label| pid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_who_made_the_namespace() {
        assert_eq!(maker("lb-node1-4711-3"), Some(4711));
        assert_eq!(maker("lb-a-b-12-1"), Some(12));
        assert_eq!(maker("lb-client"), None);
        assert_eq!(maker("lb-12-1"), None);
        assert_eq!(maker("other-node1-4711-3"), None);
    }
}
