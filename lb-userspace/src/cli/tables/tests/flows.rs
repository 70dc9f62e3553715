//! Tables of flows: their columns, and how many they are.

use super::*;

#[test]
fn flows_end_with_how_many_are_not_shown() {
    let rows = [flow(40_000), flow(5_060)];
    assert_eq!(
        flows(&rows, None),
        "\
BACKEND    CLIENT          STATE         IDLE
csta/imp1  10.0.0.7:40000  established  2h05m
csta/imp1  10.0.0.7:5060   established  2h05m
"
    );
    assert_eq!(
        flows(&rows, Some(1)),
        "\
BACKEND    CLIENT          STATE         IDLE
csta/imp1  10.0.0.7:40000  established  2h05m
1 of 2 flows shown
"
    );
    assert_eq!(flows(&[], Some(1)), "no flows\n");
}

#[test]
fn flows_have_the_columns_that_some_row_needs() {
    let translated = FlowRow {
        snat_address: Some([192, 0, 2, 10].into()),
        snat_port: Some(1024),
        ..flow(40_000)
    };
    assert_eq!(
        flows(&[flow(40_000), translated.clone()], None),
        "\
BACKEND    CLIENT          SNAT             STATE         IDLE
csta/imp1  10.0.0.7:40000  -                established  2h05m
csta/imp1  10.0.0.7:40000  192.0.2.10:1024  established  2h05m
"
    );
    let outbound = FlowRow { direction: "outbound".to_owned(), ..translated.clone() };
    assert_eq!(
        flows(&[flow(40_000), outbound.clone()], None),
        "\
BACKEND    DIRECTION  CLIENT          SNAT             STATE         IDLE
csta/imp1  inbound    10.0.0.7:40000  -                established  2h05m
csta/imp1  outbound   10.0.0.7:40000  192.0.2.10:1024  established  2h05m
"
    );
    let ipv6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]);
    assert_eq!(
        flows(&[FlowRow { client: ipv6, ..flow(40_000) }, outbound], Some(1)),
        "\
BACKEND    CLIENT               STATE         IDLE
csta/imp1  [2001:db8::7]:40000  established  2h05m
1 of 2 flows shown
"
    );
}

#[test]
fn many_flows_are_several_tables() {
    let rows = vec![flow(5_060); FLOWS_A_TABLE + 1];
    let text = flows(&rows, None);
    assert_eq!(text.matches("BACKEND").count(), 2);
    assert_eq!(text.matches("10.0.0.7:5060").count(), rows.len());
    assert_eq!(flows(&rows, Some(FLOWS_A_TABLE)).matches("BACKEND").count(), 1);
}
