//! Which events follow each other: at random from a seed, and such that each makes sense after those before it.
//!
//! A round is a pack of cards that is shuffled, so that even the shortest soak has something of everything.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::event::{Choice, Ending, Event, Fault, Forged, NODES};

/// Groups of held connections at a time.
const GROUPS: usize = 6;

/// What a round consists of.
const PACK: &[(Card, usize)] = &[
    (Card::Fail, 4),
    (Card::Mend, 4),
    (Card::Order, 5),
    (Card::Reload, 3),
    (Card::Flood, 2),
    (Card::Open, 3),
    (Card::Close, 3),
    (Card::Look, 1),
    (Card::Pause, 1),
];
/// Restarts of every second round: between them a daemon grows older.
const RESTARTS: usize = 3;
/// All nodes go once in so many rounds: between them held connections grow older.
const ROUNDS_PER_ALL_OUT: usize = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Card {
    Fail,
    Mend,
    Order,
    Reload,
    Restart,
    Flood,
    Open,
    Close,
    AllOut,
    Look,
    Pause,
}

/// What an operator's last order for a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Active,
    Drained,
    DrainedUntil,
    Suspended,
}

#[derive(Debug, Clone, Copy)]
struct Node {
    listed: bool,
    failed: bool,
    order: Order,
    file_weight: u32,
}

impl Node {
    fn takes(&self) -> bool {
        self.listed && !self.failed && self.order == Order::Active
    }

    /// Its failure is seen, and means something.
    fn can_fail(&self) -> bool {
        self.listed && !self.failed && matches!(self.order, Order::Active | Order::Drained)
    }
}

/// The events of a soak, round by round.
#[derive(Debug)]
pub struct Plan {
    rng: fastrand::Rng,
    nodes: [Node; NODES],
    groups: usize,
    full_nat: bool,
    rounds: usize,
    events: Vec<Event>,
}

impl Plan {
    /// The plan of this seed, after whose beginning all nodes are up with weight 1.
    pub fn new(seed: u64) -> Self {
        let node = Node { listed: true, failed: false, order: Order::Active, file_weight: 1 };
        Self {
            rng: fastrand::Rng::with_seed(seed),
            nodes: [node; NODES],
            groups: 0,
            full_nat: false,
            rounds: 0,
            events: Vec::new(),
        }
    }

    /// The events of the next round.
    pub fn round(&mut self) -> Vec<Event> {
        let mut cards: Vec<Card> =
            PACK.iter().flat_map(|&(card, count)| std::iter::repeat_n(card, count)).collect();
        if self.rounds.is_multiple_of(2) {
            cards.extend([Card::Restart; RESTARTS]);
        }
        if self.rounds.is_multiple_of(ROUNDS_PER_ALL_OUT) {
            cards.push(Card::AllOut);
        }
        self.rounds += 1;
        self.rng.shuffle(&mut cards);
        if self.groups == 0 {
            self.open();
        }
        for card in cards {
            self.play(card);
            if self.nodes.iter().all(|node| !node.takes()) {
                // A longer one shows who is refused late.
                let longer = self.rng.u8(..4) == 0;
                let time = Duration::from_millis(if longer { 4000 } else { 300 });
                self.events.push(Event::Pause(time));
                self.bring_one_back();
            }
        }
        std::mem::take(&mut self.events)
    }

    fn play(&mut self, card: Card) {
        match card {
            Card::Fail => self.fail(),
            Card::Mend => {
                if let Some(node) = self.any(|node| node.failed) {
                    self.mend(node);
                }
            }
            Card::Order => self.order(),
            Card::Reload => self.reload(),
            Card::Restart => self.restart(),
            Card::Flood => {
                let forged = [Forged::Syns, Forged::Acks, Forged::Resets];
                let forged = forged[self.rng.usize(..forged.len())];
                self.events.push(Event::Flood { forged, frames: self.rng.u32(20_000..100_000) });
            }
            Card::Open => self.open(),
            Card::Close => self.close(),
            Card::AllOut => self.all_out(),
            Card::Look => self.events.push(Event::Look),
            Card::Pause => {
                let time = Duration::from_millis(self.rng.u64(200..800));
                self.events.push(Event::Pause(time));
            }
        }
    }

    fn any(&mut self, wanted: impl Fn(&Node) -> bool) -> Option<usize> {
        let those: Vec<usize> = (0..NODES).filter(|&node| wanted(&self.nodes[node])).collect();
        self.rng.choice(those)
    }

    fn fault(&mut self) -> Fault {
        [Fault::Killed, Fault::Silent, Fault::PowerLoss][self.rng.usize(..3)]
    }

