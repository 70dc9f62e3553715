//! A hundred megabytes each way at once, every byte compared.

use std::time::Duration;

use anyhow::Result;
use lb_tests::balanced::Balanced;
use lb_tests::lab::{Family, LabPlan, Topology};
use lb_tests::peer::BulkPlan;

const BYTES: u64 = 100_000_000;

fn transfer(plan: LabPlan) -> Result<()> {
    let balanced = Balanced::with(plan, |config| config)?;
    let timeout = Duration::from_secs(120);
    let bulk = BulkPlan { timeout, ..BulkPlan::new(plan.target(), BYTES) };

    let report = bulk.run(&balanced.lab.client)?;

    println!("{plan:?}: {report}");
    assert!(report.intact(), "{report}");
    assert_eq!((report.up.bytes, report.down.bytes), (BYTES, BYTES), "{report}");
    for direction in ["bytes_in", "bytes_out"] {
        let counted = balanced.counted(&report.node, direction)?;
        // Headers, acknowledgements and what is sent again come on top.
        assert!((BYTES..BYTES * 12 / 10).contains(&counted), "{direction}: {counted}");
    }
    Ok(())
}

#[test]
fn nat_of_ipv4() -> Result<()> {
    transfer(LabPlan::default())
}

#[test]
fn nat_of_ipv6() -> Result<()> {
    transfer(LabPlan { family: Family::V6, ..LabPlan::default() })
}

#[test]
fn full_nat_of_ipv4_on_one_arm() -> Result<()> {
    transfer(LabPlan { topology: Topology::OneArmed, ..LabPlan::default() })
}

#[test]
fn full_nat_of_ipv6_on_one_arm() -> Result<()> {
    let plan = LabPlan { family: Family::V6, ..LabPlan::default() };
    transfer(LabPlan { topology: Topology::OneArmed, ..plan })
}
