//! What stands below the commands in the help of `lb`, and in its manual pages.
//!
//! Titles stand at the beginning of a line and end with a colon; what belongs to them is indented.

/// For `lb -h`.
pub(super) const SHORT: &str = "\
Examples:
  lb check --config /etc/lb/lb.toml     is this file right?
  lb run --config /etc/lb/lb.toml       balance until SIGTERM
  lb show backends                      who is up, who gets what
  lb top                                the same and more, live
  lb drain csta/imp1 --deadline 30m     take a node out for maintenance
  lb activate csta/imp1                 and back in

Exit status: 0 done, 1 refused or failed with one line on stderr, 2 usage.
`lb --help` says more.";

/// For `lb --help`.
pub(super) const LONG: &str = "\
A first config file:
  interfaces = [\"eth0\", \"eth1\"]    # every interface by which client or node traffic comes in

  [[service]]
  name = \"csta\"
  vip  = \"192.0.2.100\"             # what clients connect to; lb puts it on an interface
  port = 5060

  [[service.backend]]
  name    = \"imp1\"
  address = \"10.0.0.11\"            # its route to the clients leads through this host

Examples:
  lb check --config /etc/lb/lb.toml     is this file right?
  lb run --config /etc/lb/lb.toml       balance until SIGTERM
  lb show summary                       does it run, where, and with how many connections
  lb show backends                      who is up, why not, and who gets what
  lb show events                        what happened
  lb top                                all of that live, with keys to drain and activate
  lb show drops                         why packets do not arrive
  lb show flows --client 10.0.0.7       where a client's connections are
  lb drain csta/imp1 --deadline 30m     take a node out for maintenance
  lb activate csta/imp1                 and back in
  lb plan /etc/lb/lb.toml               what would the file change that was just edited?
  lb reload                             have it changed

Exit status:
  0  done
  1  refused or failed, with one line on stderr that says why
  2  the command line is wrong

Files:
  /run/lb/lb.sock    the daemon's admin socket, where its config names no other

Environment:
  RUST_LOG    how much the daemon logs: error, warn, info (the default), debug, trace
  NO_COLOR    where it is set, `lb top` has no colours

Read on:
  lb COMMAND --help        each command, with examples
  lb man DIR               manual pages of all commands
  README.md                what lb is and how it is set up
  docs/operations.md       set-ups, every key of the config file, states, what to do when
  docs/datapath.md         what happens to a packet, and every reason why one is dropped
  docs/monitoring.md       figures for Prometheus, alerts, a dashboard";

/// What every manual page of a command has, beside what its own help says.
pub(super) const OF_ALL: &[&str] = &["Exit status", "Files"];

/// The titles of a help text, each with its lines, which have lost their first two spaces.
pub(super) fn sections(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut sections = Vec::<(&str, Vec<&str>)>::new();
    for line in text.lines() {
        match (line.strip_prefix("  "), sections.last_mut()) {
            (None, _) if line.ends_with(':') => {
                sections.push((line.trim_end_matches(':'), Vec::new()));
            }
            (Some(indented), Some((_, lines))) => lines.push(indented),
            (None, Some((_, lines))) if line.is_empty() => lines.push(line),
            _ => {}
        }
    }
    for (_, lines) in &mut sections {
        while lines.last().is_some_and(|line| line.is_empty()) {
            lines.pop();
        }
    }
    sections
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_taken_apart_by_its_titles() {
        let text = "Examples:\n  lb a\n    b\n\n  c\n\nFiles:\n  d";
        let found = sections(text);
        assert_eq!(found, [("Examples", vec!["lb a", "  b", "", "c"]), ("Files", vec!["d"])]);
    }

    #[test]
    fn the_long_help_has_what_all_pages_have() {
        let found = sections(LONG);
        for title in OF_ALL {
            assert!(found.iter().any(|(its, _)| its == title), "{title}");
        }
    }

    #[test]
    fn the_first_config_file_is_right() {
        let sections = sections(LONG);
        let (title, lines) = &sections[0];
        assert_eq!(*title, "A first config file");
        let config = crate::config::Config::parse(&lines.join("\n"), "help");
        assert_eq!(config.map(|config| config.services.len()), Ok(1));
    }
}
