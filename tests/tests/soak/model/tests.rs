//! Histories that are right, and such that are not: a model that takes everything is none.

use super::*;

fn at(millis: u64) -> At {
    Duration::from_millis(millis)
}

/// Of node 1, with one question.
fn answered(begun: u64, ended: u64) -> Conversation {
    Conversation {
        client: ([10, 1, 0, 2], 40_000).into(),
        begun: at(begun),
        answered: Some((0, at(ended))),
        slowest: at(ended - begun),
        ended: at(ended),
        end: End::Well,
    }
}

fn failed(begun: u64, ended: u64, end: End) -> Conversation {
    Conversation { answered: None, slowest: Duration::ZERO, end, ..answered(begun, ended) }
}

fn wrong(model: &Model, its: &Conversation, why: &str) {
    let found = model.judge(its).expect_err("the model takes it");
    assert!(found.contains(why), "{found}");
}

/// Node 1 fails at 10 s, is seen to be down at 12 s, is mended at 20 s, and is seen to be up at 21 s.
fn one_fails() -> Model {
    let mut model = Model::new();
    model.takes(0, Takes::Unknown, at(10_000));
    model.ends(0, true, at(10_000));
    model.takes(0, Takes::No, at(12_000));
    model.ends(0, false, at(12_000));
    model.takes(0, Takes::Unknown, at(20_000));
    model.takes(0, Takes::Yes, at(21_000));
    model
}

/// Until 20 s there is one after the other less, then nobody, until 30 s.
fn all_go() -> Model {
    let mut model = Model::new();
    for node in 0..NODES {
        let begun = 10_000 + 2000 * node as u64;
        model.takes(node, Takes::Unknown, at(begun));
        model.takes(node, Takes::No, at(begun + 1000));
    }
    model.takes(2, Takes::Unknown, at(30_000));
    model.takes(2, Takes::Yes, at(30_500));
    model
}

#[test]
fn who_answers_soon_and_may_is_right() {
    for (begun, ended) in
        [(1, 3), (9_990, 10_010), (11_990, 12_100), (20_100, 20_200), (22_000, 23_000)]
    {
        assert_eq!(one_fails().judge(&answered(begun, ended)), Ok(()), "{begun}");
    }
}

#[test]
fn a_node_that_is_out_answers_nobody() {
    wrong(&one_fails(), &answered(12_010, 12_020), "node1 was out");
    wrong(&one_fails(), &answered(19_000, 20_000), "node1 was out");
    wrong(&all_go(), &answered(25_000, 25_010), "node1 was out");
}

#[test]
fn an_answer_while_all_is_well_comes_soon() {
    wrong(&one_fails(), &answered(1_000, 7_000), "while all was well");
    assert_eq!(one_fails().judge(&answered(11_000, 17_500)), Ok(()), "a node fails meanwhile");
    wrong(&one_fails(), &answered(11_000, 18_500), "long after");
}

#[test]
fn nobody_fails_while_all_is_well() {
    let model = one_fails();
    for end in [End::Refused, End::Reset, End::Closed] {
        wrong(&model, &failed(1_000, 1_010, end.clone()), "while all was well");
        wrong(&model, &failed(12_010, 12_020, end.clone()), "while all was well");
        assert_eq!(
            model.judge(&failed(11_000, 13_000, end.clone())),
            Ok(()),
            "the SYN is sent again"
        );
        wrong(&model, &failed(11_900, 17_000, end), "long after");
    }
}

#[test]
fn who_is_with_a_node_that_is_well_never_fails() {
    let model = one_fails();
    let reset = |node, ended| Conversation {
        answered: Some((node, at(9_000))),
        end: End::Reset,
        ..answered(8_990, ended)
    };
    assert_eq!(model.judge(&reset(0, 10_500)), Ok(()));
    assert_eq!(model.judge(&reset(0, 14_900)), Ok(()));
    wrong(&model, &reset(0, 9_900), "while node1 was well");
    wrong(&model, &reset(0, 15_100), "while node1 was well");
    wrong(&model, &reset(1, 10_500), "while node2 was well");
}

#[test]
fn nobody_hangs_or_moves_or_hears_what_was_not_asked() {
    let model = one_fails();
    let with = |end| Conversation { end, ..answered(9_990, 11_000) };
    wrong(&model, &with(End::Hung), "it hung");
    wrong(&model, &with(End::Moved(1)), "node2 answered instead");
    wrong(&model, &with(End::Strange("nonsense".to_owned())), "nonsense");
}

#[test]
fn while_all_are_out_clients_are_refused_at_once() {
    let model = all_go();
    assert_eq!(model.judge(&failed(20_000, 20_001, End::Refused)), Ok(()));
    wrong(&model, &failed(20_000, 24_000, End::Refused), "refused late");
    wrong(&model, &failed(20_000, 24_000, End::Hung), "it hung");
    wrong(&model, &failed(20_000, 20_010, End::Reset), "while all was well");
    wrong(&model, &failed(20_000, 20_010, End::Closed), "while all was well");
    assert_eq!(model.judge(&failed(29_990, 30_010, End::Refused)), Ok(()));
    wrong(&model, &failed(30_600, 30_610, End::Refused), "while all was well");
    wrong(&model, &failed(11_990, 12_100, End::Refused), "while all was well");
}

#[test]
fn a_held_connection_ends_by_rst_and_with_its_node_alone() {
    let model = one_fails();
    let broken = |node, millis, reset| Broken { node, at: at(millis), reset };
    assert_eq!(model.judge_break(&broken(0, 11_000, true)), Ok(()));
    assert_eq!(model.judge_break(&broken(0, 12_500, true)), Ok(()));
    assert!(model.judge_break(&broken(0, 11_000, false)).is_err(), "not by RST");
    assert!(model.judge_break(&broken(0, 9_000, true)).is_err(), "too early");
    assert!(model.judge_break(&broken(0, 15_100, true)).is_err(), "too late");
    assert!(model.judge_break(&broken(1, 11_000, true)).is_err(), "with another node");
}

#[test]
fn a_deadline_that_was_called_off_ends_nothing() {
    let mut model = Model::new();
    model.ends(3, true, at(9_000));
    model.ends(3, false, at(8_000));
    let broken = Broken { node: 3, at: at(9_500), reset: true };
    assert!(model.judge_break(&broken).is_err());
}
