//! Removes a datapath that outlives its process, and all that was done for it.

use std::path::Path;

use anyhow::{Context as _, bail};
use log::warn;

use crate::{
    net::{self, Forwarding, VipAddresses, VlanOffload},
    persist::{FoundRecord, PersistError, PinDirectory},
};

/// What an operator does where not all went.
const AGAIN: &str = "something is left; `lb detach` once more tries again";

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
    let record = match directory.find()? {
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
    let mut outcome = Ok(());
    if let Some(record) = &record {
        let netlink = net::connect()?;
        let mut vips = VipAddresses::new(netlink.clone(), &record.interfaces);
        let known = net::in_time(vips.recall(&record.addresses())).await;
        outcome = known.and(net::in_time(vips.remove_all()).await);
        let neighbours = net::remove_neighbours(&netlink, &record.interfaces, &[]);
        outcome = outcome.and(net::in_time(neighbours).await);
    }
    let detached = directory.remove_links();
    let detached = detached.context(AGAIN)?;
    if let Some(mut record) = record {
        let mut forwarding = Forwarding::recall(std::mem::take(&mut record.switches));
        let mut vlan_offload = VlanOffload::recall(std::mem::take(&mut record.features));
        if !(forwarding.restore() & vlan_offload.restore()) {
            // What is as it was before may be changed by others from now on.
            (record.switches, record.features) = (forwarding.changed(), vlan_offload.switched());
            directory.write(&record)?;
            bail!("{AGAIN}: not all is switched as it was before lb");
        }
    }
    // The record stays until then: by it another attempt knows of addresses and neighbours.
    outcome.context(AGAIN)?;
    let any = directory.remove_all().context(AGAIN)? | detached;
    Ok(if any {
        format!("removed what was pinned at {shown}")
    } else {
        format!("nothing is pinned at {shown}")
    })
}
