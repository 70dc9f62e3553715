//! Connections.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// One row of `lb show flows`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowRow {
    /// The service.
    pub service: String,
    /// The backend that has it.
    pub backend: String,
    /// `inbound`, or `outbound` for a connection that the backend has opened.
    #[serde(default = "inbound")]
    pub direction: String,
    /// The client's address; of an outbound connection that of the remote end.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// The address that is seen in place of the one who opened the connection, where that is
    /// translated.
    #[serde(default)]
    pub snat_address: Option<IpAddr>,
    /// Its port.
    #[serde(default)]
    pub snat_port: Option<u16>,
    /// `opening`, `established`, `closing` or `closed`.
    pub state: String,
    /// Since its last packet; exact to about a second.
    pub idle_seconds: u64,
}

/// What flows were before their direction was told.
fn inbound() -> String {
    "inbound".to_owned()
}

/// `lb show flow`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowReport {
    /// The client that was asked for.
    pub client: IpAddr,
    /// Its port.
    pub client_port: u16,
    /// Its connections, of all services.
    pub flows: Vec<FlowDetail>,
    /// Where it has none: what would become of a new one, by service.
    pub new_connections: Vec<Choice>,
}

/// A connection, and why it is where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FlowDetail {
    /// As `lb show flows` has it.
    #[serde(flatten)]
    pub flow: FlowRow,
    /// The service's address.
    pub vip: IpAddr,
    /// The service's port.
    pub port: u16,
    /// Where the backend listens.
    pub backend_address: IpAddr,
    /// Where the backend listens.
    pub backend_port: u16,
    /// As in [`BackendRow`](super::BackendRow).
    pub backend_state: String,
    /// Why the backend is in that state.
    pub backend_reason: String,
    /// By what the backend was chosen: `consistent-hash`, `client-address`,
    /// `least-connections`, `backup`; `earlier-choice`
    /// where a new connection would get another one; `opened-by-backend`.
    pub chosen_by: String,
    /// The same in words.
    pub why: String,
    /// The backend that a new connection from there would get.
    pub new_connection: Option<String>,
}

/// What would become of a new connection to a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The service.
    pub service: String,
    /// Its address.
    pub vip: IpAddr,
    /// Its port.
    pub port: u16,
    /// The backend that would get it; none where nobody takes new connections.
    pub backend: Option<String>,
    /// As in [`FlowDetail`]; `nobody` where nobody takes new connections.
    pub chosen_by: String,
    /// The same in words.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_flow_of_both_families_has_its_addresses_as_texts() {
        for (client, snat) in [("10.0.0.7", "192.0.2.10"), ("2001:db8::7", "2001:db8::10")] {
            let row = json!({
                "service": "csta",
                "backend": "imp1",
                "direction": "outbound",
                "client": client,
                "client_port": 40000,
                "snat_address": snat,
                "snat_port": 1024,
                "state": "established",
                "idle_seconds": 3,
            });
            let flow: FlowRow = serde_json::from_value(row.clone()).expect("a flow");
            assert_eq!(flow.client.to_string(), client);
            assert_eq!(serde_json::to_value(&flow).expect("JSON"), row);
        }
    }

    #[test]
    fn flows_of_a_daemon_that_translates_nothing_are_understood() {
        let flow: FlowRow = serde_json::from_value(json!({
            "service": "csta", "backend": "imp1", "client": "10.0.0.7", "client_port": 40000,
            "state": "established", "idle_seconds": 3,
        }))
        .expect("a flow");
        assert_eq!((flow.direction.as_str(), flow.snat_address), ("inbound", None));
    }
}
