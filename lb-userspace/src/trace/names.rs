//! The names of what the programs know by numbers and addresses.

use std::net::{IpAddr, SocketAddr};

use crate::state::Service;

/// The names at one point in time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    /// The devices that the program is attached to.
    pub devices: Vec<Device>,
    /// The services.
    pub services: Vec<NamedService>,
}

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its index.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// Its link address, if it is known.
    pub address: Option<[u8; 6]>,
}

/// A service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedService {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// Its backends.
    pub backends: Vec<NamedBackend>,
}

/// A backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedBackend {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
}

impl NamedService {
    /// Of the state machine's.
    pub fn of(service: &Service) -> Self {
        let named = |backend: &crate::state::Backend| NamedBackend {
            name: backend.name.clone(),
            address: backend.address,
        };
        Self {
            number: service.id,
            name: service.name.clone(),
            backends: service.backends.iter().map(named).collect(),
        }
    }

    /// The backend at one of these ends; where the ports say none, by the address alone.
    pub fn backend(&self, ends: &[(IpAddr, Option<u16>)]) -> Option<&NamedBackend> {
        let at = |whole: bool| {
            self.backends.iter().find(|backend| {
                ends.iter().any(|&(address, port)| {
                    address == backend.address.ip()
                        && (!whole || port == Some(backend.address.port()))
                })
            })
        };
        at(true).or_else(|| at(false))
    }
}

impl Names {
    /// The service with this number.
    pub fn service(&self, number: u32) -> Option<&NamedService> {
        self.services.iter().find(|service| service.number == number)
    }

    /// The name of a device.
    pub fn device(&self, index: u32) -> String {
        let known = self.devices.iter().find(|device| device.index == index);
        known.map_or_else(|| format!("#{index}"), |device| device.name.clone())
    }

    /// The device by which a frame was redirected that came by the device `from` and has this link
    /// address as its source; none where more than one may be it.
    pub fn redirected(&self, from: u32, source: [u8; 6]) -> Option<String> {
        let others = || self.devices.iter().filter(|device| device.index != from);
        let only = |mut found: Box<dyn Iterator<Item = &Device> + '_>| match (
            found.next(),
            found.next(),
        ) {
            (Some(device), None) => Some(device.name.clone()),
            _ => None,
        };
        only(Box::new(others()))
            .or_else(|| only(Box::new(others().filter(|device| device.address == Some(source)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(index: u32, last: u8) -> Device {
        Device { index, name: format!("eth{index}"), address: Some([2, 0, 0, 0, 0, last]) }
    }

    #[test]
    fn the_way_out_is_the_other_device_or_the_one_with_the_address() {
        let mut names = Names { devices: vec![device(1, 1), device(2, 2)], services: Vec::new() };
        assert_eq!(names.redirected(1, [9; 6]).as_deref(), Some("eth2"));
        names.devices.push(device(3, 3));
        assert_eq!(names.redirected(1, [2, 0, 0, 0, 0, 3]).as_deref(), Some("eth3"));
        assert_eq!(names.redirected(1, [9; 6]), None);
        names.devices.push(device(4, 3));
        assert_eq!(names.redirected(1, [2, 0, 0, 0, 0, 3]), None, "two have it");
        assert_eq!((names.device(1), names.device(7)), ("eth1".to_owned(), "#7".to_owned()));
    }

    #[test]
    fn a_backend_is_known_by_its_port_first() {
        let backend = |name: &str, address: &str| NamedBackend {
            name: name.to_owned(),
            address: address.parse().expect("an address"),
        };
        let service = NamedService {
            number: 1,
            name: "csta".to_owned(),
            backends: vec![backend("a", "10.0.0.1:5060"), backend("b", "10.0.0.1:5062")],
        };
        let ip = "10.0.0.1".parse().expect("an address");
        let name = |port| service.backend(&[(ip, port)]).map(|backend| backend.name.as_str());
        assert_eq!(name(Some(5062)), Some("b"));
        assert_eq!(name(Some(40_000)), Some("a"));
        assert_eq!(service.backend(&[("10.0.0.2".parse().expect("an address"), None)]), None);
    }
}
