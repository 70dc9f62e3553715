//! The families of figures, from a snapshot.

use std::fmt::Error;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use crate::report::{Snapshot, SyslogRow};

/// A snapshot, family by family.
#[derive(Debug)]
pub(super) struct Figures(pub(super) Snapshot);

/// Names and values that tell what is counted apart.
type Labels<'a> = Vec<(&'static str, &'a str)>;

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let mut families = Families(encoder);
        self.balancer(&mut families)?;
        self.services(&mut families)?;
        self.backends(&mut families)?;
        self.keepalives(&mut families)?;
        self.room(&mut families)?;
        self.packets(&mut families)
    }
}

impl Figures {
    fn balancer(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let its = &self.0.summary;
        let alone = |value: f64| [(Labels::new(), value)];
        let version = [(vec![("version", its.version.as_str())], 1.0)];
        families.gauges("build_info", "The version that runs", None, version)?;
        let uptime = alone(its.uptime_seconds as f64);
        families.gauges("uptime", "Time since the start", Some(&Unit::Seconds), uptime)?;
        let native = its.interfaces.iter().map(|interface| {
            let labels = vec![("interface", &*interface.name), ("mode", &*interface.xdp_mode)];
            (labels, 1.0)
        });
        families.gauges("interface_info", "XDP mode of each interface", None, native)?;
        let capacity = alone(its.flow_capacity.into());
        families.gauges(
            "flow_capacity",
            "Proven connections that the table holds",
            None,
            capacity,
        )?;
        let help = "Connections that had their proof while the table was full, at each try";
        families.counters("flows_refused", help, None, [(Labels::new(), its.refused_flows)])?;
        let help = "Connections that both ends were told of by RST";
        families.counters("flows_reset", help, None, [(Labels::new(), its.reset_flows)])?;
        let messages = |count: fn(&SyslogRow) -> u64| {
            self.0.syslog.iter().map(move |its| (Labels::new(), count(its)))
        };
        let help = "Events that were sent to the syslog receiver";
        families.counters("syslog_messages", help, None, messages(|its| its.sent))?;
        let help = "Events that the syslog receiver has not got, as far as that is known";
        families.counters("syslog_messages_lost", help, None, messages(|its| its.lost))?;
        let reloads = [("done", its.reloads_done), ("refused", its.reloads_refused)]
            .map(|(result, count)| (vec![("result", result)], count));
        families.counters("reloads", "Config files read again, by result", None, reloads)
    }

    fn services(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let rows = || self.0.services.iter().map(|its| (vec![("service", &*its.service)], its));
        let known = rows().map(|(labels, its)| (labels, its.backends as f64));
        families.gauges("service_backends", "Backends of the service", None, known)?;
        let available = rows().map(|(labels, its)| (labels, its.backends_available as f64));
        let help = "Backends of the service that take new connections";
        families.gauges("service_backends_available", help, None, available)
    }

    fn backends(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let rows = || {
            let rows = self.0.backends.iter();
            rows.map(|its| (vec![("service", &*its.service), ("backend", &*its.backend)], its))
        };
        let states = rows().flat_map(|(labels, its)| {
            ["up", "down", "draining", "suspended"].map(|state| {
                let labels = [&labels[..], &[("state", state)]].concat();
                (labels, f64::from(u8::from(its.state == state)))
            })
        });
        families.gauges("backend_state", "1 for the state that the backend has", None, states)?;
        let since = rows().map(|(labels, its)| (labels, its.since_seconds as f64));
        let help = "How long the backend has been in its state";
        families.gauges("backend_state_age", help, Some(&Unit::Seconds), since)?;
        let weights = rows().map(|(labels, its)| (labels, its.weight.into()));
        families.gauges("backend_weight", "Weight of the backend", None, weights)?;
        let shares = rows().map(|(labels, its)| (labels, its.share_percent / 100.0));
        let help = "Part of the service's hash table that is the backend's";
        families.gauges("backend_share", help, Some(&Unit::Other("ratio".to_owned())), shares)?;
        let active = rows().map(|(labels, its)| (labels, its.active_flows as f64));
        families.gauges("backend_flows", "Proven connections", None, active)?;
        let opened = rows().map(|(labels, its)| (labels, its.new_flows));
        families.counters(
            "backend_flows_opened",
            "Connections given to the backend",
            None,
            opened,
        )?;
        let packets =
            rows().flat_map(|(labels, its)| both_ways(labels, [its.packets_in, its.packets_out]));
        let help = "Packets of connections; in: towards the backend";
        families.counters("backend_packets", help, None, packets)?;
        let bytes =
            rows().flat_map(|(labels, its)| both_ways(labels, [its.bytes_in, its.bytes_out]));
        let help = "Bytes of IP packets of connections; in: towards the backend";
        families.counters("backend_traffic", help, Some(&Unit::Bytes), bytes)
    }

