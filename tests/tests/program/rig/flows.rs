//! What is in the flow table.

use std::collections::HashMap;

use aya::maps::{Array, ArrayOfMaps, Map, MapData};
use lb_common::{
    Address as _, Flow, FlowKey, Ip, Ip4, NARROW_MAP, Outcome, SEARCH_MAP, WIDE_MAP,
    table::{Bucket, Entry, Head, Marks, Search, WAYS, WideEntry},
};
use lb_tests::packet::Flags;
use lb_userspace::datapath::FlowTable;

use super::{Dialogue, Rig, SERVICE, Side, Verdict};

/// A reader of the proven flows.
pub struct Proven(FlowTable);

impl Proven {
    /// A connection's flow.
    pub fn get(&self, talk: &Dialogue) -> Option<Flow> {
        all(&self.0, true).remove(&talk.wide_key())
    }
}

type Narrow = Array<MapData, Bucket>;
/// As the program has it: words.
type Wide = Array<MapData, [u64; size_of::<WideEntry>() / 8 * WAYS as usize]>;

impl Rig<'_> {
    /// The proven flows of IPv4.
    pub fn proven(&mut self) -> HashMap<FlowKey<Ip4>, Flow> {
        v4(self.all_proven())
    }

    /// The unproven flows of IPv4.
    pub fn unproven(&mut self) -> HashMap<FlowKey<Ip4>, Flow> {
        v4(self.all_unproven())
    }

    /// The proven flows of both families.
    pub fn all_proven(&mut self) -> HashMap<FlowKey<Ip>, Flow> {
        all(&self.datapath.flows(), true)
    }

    /// The unproven flows of both families.
    pub fn all_unproven(&mut self) -> HashMap<FlowKey<Ip>, Flow> {
        all(&self.datapath.flows(), false)
    }

    /// A connection's proven and unproven flows.
    pub fn entries(&mut self, talk: &Dialogue) -> [Option<Flow>; 2] {
        let key = talk.wide_key();
        [self.all_proven().remove(&key), self.all_unproven().remove(&key)]
    }

    /// A reader of the proven flows for a thread of its own.
    pub fn proven_reader(&mut self) -> Proven {
        Proven(self.datapath.flows())
    }

    /// Takes a connection's unproven flow out of the table, as the program does when another needs
    /// its entry.
    pub fn forget_unproven(&mut self, talk: &Dialogue) {
        let key = talk.wide_key();
        let forgotten = if talk.client.is_ipv4() {
            let mut map = Narrow::try_from(Map::Array(self.map(NARROW_MAP))).expect("its type");
            let of_client = |head: &Head| {
                (head.id.client().to_ip(), head.id.port()) == (key.client, key.client_port)
            };
            forget(&mut map, |bucket: &mut Bucket| {
                let entry = bucket
                    .entries
                    .iter_mut()
                    .find(|its| free(&its.head) && of_client(&its.head))?;
                *entry = Entry::default();
                Some(())
            })
        } else {
            let outer = Map::ArrayOfMaps(self.map(WIDE_MAP));
            let outer = ArrayOfMaps::<MapData, Wide>::try_from(outer).expect("its type");
            let mut map = outer.get(&0, 0).expect("the table");
            forget(&mut map, |bucket: &mut [u64; size_of::<WideEntry>() / 8 * WAYS as usize]| {
                let entry = bucket.chunks_exact_mut(size_of::<WideEntry>() / 8).find(|words| {
                    let Entry { head: its, .. } =
                        Entry::from_words([words[0], words[1], words[2], words[3]]);
                    let client = Ip::from_be_halves([words[4], words[5]]);
                    free(&its) && (client, its.id.port()) == (key.client, key.client_port)
                })?;
                entry.fill(0);
                Some(())
            })
        };
        assert!(forgotten, "there is no unproven flow of {talk:?}");
    }

    /// How many IPv4 flows have the first, the second … entry of their bucket.
    pub fn flows_by_way(&mut self) -> [u32; WAYS as usize] {
        let map = Narrow::try_from(Map::Array(self.map(NARROW_MAP))).expect("its type");
        let mut ways = [0; WAYS as usize];
        for bucket in (0..map.len()).map(|number| map.get(&number, 0).expect("a bucket")) {
            for (way, entry) in ways.iter_mut().zip(bucket.entries) {
                *way += u32::from(entry.head.life.is_there());
            }
        }
        ways
    }

    /// Where packets look for their flows.
    pub fn search(&mut self) -> Search {
        let map: Array<MapData, u64> =
            Array::try_from(Map::Array(self.map(SEARCH_MAP))).expect("its type");
        Search::from_bits(map.get(&0, 0).expect("the word"))
    }

    /// Whether some flow had no room where new ones go, and was marked for the dense part's choices.
    pub fn some_went_elsewhere(&mut self) -> bool {
        let map: Array<MapData, Marks> =
            Array::try_from(Map::Array(self.map(".bss.further"))).expect("its type");
        map.get(&0, 0).expect("the marks").iter().any(|&word| word != 0)
    }

    /// Whether a connection's SYN goes on; else it is dropped for want of room.
    pub fn has_room_for(&mut self, talk: &Dialogue) -> bool {
        let syn = talk.clone().client_sends(Flags::SYN, b"").build().expect("a frame");
        let verdict = self.send(Side::Front, &syn).verdict;
        if verdict == Verdict::Drop {
            assert_eq!(self.counted().outcomes, [(SERVICE, Outcome::TableFull, 1)]);
        } else {
            assert_eq!(verdict, Verdict::Redirect);
        }
        verdict == Verdict::Redirect
    }

    fn map(&mut self, name: &str) -> MapData {
        let map = self.maps().into_iter().find(|map| map.name_as_str() == Some(name));
        MapData::from_id(map.expect(name).id()).expect(name)
    }
}

/// Whether an entry has a flow that is not proven.
fn free(head: &Head) -> bool {
    head.life.is_there() && !head.life.is_proven()
}

fn forget<V: aya::Pod>(map: &mut Array<MapData, V>, clear: impl Fn(&mut V) -> Option<()>) -> bool {
    (0..map.len()).any(|number| {
        let mut bucket = map.get(&number, 0).expect("a bucket");
        let cleared = clear(&mut bucket).is_some();
        if cleared {
            map.set(number, bucket, 0).expect("the bucket");
        }
        cleared
    })
}

fn all(flows: &FlowTable, proven: bool) -> HashMap<FlowKey<Ip>, Flow> {
    let mut all = HashMap::new();
    let listed = flows.for_each_with_proof(|key, flow, its| {
        if its == proven {
            all.insert(*key, *flow);
        }
    });
    listed.expect("the flow table");
    all
}

fn v4(flows: HashMap<FlowKey<Ip>, Flow>) -> HashMap<FlowKey<Ip4>, Flow> {
    let v4 = flows.into_iter().filter(|(key, _)| std::net::IpAddr::from(key.client).is_ipv4());
    v4.map(|(key, flow)| {
        let (client, vip) = (Ip4::from_ip(key.client), Ip4::from_ip(key.vip));
        (FlowKey::tcp(client, key.client_port, vip, key.vip_port), flow)
    })
    .collect()
}
