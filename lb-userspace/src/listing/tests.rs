use std::{collections::BTreeSet, net::Ipv4Addr};

use lb_common::Ip;

use super::*;

/// Flows in no order: eight services' backends, clients of a thousand addresses.
fn flow(index: u32) -> ListedFlow {
    let mixed = index.wrapping_mul(0x9e37_79b1);
    let states =
        [FlowState::Opening, FlowState::Established, FlowState::Closing, FlowState::Closed];
    ListedFlow {
        client: Ip::from(IpAddr::from(Ipv4Addr::from(0x0a00_0000 + mixed % 1000))),
        idle: mixed >> 20,
        client_port: (index / 1000) as u16 + 1024,
        slot: (mixed >> 8) as u16 % 8,
        snat_pair: 0,
        snat_port: 0,
        state: states[(mixed >> 4) as usize % 4],
        outbound: false,
    }
}

fn names() -> Names {
    Names::new((0..8).map(|slot| (slot, (format!("s{}", slot / 4), format!("b{}", slot % 2)))))
}

/// Makes a list of so many flows and reads it.
fn listed(query: &FlowQuery, flows: u32) -> Result<(Option<u64>, Vec<FlowRow>), Refused> {
    let (sender, answer) = oneshot::channel();
    let source = Source {
        walk: |each: &mut dyn FnMut(ListedFlow)| {
            (0..flows).map(flow).for_each(each);
            Ok(())
        },
        address_of: |_| None,
        names: names(),
    };
    std::thread::scope(|scope| {
        scope.spawn(|| list(query, source, sender));
        let mut list = answer.blocking_recv().expect("an answer")?;
        let mut rows = Vec::new();
        while let Some(batch) = list.rows.blocking_recv() {
            rows.extend(batch?);
        }
        Ok((list.matched, rows))
    })
}

#[test]
fn a_kept_flow_is_half_a_cache_line() {
    assert_eq!(size_of::<ListedFlow>(), 32);
}

#[test]
fn without_an_order_all_rows_come_as_they_are_met() {
    let (matched, rows) = listed(&FlowQuery::default(), 1_000).expect("a list");
    assert_eq!((matched, rows.len()), (None, 1_000));
    for (index, row) in (0..).zip(rows) {
        assert_eq!(row.client, IpAddr::from(flow(index).client));
    }
}

#[test]
fn everything_given_must_match() {
    let all = FlowQuery {
        service: Some("s1".to_owned()),
        backend: Some("b0".to_owned()),
        client: Some("10.0.0.0/25".parse().expect("a prefix")),
        client_port: Some(1030),
        state: Some(StateWord::Closing),
        ..FlowQuery::default()
    };
    let parts = [
        FlowQuery { service: all.service.clone(), ..FlowQuery::default() },
        FlowQuery { backend: all.backend.clone(), ..FlowQuery::default() },
        FlowQuery { client: all.client, ..FlowQuery::default() },
        FlowQuery { client_port: all.client_port, ..FlowQuery::default() },
        FlowQuery { state: all.state, ..FlowQuery::default() },
    ];
    let text = |rows: Vec<FlowRow>| -> BTreeSet<String> {
        rows.iter().map(|row| serde_json::to_string(row).expect("JSON")).collect()
    };
    let of_all = text(listed(&all, 100_000).expect("a list").1);
    let mut common: Option<BTreeSet<String>> = None;
    for part in parts {
        let its = text(listed(&part, 100_000).expect("a list").1);
        assert!(!its.is_empty() && its.len() < 100_000, "{part:?}");
        common = Some(match common {
            Some(common) => common.intersection(&its).cloned().collect(),
            None => its,
        });
    }
    assert!(!of_all.is_empty());
    assert_eq!(Some(of_all), common);
    let nobody = FlowQuery { service: Some("s7".to_owned()), ..FlowQuery::default() };
    assert!(listed(&nobody, 100_000).expect("a list").1.is_empty());
}

