//! Whose new connections a service takes, and how many of them.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

/// A prefix of addresses.
pub use ipnet::IpNet;

/// Whose new connections a service takes, and how many of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whose.
    pub clients: Arc<ClientList>,
    /// How many one client address may open, above 0; as many as it likes where it is absent.
    pub max_new_per_second: Option<u32>,
}

/// Prefixes of clients, each with whether their connections are taken. The longest one that a client has decides;
/// where it has none: they are taken, unless the list says of others that they are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientList(BTreeMap<IpNet, bool>);

impl ClientList {
    /// Of what is allowed and denied; no prefix is both, and none has bits behind its length.
    pub fn new(
        allowed: impl IntoIterator<Item = IpNet>,
        denied: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        let allowed = allowed.into_iter().map(|prefix| (prefix, true));
        Self(allowed.chain(denied.into_iter().map(|prefix| (prefix, false))).collect())
    }

    /// Whether every client's connections are taken, without a look.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The prefixes, and whether their clients' connections are taken.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, bool)> {
        self.0.iter().map(|(prefix, taken)| (*prefix, *taken))
    }

    /// Whether the prefixes whose connections are taken, or are not, are others in the other list.
    pub fn differs(&self, other: &Self, taken: bool) -> bool {
        let its = |list: &'_ Self| -> Vec<IpNet> {
            list.prefixes().filter(|(_, its)| *its == taken).map(|(prefix, _)| prefix).collect()
        };
        its(self) != its(other)
    }

    /// Whether the connections of clients without a prefix are taken.
    pub fn takes_others(&self) -> bool {
        !self.0.values().any(|taken| *taken)
    }

    /// The prefix that decides on a client, if there is one, and whether its connections are taken.
    pub fn judge(&self, client: IpAddr) -> (Option<IpNet>, bool) {
        let longest = (0..=IpNet::from(client).max_prefix_len()).rev().find_map(|len| {
            let prefix = IpNet::new(client, len).expect("no longer than an address").trunc();
            self.0.get(&prefix).map(|taken| (Some(prefix), *taken))
        });
        longest.unwrap_or((None, self.takes_others()))
    }
}

/// The prefix that a text means: an address alone is that of one client.
pub fn prefix(text: &str) -> Option<IpNet> {
    text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(allowed: &[&str], denied: &[&str]) -> ClientList {
        let nets = |texts: &[&str]| -> Vec<IpNet> {
            texts.iter().map(|text| text.parse().expect(text)).collect()
        };
        ClientList::new(nets(allowed), nets(denied))
    }

    fn judged(list: &ClientList, client: &str) -> (String, bool) {
        let (prefix, taken) = list.judge(client.parse().expect(client));
        (prefix.map(|prefix| prefix.to_string()).unwrap_or_default(), taken)
    }

    #[test]
    fn the_longest_prefix_decides() {
        let list = list(&["10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32"], &["10.1.0.0/16"]);
        for (client, by, taken) in [
            ("10.0.0.7", "10.0.0.0/8", true),
            ("10.1.2.4", "10.1.0.0/16", false),
            ("10.1.2.3", "10.1.2.3/32", true),
            ("10.2.0.0", "10.0.0.0/8", true),
            ("11.0.0.0", "", false),
            ("2001:db8::7", "2001:db8::/32", true),
            ("2001:db9::7", "", false),
        ] {
            assert_eq!(judged(&list, client), (by.to_owned(), taken), "{client}");
        }
    }

    #[test]
    fn others_are_taken_unless_somebody_is_allowed() {
        let nobody_said = ("".to_owned(), true);
        assert_eq!(judged(&ClientList::default(), "10.0.0.7"), nobody_said);
        assert_eq!(judged(&list(&[], &["10.1.0.0/16"]), "10.0.0.7"), nobody_said);
        assert!(!list(&["10.1.0.0/16"], &[]).takes_others());
        let all = list(&["0.0.0.0/0"], &["10.1.0.0/16"]);
        assert_eq!(judged(&all, "192.0.2.1"), ("0.0.0.0/0".to_owned(), true));
        assert!(!judged(&list(&[], &["0.0.0.0/0"]), "192.0.2.1").1);
    }
}
