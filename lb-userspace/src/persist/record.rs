//! What a process leaves for the next one.

use std::{borrow::Cow, collections::BTreeSet, net::IpAddr};

use lb_common::LAYOUT;
use serde::{Deserialize, Serialize};

use crate::{datapath::Geometry, net::Switch, state::Remembered};

/// Everything that is neither in the maps nor in the config file.
///
/// An lb reads what earlier and later ones have written: what is added has a default, and what is not known is
/// passed over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What the maps are like (see [`LAYOUT`]).
    pub layout: u32,
    /// The directory where the datapath is kept.
    pub directory: String,
    /// What its tables of flows are like.
    pub geometry: Geometry,
    /// Services, backends, and what operators have ordered.
    pub state: Remembered,
    /// The interfaces of the config, and earlier ones on which something may be left.
    #[serde(default)]
    pub interfaces: Vec<String>,
    /// Addresses that may be left on interfaces, beside those of the services.
    #[serde(default)]
    pub left_addresses: BTreeSet<IpAddr>,
    /// Switches of the kernel's that were switched, and their values before.
    #[serde(default)]
    pub switches: Vec<(Switch, String)>,
    /// Interfaces and features of theirs that were switched off.
    #[serde(default)]
    pub features: Vec<(String, Cow<'static, str>)>,
}

/// What an earlier process has left.
#[derive(Debug)]
pub enum FoundRecord {
    /// Nothing, or what is left of a start that came to nothing.
    Nothing,
    /// Of a datapath that was to go, and that no interface has any more: there is something to clean up, and what
    /// operators have ordered.
    Ended(Record),
    /// A datapath that can be taken over.
    Usable(Record),
    /// One that this lb would misread.
    Unusable {
        /// Why.
        why: String,
        /// The record, where it can be read.
        record: Option<Record>,
    },
}

impl FoundRecord {
    /// What was written, where it can be read.
    pub fn record(&self) -> Option<&Record> {
        match self {
            Self::Nothing => None,
            Self::Ended(record) | Self::Usable(record) => Some(record),
            Self::Unusable { record, .. } => record.as_ref(),
        }
    }

    /// The name of the directory of the datapath that goes on.
    pub fn directory(&self) -> Option<&str> {
        match self {
            Self::Ended(_) => None,
            _ => self.record().map(|its| its.directory.as_str()),
        }
    }
}

impl Record {
    pub(super) fn parse(text: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(text)
    }

    /// All addresses that may be on interfaces.
    pub fn addresses(&self) -> BTreeSet<IpAddr> {
        self.state.addresses().into_iter().chain(self.left_addresses.iter().copied()).collect()
    }

    /// # Panics
    /// Never: it has nothing that JSON has not.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("it has nothing that JSON has not")
    }

    /// Why its maps would be misread, if they would be.
    pub(super) fn unusable(&self) -> Option<String> {
        let its = self.layout;
        (its != LAYOUT).then(|| format!("its maps are of layout {its}, and this lb's of {LAYOUT}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;
    use crate::{
        config::Config,
        state::{Clocks, State},
    };

    /// The least that was ever written of a service and its backend.
    fn least() -> serde_json::Value {
        json!({
            "layout": LAYOUT,
            "directory": "v1-0",
            "geometry": { "flow_capacity": 1024, "seed": 7 },
            "state": { "services": [{
                "id": 3,
                "name": "csta",
                "vip": "192.0.2.100:5060",
                "settled": true,
                "backends": [{
                    "slot": 5,
                    "name": "imp1",
                    "address": "10.0.0.11:5060",
                    "weight": 1,
                    "file_weight": 1,
                    "up": true,
                    "out": false,
                    "decided": true,
                    "listed": true,
                }],
            }]},
        })
    }

    fn read(record: &serde_json::Value) -> Record {
        Record::parse(record.to_string().as_bytes()).expect("it can be read")
    }

    #[test]
    fn a_record_without_what_was_added_later_is_read() {
        let record = read(&least());
        assert_eq!(record.unusable(), None);
        assert_eq!(record.state.size(), (1, 1));
        assert_eq!(record.addresses(), BTreeSet::from([[192, 0, 2, 100].into()]));
        assert_eq!(
            (record.interfaces.len(), record.switches.len(), record.features.len()),
            (0, 0, 0)
        );
        let again = Record::parse(&record.to_bytes()).expect("its own words");
        assert_eq!(again, record);
        let text = "interfaces = ['eth0']\n[[service]]\nname = 'csta'\nvip = '192.0.2.100'\n\
                    backend = [{ name = 'imp1', address = '10.0.0.11' }]";
        let config = Config::parse(text, "lb.toml").unwrap_or_else(|error| panic!("{error}"));
        let clocks = Clocks { now: Instant::now(), shared: Duration::from_secs(100) };
        let (state, _) = State::take_over(&record.state, &config, clocks).expect("it goes on");
        let backends = state.desired().backends;
        assert_eq!(backends.iter().map(|its| its.slot).collect::<Vec<_>>(), [5]);
    }

    #[test]
    fn what_a_later_lb_has_added_is_passed_over() {
        let mut record = least();
        record["colour"] = json!("red");
        record["state"]["services"][0]["colour"] = json!({ "of": ["paint"] });
        record["state"]["services"][0]["backends"][0]["colour"] = json!(3);
        assert_eq!(read(&record), read(&least()));
    }

    #[test]
    fn without_what_flows_are_found_by_it_cannot_be_read() {
        for key in ["layout", "directory", "geometry", "state"] {
            let mut record = least();
            record.as_object_mut().expect("an object").remove(key);
            let error = Record::parse(record.to_string().as_bytes()).expect_err("it is not whole");
            assert!(error.to_string().contains(key), "{error}");
        }
    }
}