#[test]
fn pages_are_the_whole_list_without_holes_or_duplicates() {
    for (sort, reverse) in [(Sort::Client, false), (Sort::Idle, false), (Sort::Idle, true)] {
        let whole = FlowQuery { sort: Some(sort), reverse, ..FlowQuery::default() };
        let (matched, whole_rows) = listed(&whole, 20_000).expect("a list");
        assert_eq!((matched, whole_rows.len()), (Some(20_000), 20_000));
        let key = |row: &FlowRow| match sort {
            Sort::Client => (0, row.client, row.client_port),
            Sort::Idle => (row.idle_seconds, [0; 4].into(), 0),
        };
        assert!(
            whole_rows
                .is_sorted_by(|a, b| { if reverse { key(a) >= key(b) } else { key(a) <= key(b) } })
        );
        let mut paged = Vec::new();
        for offset in (0..).step_by(3_001) {
            let page = FlowQuery { limit: Some(3_001), offset, ..whole.clone() };
            let (matched, rows) = listed(&page, 20_000).expect("a list");
            assert_eq!(matched, Some(20_000), "all that match, on whatever page");
            if rows.is_empty() {
                break;
            }
            paged.extend(rows);
        }
        assert!(paged == whole_rows, "{sort:?}");
    }
}

#[test]
fn a_page_without_an_order_is_by_client() {
    let page = FlowQuery { limit: Some(10), offset: 5, ..FlowQuery::default() };
    let ordered = FlowQuery { sort: Some(Sort::Client), ..page.clone() };
    assert_eq!(listed(&page, 5_000), listed(&ordered, 5_000));
    let none = FlowQuery { limit: Some(0), ..FlowQuery::default() };
    assert_eq!(listed(&none, 5_000), Ok((Some(5_000), Vec::new())));
}

#[test]
fn what_cannot_be_put_in_order_is_refused_and_the_beginning_is_not() {
    let most = MAX_ORDERED as u32;
    let whole = FlowQuery { sort: Some(Sort::Idle), ..FlowQuery::default() };
    let refused = listed(&whole, most + 1).expect_err("too many");
    assert!(refused.to_string().contains("filter by client"), "{refused}");
    let page = FlowQuery { limit: Some(3), ..whole };
    let (matched, rows) = listed(&page, most + 1).expect("a page");
    assert_eq!((matched, rows.len()), (Some(u64::from(most) + 1), 3));
}

#[test]
fn the_walk_goes_on_where_nobody_reads() {
    let (sender, answer) = oneshot::channel();
    let (names, mut met) = (names(), 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let source = Source {
                walk: |each: &mut dyn FnMut(ListedFlow)| {
                    (0..100_000).map(flow).for_each(|flow| {
                        met += 1;
                        each(flow);
                    });
                    Ok(())
                },
                address_of: |_| None,
                names,
            };
            list(&FlowQuery::default(), source, sender);
        });
        drop(answer.blocking_recv());
    });
    assert_eq!(met, 100_000, "it ends, and does not wait for a reader");
}

#[test]
fn queries_survive_the_address_of_a_request() {
    let query = FlowQuery {
        service: Some("a b&c".to_owned()),
        client: Some("2001:db8::/64".parse().expect("a prefix")),
        state: Some(StateWord::Closed),
        sort: Some(Sort::Idle),
        reverse: true,
        limit: Some(100),
        offset: 200,
        ..FlowQuery::default()
    };
    let text = serde_urlencoded::to_string(&query).expect("a text");
    assert_eq!(
        text,
        "service=a+b%26c&client=2001%3Adb8%3A%3A%2F64&state=closed&sort=idle&reverse=true\
         &limit=100&offset=200"
    );
    assert_eq!(serde_urlencoded::from_str::<FlowQuery>(&text), Ok(query));
    assert_eq!(serde_urlencoded::to_string(FlowQuery::default()), Ok(String::new()));
    for wrong in ["servise=csta", "client=nobody", "state=asleep", "sort=age", "limit=-1"] {
        assert!(serde_urlencoded::from_str::<FlowQuery>(wrong).is_err(), "{wrong}");
    }
}
