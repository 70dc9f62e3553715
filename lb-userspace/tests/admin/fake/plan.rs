//! What a reload would change of it.

use lb_userspace::{
    plan::{BackendPlan, Change, Plan, ServicePlan},
    state::OrderKept,
};

pub(super) fn plan() -> Plan {
    let backend =
        |name: &str, host, change, weights: [Option<u32>; 2], shares: [f64; 2]| BackendPlan {
            service: "csta".to_owned(),
            backend: name.to_owned(),
            address: [10, 0, 0, host].into(),
            port: 5060,
            change,
            weight_before: weights[0],
            weight: weights[1],
            share_before_percent: shares[0],
            share_percent: shares[1],
            active_flows: 17,
            resets: false,
        };
    Plan {
        needs_restart: None,
        services: vec![ServicePlan {
            service: "csta".to_owned(),
            vip: [192, 0, 2, 100].into(),
            port: 5060,
            change: Change::Changed,
            keys: vec!["affinity".to_owned()],
            moves_percent: 50.04,
            reset_flows: 0,
            kept_flows: 1_234_567,
        }],
        backends: vec![
            backend("imp1", 11, Change::Stays, [Some(1); 2], [50.0; 2]),
            backend("imp2", 12, Change::Leaves, [Some(1), None], [50.0, 0.0]),
            backend("imp3", 13, Change::Added, [None, Some(2)], [0.0, 50.0]),
        ],
        orders: vec![OrderKept {
            service: "csta".to_owned(),
            backend: "imp1".to_owned(),
            order: "weight 5".to_owned(),
            stays: true,
            remark: "(1 in the file)".to_owned(),
        }],
    }
}
