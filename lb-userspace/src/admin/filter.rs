//! Which flows and events to list.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::report::FlowRow;

/// Which flows to list: those that match everything that is given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FlowFilter {
    /// Of this service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// On the backend of this name, in whatever service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// With this address as its client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// In this state.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Which events to list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFilter {
    /// Those after the one with this number. A number that the daemon has not given out since its start
    /// is one of an earlier life: then all of them.
    pub after: u64,
}

impl FlowFilter {
    /// Whether `flow` is to be listed.
    pub fn matches(&self, flow: &FlowRow) -> bool {
        fn fits<T: PartialEq>(wanted: Option<&T>, found: &T) -> bool {
            wanted.is_none_or(|wanted| wanted == found)
        }
        fits(self.service.as_ref(), &flow.service)
            && fits(self.backend.as_ref(), &flow.backend)
            && fits(self.client.as_ref(), &flow.client)
            && fits(self.state.as_ref(), &flow.state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow() -> FlowRow {
        FlowRow {
            service: "csta".to_owned(),
            backend: "imp1".to_owned(),
            direction: "inbound".to_owned(),
            client: [10, 0, 0, 7].into(),
            client_port: 40_000,
            snat_address: None,
            snat_port: None,
            state: "established".to_owned(),
            idle_seconds: 3,
        }
    }

    #[test]
    fn everything_given_must_match() {
        let all = FlowFilter {
            service: Some("csta".to_owned()),
            backend: Some("imp1".to_owned()),
            client: Some([10, 0, 0, 7].into()),
            state: Some("established".to_owned()),
        };
        assert!(FlowFilter::default().matches(&flow()));
        assert!(all.matches(&flow()));
        for other in [
            FlowFilter { service: Some("sip".to_owned()), ..all.clone() },
            FlowFilter { backend: Some("imp2".to_owned()), ..all.clone() },
            FlowFilter { client: Some([10, 0, 0, 8].into()), ..all.clone() },
            FlowFilter { state: Some("closed".to_owned()), ..all.clone() },
        ] {
            assert!(!other.matches(&flow()), "{other:?}");
        }
    }

    #[test]
    fn survives_the_query_of_an_address() {
        let filter = FlowFilter {
            service: Some("a b&c".to_owned()),
            client: Some([10, 0, 0, 7].into()),
            ..FlowFilter::default()
        };
        let query = serde_urlencoded::to_string(&filter).unwrap();
        assert_eq!(query, "service=a+b%26c&client=10.0.0.7");
        assert_eq!(serde_urlencoded::from_str::<FlowFilter>(&query).unwrap(), filter);
        let filter = FlowFilter {
            client: Some(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7])),
            ..FlowFilter::default()
        };
        let query = serde_urlencoded::to_string(&filter).unwrap();
        assert_eq!(query, "client=2001%3Adb8%3A%3A7");
        assert_eq!(serde_urlencoded::from_str::<FlowFilter>(&query).unwrap(), filter);
        assert!(serde_urlencoded::from_str::<FlowFilter>("servise=csta").is_err());
    }
}