    /// A node that can fail; one is made so where there is none.
    fn who_fails(&mut self) -> usize {
        if self.nodes.iter().all(|node| !node.can_fail()) {
            self.bring_one_back();
        }
        self.any(Node::can_fail).expect("who is back can fail")
    }

    fn fail(&mut self) {
        let (node, fault) = (self.who_fails(), self.fault());
        self.nodes[node].failed = true;
        self.events.push(Event::Fail { node, fault });
    }

    fn mend(&mut self, node: usize) {
        self.nodes[node].failed = false;
        self.events.push(Event::Mend { node });
    }

    fn bring_one_back(&mut self) {
        let node = self.rng.usize(..NODES);
        if self.nodes[node].failed {
            self.mend(node);
        }
        if !self.nodes[node].listed {
            self.add(node);
        }
        if self.nodes[node].order != Order::Active {
            self.activate(node);
        }
    }

    fn activate(&mut self, node: usize) {
        self.nodes[node].order = Order::Active;
        self.events.push(Event::Activate { node });
    }

    fn add(&mut self, node: usize) {
        let weight = self.other_weight(node);
        self.nodes[node].listed = true;
        self.events.push(Event::Add { node, weight });
    }

    /// A weight for the file that is not the one in it.
    fn other_weight(&mut self, node: usize) -> u32 {
        let weight = self.nodes[node].file_weight % 5 + self.rng.u32(1..3);
        self.nodes[node].file_weight = weight;
        weight
    }

    fn order(&mut self) {
        let ordered = self.any(|node| node.listed && !node.failed && node.order != Order::Active);
        if let Some(node) = ordered
            && self.rng.bool()
        {
            return self.activate(node);
        }
        let Some(node) = self.any(|node| node.listed && !node.failed) else { return };
        match self.rng.u8(..5) {
            0 => {
                self.nodes[node].order = Order::Suspended;
                self.events.push(Event::Suspend { node });
            }
            1 => {
                self.nodes[node].order = Order::Drained;
                self.events.push(Event::Drain { node, deadline: None });
            }
            2 => {
                let deadline = Some(Duration::from_secs(self.rng.u64(1..6)));
                self.nodes[node].order = Order::DrainedUntil;
                self.events.push(Event::Drain { node, deadline });
            }
            _ => self.events.push(Event::Weigh { node, weight: self.rng.u32(1..6) }),
        }
    }

    fn reload(&mut self) {
        let plain = |node: &Node| node.takes();
        match self.rng.u8(..7) {
            0 => self.events.push(Event::WrongFile),
            1 => {
                let choices = [Choice::Hash, Choice::Address, Choice::Least];
                self.events.push(Event::Choose(choices[self.rng.usize(..choices.len())]));
            }
            2 => {
                self.full_nat = !self.full_nat;
                self.events.push(Event::Translate { full_nat: self.full_nat });
            }
            3 if let Some(node) = self.any(|node| node.listed) => {
                let weight = self.other_weight(node);
                self.events.push(Event::Reweigh { node, weight });
            }
            _ => {
                if let Some(node) = self.any(|node| !node.listed) {
                    self.add(node);
                } else if let Some(node) = self.any(plain) {
                    self.nodes[node].listed = false;
                    self.events.push(Event::Remove { node });
                } else {
                    self.events.push(Event::WrongFile);
                }
            }
        }
    }

    fn restart(&mut self) {
        let ending = if self.rng.bool() { Ending::Crash } else { Ending::Stop };
        let away = Duration::from_millis(self.rng.u64(50..1000));
        let fails = (self.rng.u8(..3) == 0).then(|| {
            let (node, fault) = (self.who_fails(), self.fault());
            self.nodes[node].failed = true;
            (node, fault)
        });
        self.events.push(Event::Restart { ending, away, fails });
    }

    fn open(&mut self) {
        if self.groups == GROUPS {
            self.close();
        }
        self.groups += 1;
        self.events.push(Event::Open { count: self.rng.usize(10..60), busy: self.rng.bool() });
    }

    fn close(&mut self) {
        if self.groups > 0 {
            self.groups -= 1;
            self.events.push(Event::Close);
        }
    }

    fn all_out(&mut self) {
        while let Some(node) = self.any(Node::takes) {
            if self.rng.bool() {
                self.nodes[node].failed = true;
                self.events.push(Event::Fail { node, fault: Fault::Killed });
            } else {
                self.nodes[node].order = Order::Suspended;
                self.events.push(Event::Suspend { node });
            }
        }
    }
}
