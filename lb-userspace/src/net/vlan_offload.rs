//! VLAN receive offload: a driver that takes the tags off hands XDP a frame without, and tells the
//! kernel beside it. The program would take a frame of a VLAN for one of none.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;

use log::{info, warn};

use super::NetError;
use super::ethtool::{Ethtool, Feature};

/// Features that hide tags: of 802.1Q (`rx-vlan-offload` in `ethtool -k`, which `ethtool -K` calls
/// `rxvlan` too) and of 802.1ad, by the kernel's names for them.
const HIDING: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

/// The interfaces whose tags are no longer taken off. To drop it leaves them so.
///
/// What is to be switched off is known before it is ([`VlanOffload::plan`]), so that it can be written down
/// first: who comes after a process that was killed in between can undo it.
#[derive(Debug, Default)]
pub struct VlanOffload {
    /// Interface and feature that was on.
    switched: Vec<Offload>,
    planned: Vec<Offload>,
    /// Interfaces that cannot: said once.
    complained: BTreeSet<String>,
}

/// An interface and a feature of it.
type Offload = (String, Cow<'static, str>);

impl VlanOffload {
    /// Finds out where the offload has to be switched off. To be called with the
    /// interfaces that the program runs on and that have VLANs on them, the slaves for a bond (see
    /// [`super::with_slaves`]); again whenever they may have changed.
    ///
    /// An interface that cannot is logged once, with what to do, and the rest goes on.
    /// [`VlanOffload::carry_out`] switches what is planned.
    ///
    /// # Errors
    /// Where there is no socket to be had.
    pub fn plan(&mut self, interfaces: &[String]) -> Result<(), NetError> {
        self.planned.clear();
        if interfaces.is_empty() {
            return Ok(());
        }
        let ethtool = Ethtool::open().map_err(cannot_open)?;
        for interface in interfaces {
            for feature in HIDING {
                match is_on(&ethtool, interface, feature) {
                    Ok(false) => {}
                    Ok(true) => self.planned.push((interface.clone(), feature.into())),
                    Err(error) => self.complain(interface, feature, &error),
                }
            }
        }
        Ok(())
    }

    /// Whether there is anything to be switched off.
    pub fn has_plan(&self) -> bool {
        !self.planned.is_empty()
    }

    /// Switches off what was planned. An interface that refuses is logged once, with what to do, and the rest goes
    /// on.
    ///
    /// # Errors
    /// Where there is no socket to be had.
    pub fn carry_out(&mut self) -> Result<(), NetError> {
        if self.planned.is_empty() {
            return Ok(());
        }
        let ethtool = Ethtool::open().map_err(cannot_open)?;
        for (interface, feature) in std::mem::take(&mut self.planned) {
            match switch_off(&ethtool, &interface, &feature) {
                Ok(()) => {
                    info!("{feature} switched off for {interface}: it hides VLAN tags");
                    let switched = (interface, feature);
                    if !self.switched.contains(&switched) {
                        self.switched.push(switched);
                    }
                }
                Err(error) => self.complain(&interface, &feature, &error),
            }
        }
        Ok(())
    }

    /// Interfaces and the features that were switched off or are about to be.
    pub fn switched(&self) -> Vec<Offload> {
        let mut all = self.switched.clone();
        all.extend(self.planned.iter().filter(|its| !self.switched.contains(its)).cloned());
        all
    }

    /// What an earlier process has switched off counts as switched off here.
    pub fn recall(switched: Vec<(String, Cow<'static, str>)>) -> Self {
        Self { switched, ..Self::default() }
    }

    /// Switches on again what was switched off; whether all of it is. An interface that refuses is logged and stays
    /// known to be switched, and the rest goes on.
    #[must_use]
    pub fn restore(&mut self) -> bool {
        if self.switched.is_empty() {
            return true;
        }
        let ethtool = match Ethtool::open() {
            Ok(ethtool) => ethtool,
            Err(error) => {
                warn!("{}", cannot_open(error));
                return false;
            }
        };
        self.switched.retain(|(interface, feature)| {
            match ethtool.set(interface, feature, true) {
                Ok(()) => info!("{feature} switched on again for {interface}"),
                // Gone, and its driver's state with it.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                // Somebody else has switched it on, or another driver has none.
                Err(_) if ethtool.feature(interface, feature).is_ok_and(is_as_before) => {}
                Err(error) => {
                    warn!("cannot switch {feature} on again for {interface}: {error}");
                    return true;
                }
            }
            false
        });
        self.switched.is_empty()
    }

    fn complain(&mut self, interface: &str, feature: &str, error: &io::Error) {
        if self.complained.insert(interface.to_string()) {
            warn!(
                "cannot switch {feature} off for {interface}: {error}: lb does not see which VLAN \
                 its packets are of; run `ethtool -K {interface} rxvlan off`, or give lb an \
                 interface that can"
            );
        }
    }
}

/// Whether a feature is on, and can be switched off.
fn is_on(ethtool: &Ethtool, interface: &str, feature: &str) -> io::Result<bool> {
    match ethtool.feature(interface, feature)? {
        None | Some(Feature { active: false, .. }) => Ok(false),
        Some(Feature { changeable: false, .. }) => Err(io::Error::other("it is fixed")),
        Some(_) => Ok(true),
    }
}

/// Whether there is nothing to be switched on again.
fn is_as_before(feature: Option<Feature>) -> bool {
    feature.is_none_or(|its| its.active)
}

fn switch_off(ethtool: &Ethtool, interface: &str, feature: &str) -> io::Result<()> {
    ethtool.set(interface, feature, false)?;
    if ethtool.feature(interface, feature)?.is_some_and(|feature| feature.active) {
        // The kernel has noted the wish all the same.
        ethtool.set(interface, feature, true)?;
        return Err(io::Error::other("the driver keeps it on"));
    }
    Ok(())
}

fn cannot_open(error: io::Error) -> NetError {
    NetError::refused("open a socket for ethtool", error)
}
