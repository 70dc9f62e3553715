//! Tables of flows: their columns, and how many they are.

use super::{super::flows::FLOWS_A_TABLE, *};

#[test]
fn flows_end_with_how_many_are_not_shown() {
    let rows = [flow(40_000), flow(5_060)];
    const TABLE: &str = "\
BACKEND    CLIENT          STATE         IDLE
csta/imp1  10.0.0.7:40000  established  2h05m
csta/imp1  10.0.0.7:5060   established  2h05m
";
    assert_eq!(flows(&rows, 0, None), TABLE);
    assert_eq!(flows(&rows, 0, Some(2)), TABLE);
    assert_eq!(
        flows(&rows, 0, Some(3)),
        format!("{TABLE}flows 1 to 2 of 3; the next ones: --offset 2, more of them: --limit N\n")
    );
    assert_eq!(flows(&rows, 1, Some(3)), format!("{TABLE}flows 2 to 3 of 3\n"));
    assert_eq!(flows(&[], 0, Some(0)), "no flows\n");
    assert_eq!(flows(&[], 5, Some(4)), "no flow after the first 5: 4 match\n");
}

#[test]
fn flows_have_the_columns_that_some_row_needs() {
    let translated = FlowRow {
        snat_address: Some([192, 0, 2, 10].into()),
        snat_port: Some(1024),
        ..flow(40_000)
    };
    assert_eq!(
        flows(&[flow(40_000), translated.clone()], 0, None),
        "\
BACKEND    CLIENT          SNAT             STATE         IDLE
csta/imp1  10.0.0.7:40000  -                established  2h05m
csta/imp1  10.0.0.7:40000  192.0.2.10:1024  established  2h05m
"
    );
    let outbound = FlowRow { direction: "outbound".to_owned(), ..translated };
    assert_eq!(
        flows(&[flow(40_000), outbound], 0, None),
        "\
BACKEND    DIRECTION  CLIENT          SNAT             STATE         IDLE
csta/imp1  inbound    10.0.0.7:40000  -                established  2h05m
csta/imp1  outbound   10.0.0.7:40000  192.0.2.10:1024  established  2h05m
"
    );
    let ipv6 = IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7]);
    assert_eq!(
        flows(&[FlowRow { client: ipv6, ..flow(40_000) }], 0, Some(1)),
        "\
BACKEND    CLIENT               STATE         IDLE
csta/imp1  [2001:db8::7]:40000  established  2h05m
"
    );
}

#[test]
fn many_flows_are_several_tables() {
    let rows = vec![flow(5_060); FLOWS_A_TABLE + 1];
    let text = flows(&rows, 0, None);
    assert_eq!(text.matches("BACKEND").count(), 2);
    assert_eq!(text.matches("10.0.0.7:5060").count(), rows.len());
    assert_eq!(flows(&rows[1..], 0, None).matches("BACKEND").count(), 1);
}
