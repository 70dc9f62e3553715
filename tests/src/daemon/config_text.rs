//! The text of a config file with one service, key by key, so that a suite says only what is
//! special about its own.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::path::Path;

use crate::lab::{Lab, PORT, Topology};

/// The service in the lab.
const SERVICE: &str = "csta";

/// A backend's table.
#[derive(Debug, Clone)]
pub struct BackendText {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its weight.
    pub weight: u32,
    /// Other keys with their values as TOML writes them.
    pub keys: Vec<(String, String)>,
}

/// A config file. Values are given as TOML writes them: `"\"full-nat\""`, `"1024"`, `"true"`.
#[derive(Debug, Clone)]
pub struct ConfigText {
    global: Vec<(String, String)>,
    service: Vec<(String, String)>,
    keepalive: Vec<(String, String)>,
    /// The backends of the service.
    pub backends: Vec<BackendText>,
    others: Vec<ConfigText>,
}

impl ConfigText {
    /// The service `csta` of the lab with all its nodes as backends of weight 1. Keepalives are
    /// quick: a silent node is down within 1 s + 3 × (0.2 s + 0.5 s), a new one up at the first
    /// success. In a one-armed lab, where nodes have no way back, it is [`ConfigText::full_nat`].
    pub fn for_lab(lab: &Lab) -> Self {
        let plan = lab.plan();
        let backends = lab.nodes().iter().map(|node| BackendText {
            name: node.name.clone(),
            address: node.address,
            port: PORT,
            weight: 1,
            keys: Vec::new(),
        });
        let config = Self {
            global: Vec::new(),
            service: Vec::new(),
            keepalive: Vec::new(),
            backends: backends.collect(),
            others: Vec::new(),
        }
        .global("interfaces", &format!("{:?}", plan.interfaces()))
        .service("name", &format!("{SERVICE:?}"))
        .service("vip", &format!("\"{}\"", plan.vip()))
        .service("port", &PORT.to_string())
        .keepalive("type", "\"tcp\"")
        .keepalive("interval", "\"1s\"")
        .keepalive("retry_interval", "\"200ms\"")
        .keepalive("timeout", "\"500ms\"")
        .keepalive("fall", "3")
        .keepalive("rise", "1");
        match plan.topology {
            Topology::Routed => config,
            Topology::OneArmed => config.full_nat(lab),
        }
    }

    /// The same with `forwarding = "full-nat"` and the lab's first two SNAT addresses.
    #[must_use]
    pub fn full_nat(self, lab: &Lab) -> Self {
        self.full_nat_from(&[1, 2].map(|i| lab.plan().snat_address(i)))
    }

    /// The same with `forwarding = "full-nat"` and these SNAT addresses.
    #[must_use]
    pub fn full_nat_from(self, addresses: &[IpAddr]) -> Self {
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        self.service("forwarding", "\"full-nat\"")
            .service("snat_addresses", &format!("{addresses:?}"))
    }

    /// Sets a key of the file's top level.
    #[must_use]
    pub fn global(mut self, key: &str, value: &str) -> Self {
        set(&mut self.global, key, value);
        self
    }

    /// Sets a key of the service.
    #[must_use]
    pub fn service(mut self, key: &str, value: &str) -> Self {
        set(&mut self.service, key, value);
        self
    }

    /// Sets a key of the service's keepalive.
    #[must_use]
    pub fn keepalive(mut self, key: &str, value: &str) -> Self {
        set(&mut self.keepalive, key, value);
        self
    }

    /// Sets a backend's weight.
    ///
    /// # Panics
    /// When there is no such backend.
    #[must_use]
    pub fn weight(mut self, backend: &str, weight: u32) -> Self {
        self.named(backend).weight = weight;
        self
    }

    /// Sets another key of a backend.
    ///
    /// # Panics
    /// When there is no such backend.
    #[must_use]
    pub fn backend(mut self, backend: &str, key: &str, value: &str) -> Self {
        set(&mut self.named(backend).keys, key, value);
        self
    }

    fn named(&mut self, backend: &str) -> &mut BackendText {
        let found = self.backends.iter_mut().find(|its| its.name == backend);
        found.unwrap_or_else(|| panic!("no backend {backend} in the config"))
    }

    /// Adds the services of another config. Its keys of the top level are left out.
    #[must_use]
    pub fn and_service(mut self, other: Self) -> Self {
        self.others.push(other);
        self
    }

    /// Leaves a backend out.
    #[must_use]
    pub fn without(mut self, backend: &str) -> Self {
        self.backends.retain(|its| its.name != backend);
        self
    }

    /// The text of the file.
    pub fn render(&self, admin_socket: &Path) -> String {
        let mut text = String::new();
        add(&mut text, &self.global);
        add(&mut text, &[("admin_socket".to_owned(), format!("{admin_socket:?}"))]);
        self.render_services(&mut text);
        text
    }

    fn render_services(&self, text: &mut String) {
        *text += "\n[[service]]\n";
        add(text, &self.service);
        *text += "\n[service.keepalive]\n";
        add(text, &self.keepalive);
        for BackendText { name, address, port, weight, keys } in &self.backends {
            *text += "\n[[service.backend]]\n";
            let _ = writeln!(text, "name = {name:?}\naddress = \"{address}\"");
            let _ = writeln!(text, "port = {port}\nweight = {weight}");
            add(text, keys);
        }
        for other in &self.others {
            other.render_services(text);
        }
    }
}

fn set(keys: &mut Vec<(String, String)>, key: &str, value: &str) {
    match keys.iter_mut().find(|(its, _)| its == key) {
        Some((_, old)) => value.clone_into(old),
        None => keys.push((key.to_owned(), value.to_owned())),
    }
}

fn add(text: &mut String, keys: &[(String, String)]) {
    for (key, value) in keys {
        *text += &format!("{key} = {value}\n");
    }
}
