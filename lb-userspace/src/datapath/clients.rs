//! Writes the lists of clients whose new connections services take (see `lb_common::access`).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{
        MapData,
        lpm_trie::{Key, LpmTrie},
    },
};
use lb_common::{
    CLIENTS_MAP, Ip,
    access::{ALLOWED, DENIED, ListedClient, NO_LIST, Verdict},
};

use super::{error::DatapathError, take};
use crate::{access::ClientList, desired::Desired};

type Prefix = Key<ListedClient>;

/// The map, and what was last written there. A list is never changed: another one takes its place, and it goes
/// when no service asks for it.
pub(super) struct Clients {
    map: LpmTrie<MapData, ListedClient, Verdict>,
    /// By the lists' numbers; those of which only a part is written too.
    written: BTreeMap<u32, List>,
}

#[derive(Default)]
struct List {
    entries: BTreeMap<Entry, Verdict>,
    /// What it says, once it is whole.
    of: Option<Arc<ClientList>>,
}

/// The length of a prefix, and its address.
type Entry = (u32, Ip);

impl Clients {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, DatapathError> {
        Ok(Self { map: take(ebpf, CLIENTS_MAP)?, written: BTreeMap::new() })
    }

    /// Makes what is written the beginning. Nobody knows what it was made of: each list is written anew.
    pub(super) fn take_over(&mut self) -> Result<(), DatapathError> {
        for entry in self.map.iter() {
            let (key, verdict) = entry.map_err(DatapathError::map(CLIENTS_MAP, "list"))?;
            let list = self.written.entry(key.data().list()).or_default();
            list.entries.insert((key.prefix_len(), key.data().address()), verdict);
        }
        Ok(())
    }

    /// Writes the lists that services ask for; those of before stay. One that finds no room keeps no other one out.
    pub(super) fn apply(&mut self, desired: &Desired) -> Result<(), DatapathError> {
        let mut outcome = Ok(());
        for service in &desired.services {
            let clients = &service.access.clients;
            match self.written.values_mut().find(|list| list.of.as_ref() == Some(clients)) {
                // An `Arc` is compared at once with itself, and by its prefixes with another one.
                Some(list) => list.of = Some(Arc::clone(clients)),
                None if clients.is_empty() => {}
                None => outcome = outcome.and(self.write(clients)),
            }
        }
        outcome
    }

    /// The number of a list; none where it could not be written.
    pub(super) fn number_of(&self, clients: &Arc<ClientList>) -> Option<u32> {
        if clients.is_empty() {
            return Some(NO_LIST);
        }
        let mut lists = self.written.iter();
        lists.find(|(_, list)| list.of.as_ref() == Some(clients)).map(|(number, _)| *number)
    }

    /// Removes the lists but those with these numbers.
    pub(super) fn keep(&mut self, numbers: &BTreeSet<u32>) -> Result<(), DatapathError> {
        let gone = |number: &u32| !numbers.contains(number);
        let gone: Vec<u32> = self.written.keys().copied().filter(gone).collect();
        for number in gone {
            self.remove(number)?;
        }
        Ok(())
    }

    fn write(&mut self, clients: &Arc<ClientList>) -> Result<(), DatapathError> {
        let number = (NO_LIST + 1..).find(|number| !self.written.contains_key(number));
        let number = number.expect("fewer lists than numbers");
        let list = self.written.entry(number).or_default();
        for ((len, address), verdict) in entries(clients) {
            let key = Prefix::new(len, ListedClient::new(number, address));
            self.map.insert(&key, verdict, 0).map_err(DatapathError::map(CLIENTS_MAP, "write"))?;
            list.entries.insert((len, address), verdict);
        }
        list.of = Some(Arc::clone(clients));
        Ok(())
    }

    fn remove(&mut self, number: u32) -> Result<(), DatapathError> {
        let Some(list) = self.written.get_mut(&number) else { return Ok(()) };
        list.of = None;
        // The word on all others goes last: a program may ask this list for a moment still.
        while let Some(((len, address), _)) = list.entries.last_key_value() {
            let key = Prefix::new(*len, ListedClient::new(number, *address));
            self.map.remove(&key).map_err(DatapathError::map(CLIENTS_MAP, "remove from"))?;
            list.entries.pop_last();
        }
        self.written.remove(&number);
        Ok(())
    }
}

/// What is written of a list. Who has no prefix of it is told of by the one that all have.
fn entries(clients: &ClientList) -> impl Iterator<Item = (Entry, Verdict)> {
    let verdict = |taken| if taken { ALLOWED } else { DENIED };
    let others = ((ListedClient::ALL, Ip::UNSPECIFIED), verdict(clients.takes_others()));
    let prefixes = clients.prefixes().map(move |(prefix, taken)| {
        let address = prefix.addr();
        let len = ListedClient::prefix_len(address.is_ipv4(), prefix.prefix_len());
        ((len, address.into()), verdict(taken))
    });
    std::iter::once(others).chain(prefixes)
}
