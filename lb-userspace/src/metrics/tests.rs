use std::collections::BTreeSet;

use serde_json::json;

use super::*;

fn snapshot() -> Snapshot {
    let counts = json!({
        "active_flows": 17, "new_flows": 1_234_567, "packets_in": 20, "packets_out": 30,
        "bytes_in": 4_000, "bytes_out": 5_000_000_000_u64, "dropped": 12,
    });
    let with = |own: serde_json::Value| {
        let mut all = counts.clone();
        all.as_object_mut().expect("a map").extend(own.as_object().expect("a map").clone());
        all
    };
    serde_json::from_value(json!({
        "summary": with(json!({
            "version": "1.2.3", "pid": 7, "uptime_seconds": 60, "config": "/etc/lb.toml",
            "interfaces": [{ "name": "eth0", "xdp_mode": "native" }], "services": 1, "backends": 2,
            "backends_available": 1, "flow_capacity": 1024, "refused_flows": 3, "reset_flows": 150,
            "reloads_done": 2, "reloads_refused": 1,
        })),
        "services": [with(json!({
            "service": "csta", "vip": "192.0.2.100", "port": 5060, "protocol": "tcp",
            "forwarding": "nat", "state": "up", "backends": 2, "backends_available": 1,
        }))],
        "backends": [with(json!({
            "service": "csta", "backend": "imp1", "address": "10.0.0.11", "port": 5060, "weight": 2,
            "state": "draining", "reason": "", "since_seconds": 192, "share_percent": 25.0,
        }))],
        "keepalives": [{
            "service": "csta", "backend": "imp1", "address": "10.0.0.11", "port": 5060,
            "type": "sip", "state": "up", "result": "", "latency_ms": 1.5,
            "last_check_seconds": 0.1, "checks": 40, "failures": 4,
        }],
        "drops": [
            { "service": "csta", "reason": "unavailable", "action": "dropped", "packets": 12 },
            { "service": null, "reason": "not_ours", "action": "passed", "packets": 5 },
        ],
        "syslog": { "sent": 8, "lost": 2 },
        "tables": [{ "table": "ipv4", "flows": 17, "capacity": 1024 }],
        "ports": [
            { "snat_address": "192.0.2.110", "backend": "10.0.0.11:5060", "used": 9, "ports": 64512 },
            { "snat_address": "192.0.2.100", "backend": null, "used": 2, "ports": 64511 },
        ],
    }))
    .expect("a snapshot")
}

#[test]
fn every_figure_has_its_name_unit_and_labels() {
    let text = text(snapshot()).expect("a text");
    println!("{text}");
    for line in [
        "lb_build_info{version=\"1.2.3\"} 1.0",
        "lb_uptime_seconds 60.0",
        "lb_interface_info{interface=\"eth0\",mode=\"native\"} 1.0",
        "lb_flow_capacity 1024.0",
        "lb_flows_refused_total 3",
        "lb_flows_reset_total 150",
        "lb_reloads_total{result=\"done\"} 2",
        "lb_reloads_total{result=\"refused\"} 1",
        "lb_service_backends{service=\"csta\"} 2.0",
        "lb_service_backends_available{service=\"csta\"} 1.0",
        "lb_backend_state{service=\"csta\",backend=\"imp1\",state=\"up\"} 0.0",
        "lb_backend_state{service=\"csta\",backend=\"imp1\",state=\"draining\"} 1.0",
        "lb_backend_state_age_seconds{service=\"csta\",backend=\"imp1\"} 192.0",
        "lb_backend_weight{service=\"csta\",backend=\"imp1\"} 2.0",
        "lb_backend_share_ratio{service=\"csta\",backend=\"imp1\"} 0.25",
        "lb_backend_flows{service=\"csta\",backend=\"imp1\"} 17.0",
        "lb_backend_flows_opened_total{service=\"csta\",backend=\"imp1\"} 1234567",
        "lb_backend_packets_total{service=\"csta\",backend=\"imp1\",direction=\"in\"} 20",
        "lb_backend_traffic_bytes_total{service=\"csta\",backend=\"imp1\",direction=\"out\"} 5000000000",
        "lb_keepalive_checks_total{service=\"csta\",backend=\"imp1\",type=\"sip\"} 40",
        "lb_keepalive_failures_total{service=\"csta\",backend=\"imp1\",type=\"sip\"} 4",
        "lb_keepalive_latency_seconds{service=\"csta\",backend=\"imp1\",type=\"sip\"} 0.0015",
        "lb_syslog_messages_total 8",
        "lb_syslog_messages_lost_total 2",
        "lb_flow_table_flows{table=\"ipv4\"} 17.0",
        "lb_snat_ports{snat_address=\"192.0.2.110\",backend_address=\"10.0.0.11:5060\"} 64512.0",
        "lb_snat_ports_used{snat_address=\"192.0.2.110\",backend_address=\"10.0.0.11:5060\"} 9.0",
        "lb_snat_ports_used{snat_address=\"192.0.2.100\",backend_address=\"\"} 2.0",
        "lb_packets_total{service=\"csta\",reason=\"unavailable\",action=\"dropped\"} 12",
        "lb_packets_total{service=\"\",reason=\"not_ours\",action=\"passed\"} 5",
    ] {
        assert!(text.lines().any(|its| its == line), "{line} is not in:\n{text}");
    }
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn every_family_says_what_it_is_once() {
    let text = text(snapshot()).expect("a text");
    let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup_by_key(|line| line.split(' ').next());
    assert_eq!(once.len(), names.len(), "{names:?}");
    for sample in text.lines().filter(|line| !line.starts_with('#')) {
        let of_family = |family: &&&str| {
            let family = family.split(' ').next().expect("a name");
            let rest = sample.strip_prefix(family).unwrap_or("?");
            ["{", " ", "_total"].iter().any(|next| rest.starts_with(next))
        };
        assert!(names.iter().any(|family| of_family(&family)), "{sample} has no family");
    }
}

/// The names of figures in a text.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !is_part(c)).filter(|word| word.starts_with("lb_")).collect()
}

#[test]
fn alerts_and_the_dashboard_name_figures_that_there_are() {
    let text = text(snapshot()).expect("a text");
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let known: BTreeSet<_> = samples.filter_map(|line| line.split(['{', ' ']).next()).collect();
    let alerts = include_str!("../../../docs/alerts.yml");
    let dashboard = include_str!("../../../docs/grafana.json");
    serde_json::from_str::<serde_json::Value>(dashboard).expect("JSON");
    for (file, text) in [("alerts.yml", alerts), ("grafana.json", dashboard)] {
        let named = names_in(text);
        assert!(named.len() > 5, "{file} names {named:?}");
        let unknown: Vec<_> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which lb does not tell");
    }
}

#[test]
fn monitoring_md_names_every_figure() {
    let text = text(snapshot()).expect("a text");
    let documented = names_in(include_str!("../../../docs/monitoring.md"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        assert!(documented.contains(name), "{name} is not in docs/monitoring.md");
    }
}