    fn keepalives(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let rows = || {
            let rows = self.0.keepalives.iter();
            rows.map(|its| {
                let labels = vec![
                    ("service", &*its.service),
                    ("backend", &*its.backend),
                    ("type", &*its.r#type),
                ];
                (labels, its)
            })
        };
        let checks = rows().map(|(labels, its)| (labels, its.checks));
        families.counters("keepalive_checks", "Checks of the backend", None, checks)?;
        let failures = rows().map(|(labels, its)| (labels, its.failures));
        families.counters("keepalive_failures", "Checks that failed", None, failures)?;
        let latencies = rows().filter_map(|(labels, its)| Some((labels, its.latency_ms? / 1000.0)));
        let help = "How long the last successful check took";
        families.gauges("keepalive_latency", help, Some(&Unit::Seconds), latencies)
    }

    fn room(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let tables = self.0.tables.iter();
        let flows = tables.map(|its| (vec![("table", &*its.table)], its.flows as f64));
        let help = "Proven connections in each table, of which each holds lb_flow_capacity";
        families.gauges("flow_table_flows", help, None, flows)?;
        let pairs: Vec<_> = self
            .0
            .ports
            .iter()
            .map(|its| {
                let backend = its.backend.map(|backend| backend.to_string()).unwrap_or_default();
                (its.snat_address.to_string(), backend, its)
            })
            .collect();
        let rows = || {
            pairs.iter().map(|(snat, backend, its)| {
                (vec![("snat_address", &**snat), ("backend_address", &**backend)], its)
            })
        };
        let ports = rows().map(|(labels, its)| (labels, its.ports.into()));
        let help = "Ports of the SNAT address for the backend; no backend: for what nodes open";
        families.gauges("snat_ports", help, None, ports)?;
        let used = rows().map(|(labels, its)| (labels, its.used.into()));
        families.gauges("snat_ports_used", "Those that proven connections have", None, used)
    }

    fn packets(&self, families: &mut Families<'_>) -> Result<(), Error> {
        let rows = self.0.drops.iter().map(|its| {
            let service = its.service.as_deref().unwrap_or_default();
            let labels =
                vec![("service", service), ("reason", &*its.reason), ("action", &*its.action)];
            (labels, its.packets)
        });
        let help = "Packets that did not simply go through, by reason; no service: of none";
        families.counters("packets", help, None, rows)
    }
}

/// What goes towards the backend, and what comes from there.
fn both_ways(labels: Labels<'_>, [inwards, outwards]: [u64; 2]) -> [(Labels<'_>, u64); 2] {
    [("in", inwards), ("out", outwards)]
        .map(|(direction, count)| ([&labels[..], &[("direction", direction)]].concat(), count))
}

/// Writes families.
struct Families<'e>(DescriptorEncoder<'e>);

impl Families<'_> {
    fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = (Labels<'l>, f64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (labels, value) in rows {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        rows: impl IntoIterator<Item = (Labels<'l>, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in rows {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}
