//! What nodes are asked, and what follows from what they say.

use std::time::Duration;

use anyhow::Result;
use lb_tests::balanced::SERVICE;
use lb_tests::daemon::{ConfigText, Daemon};
use lb_tests::lab::{Family, Lab, LabPlan, PORT};
use lb_tests::peer::{Kamailio, Seen, SipNode};
use lb_tests::wait::wait_until;

/// One of each family.
fn plans() -> [LabPlan; 2] {
    [Family::V4, Family::V6].map(|family| LabPlan { family, ..LabPlan::default() })
}

/// A lab whose nodes speak SIP at a port, and a balancer with a change of its config.
struct Asked {
    daemon: Daemon,
    nodes: Vec<SipNode>,
    lab: Lab,
}

impl Asked {
    fn in_lab(lab: Lab, port: u16, config: &ConfigText) -> Result<Self> {
        let nodes = lab
            .nodes()
            .iter()
            .map(|node| SipNode::start(&node.netns, node.address, port))
            .collect::<Result<_>>()?;
        let daemon = Daemon::start(&lab.balancer, config)?;
        Ok(Self { daemon, nodes, lab })
    }

    /// A node is in a state soon, and this is why.
    fn comes_to(&self, node: &str, state: &str, reason: &str) -> Result<()> {
        self.daemon.wait_for_state(SERVICE, node, state, Duration::from_secs(8))?;
        let row = self.daemon.backend(SERVICE, node)?;
        assert!(row["reason"].as_str().is_some_and(|its| its.contains(reason)), "{row}");
        Ok(())
    }
}

#[test]
fn sip_nodes_are_judged_by_what_they_answer_and_tcp_by_whether_they_listen() -> Result<()> {
    for plan in plans() {
        let lab = Lab::build(plan)?;
        let config = ConfigText::for_lab(&lab).keepalive("type", "\"sip\"");
        let asked = Asked::in_lab(lab, PORT, &config)?;
        for node in ["node1", "node2"] {
            asked.comes_to(node, "up", "sip options answered")?;
        }
        asked.nodes[0].says(503);
        asked.nodes[1].falls_mute();
        asked.comes_to("node1", "down", "sip options answered by 503, 3 of 3")?;
        asked.comes_to("node2", "down", "sip options not answered in time, 3 of 3")?;
        let shown = asked.daemon.show("keepalives")?;
        assert_eq!(shown[0]["type"], "sip", "{shown}");

        let tcp = ConfigText::for_lab(&asked.lab);
        asked.daemon.reload(&tcp)?;
        for node in ["node1", "node2"] {
            asked.comes_to(node, "up", "tcp connect succeeded")?;
        }
        let listed = tcp.keepalive("type", "\"sip\"").keepalive("down_statuses", "[404]");
        asked.daemon.reload(&listed)?;
        asked.comes_to("node2", "down", "sip options not answered in time, 3 of 3")?;
        asked.comes_to("node1", "up", "")?;
        let shown = asked.daemon.show("keepalives")?;
        assert_eq!(shown[0]["result"], "sip options answered", "by 503, which is not in the list");
    }
    Ok(())
}

#[test]
fn another_port_may_be_asked_from_another_address_and_be_reset() -> Result<()> {
    const OTHER: u16 = 5070;
    const SOURCE: &str = "10.2.0.77";
    let lab = Lab::build(LabPlan::default())?;
    lab.balancer.ip(&format!("address add {SOURCE}/24 dev back"))?;
    let config = ConfigText::for_lab(&lab)
        .keepalive("type", "\"sip\"")
        .keepalive("port", &OTHER.to_string())
        .keepalive("source_address", &format!("{SOURCE:?}"));
    let asked = Asked::in_lab(lab, OTHER, &config.clone().keepalive("close", "\"rst\""))?;
    for node in ["node1", "node2"] {
        asked.comes_to(node, "up", "sip options answered")?;
    }
    assert_eq!(asked.daemon.show("keepalives")?[0]["port"], OTHER);
    let ended = |how: fn(&Seen) -> u64| {
        wait_until("a connection to end so", Duration::from_secs(3), || {
            asked.nodes.iter().all(|node| how(&node.seen()) > 0)
        })
    };
    ended(|seen| seen.reset)?;
    for node in &asked.nodes {
        let seen = node.seen();
        assert_eq!(seen.closed, 0, "{seen:?}");
        assert_eq!(seen.clients, [SOURCE.parse()?].into(), "{seen:?}");
    }
    asked.daemon.reload(&config)?;
    ended(|seen| seen.closed)?;
    Ok(())
}

#[test]
fn hosts_may_be_asked_for_an_echo() -> Result<()> {
    for plan in plans() {
        let lab = Lab::build(plan)?;
        let config = ConfigText::for_lab(&lab).keepalive("type", "\"icmp\"");
        let daemon = Daemon::start(&lab.balancer, &config)?;
        let asked = Asked { daemon, nodes: Vec::new(), lab };
        for node in ["node1", "node2"] {
            asked.comes_to(node, "up", "icmp echo answered")?;
        }
        asked.lab.node(1).silence()?;
        asked.comes_to("node1", "down", "icmp echo not answered in time, 3 of 3")?;
        asked.lab.node(1).restore()?;
        asked.comes_to("node1", "up", "icmp echo answered")?;
        asked.comes_to("node2", "up", "icmp echo answered")?;
    }
    Ok(())
}

#[test]
fn a_real_sip_proxy_is_up() -> Result<()> {
    for plan in plans() {
        let lab = Lab::build(plan)?;
        let nodes = lab.nodes();
        let proxy = Kamailio::start(&nodes[0].netns, nodes[0].address, PORT)?;
        let config = ConfigText::for_lab(&lab).keepalive("type", "\"sip\"");
        let daemon = Daemon::start(&lab.balancer, &config)?;
        let wait = |state| daemon.wait_for_state(SERVICE, "node1", state, Duration::from_secs(8));
        wait("up")?;
        assert_eq!(daemon.backend(SERVICE, "node2")?["state"], "down", "nobody is there");
        let shown = daemon.backend(SERVICE, "node1")?;
        assert!(shown["reason"].as_str().is_some_and(|its| its.contains("answered")), "{shown}");
        drop(proxy);
        wait("down")?;
    }
    Ok(())
}
