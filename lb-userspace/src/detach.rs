//! Removes a datapath that outlives its process, and all that was done for it.

use std::path::Path;

use anyhow::bail;
use log::warn;

use crate::{
    net::{self, Forwarding, VipAddresses, VlanOffload},
    persist::{FoundRecord, PersistError, PinDirectory, Record},
};

/// Removes what is pinned at `path`, and what its record says of addresses, neighbours and switches; what was
/// done, for the operator. In the order in which a balancer ends: first nobody finds it, then its program goes.
///
/// # Errors
/// Where a daemon runs with it, or something could not be removed: the rest is removed all the same, but switches
/// stay as the program needs them while that is on.
pub async fn detach(path: &Path) -> anyhow::Result<String> {
    let shown = path.display();
    if !path.exists() {
        return Ok(format!("nothing is pinned at {shown}"));
    }
    let mut directory = match PinDirectory::take(path) {
        Err(PersistError::InUse(_)) => bail!(
            "a daemon runs with {shown}: end it first (SIGTERM), then its datapath can be removed"
        ),
        directory => directory?,
    };
    let mut record = match directory.find()? {
        FoundRecord::Nothing => None,
        FoundRecord::Ended(record) | FoundRecord::Usable(record) => Some(record),
        FoundRecord::Unusable { why, record } => {
            if record.is_none() {
                warn!(
                    "its record cannot be read ({why}): addresses, neighbours and forwarding stay \
                     as they are"
                );
            }
            record
        }
    };
    let mut left = Vec::new();
    if let Some(record) = &record {
        let netlink = net::connect()?;
        let mut vips = VipAddresses::new(netlink.clone(), &record.interfaces);
        let known = net::in_time(vips.recall(&record.addresses())).await;
        let removed = known.and(net::in_time(vips.remove_all()).await);
        let neighbours = net::remove_neighbours(&netlink, &record.interfaces, &[]);
        let failures = [removed.err(), net::in_time(neighbours).await.err()];
        left.extend(failures.into_iter().flatten().map(|error| error.to_string()));
    }
    let mut any = false;
    match directory.remove_links() {
        Ok(detached) => {
            any |= detached;
            left.extend(record.as_mut().and_then(|record| restore(record).err()));
            match directory.remove_datapaths() {
                Ok(removed) => any |= removed,
                Err(error) => left.push(error.to_string()),
            }
        }
        Err(error) => left.push(error.to_string()),
    }
    if !left.is_empty() {
        // By it another attempt knows of all that. What is as it was before is others' to change from now on.
        if let Some(record) = &record
            && let Err(error) = directory.write(record)
        {
            warn!("{error}");
        }
        bail!("something is left; `lb detach` once more tries again: {}", left.join("; "));
    }
    any |= directory.remove_all()?;
    Ok(if any {
        format!("removed what was pinned at {shown}")
    } else {
        format!("nothing is pinned at {shown}")
    })
}

/// Sets back what was switched; the record says what is still switched.
fn restore(record: &mut Record) -> Result<(), String> {
    let mut forwarding = Forwarding::recall(std::mem::take(&mut record.switches));
    let mut vlan_offload = VlanOffload::recall(std::mem::take(&mut record.features));
    let restored = forwarding.restore() & vlan_offload.restore();
    (record.switches, record.features) = (forwarding.changed(), vlan_offload.switched());
    if restored { Ok(()) } else { Err("not all is switched as it was before lb".to_owned()) }
}
