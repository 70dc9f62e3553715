//! What can be typed after `lb`.

mod events;
mod flows;
mod top;

use std::{path::PathBuf, time::Duration};

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use super::help;
use crate::{
    admin::MAX_DEADLINE,
    config::{DEFAULT_ADMIN_SOCKET, DEFAULT_PIN_DIRECTORY, MAX_WEIGHT, parse_duration},
    control::BackendName,
};
pub(super) use events::Events;
pub(super) use flows::{Flow, Flows};
pub(super) use top::Top;

use super::trace::Trace;

/// A TCP load balancer for CSTA and SIP in the kernel's XDP hook.
///
/// `lb run` is the daemon: it attaches the balancer's program to the interfaces, asks the nodes whether
/// they live, and gives new connections to those that do. The other commands talk to a running daemon
/// through its admin socket, which belongs to root; `lb check`, `lb completions` and `lb man` need
/// neither.
#[derive(Debug, Parser)]
#[command(name = "lb", version, after_help = help::SHORT, after_long_help = help::LONG)]
pub(super) struct Args {
    /// The admin socket of the daemon [default: /run/lb/lb.sock]
    ///
    /// Where the config of the daemon says `admin_socket`, it is that.
    #[arg(long, value_name = "PATH", global = true)]
    pub(super) socket: Option<PathBuf>,

    #[command(subcommand)]
    pub(super) command: Command,
}

impl Args {
    /// The socket to talk to.
    pub(super) fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(|| DEFAULT_ADMIN_SOCKET.into())
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Balance: attach to the interfaces, run keepalives, answer on the admin socket
    ///
    /// SIGHUP reads the file again; a file that is wrong changes nothing. SIGTERM and SIGINT stop
    /// and leave nothing behind; where the file says `persist = true`, connections go on by themselves
    /// then, and the next `lb run` takes them over. What happens is logged on stderr, a line per event; RUST_LOG
    /// (error, warn, info, debug, trace) says how much.
    #[command(after_help = "\
Example:
  lb run --config /etc/lb/lb.toml")]
    Run(Run),

    /// Remove a persistent datapath, and all that was done for it
    ///
    /// For one that an lb with `persist = true` has left: its connections end, and addresses,
    /// neighbour entries and switches of the kernel's are as they were before. A daemon that runs
    /// with it is to be ended first.
    #[command(after_help = "\
Examples:
  lb detach
  lb detach --config /etc/lb/lb.toml")]
    Detach(Detach),

    /// Say whether a config file is right, and what is wrong with it
    ///
    /// Prints every problem on a line of its own, as FILE:LINE: KEY: what is wrong. Needs no
    /// daemon and changes nothing.
    #[command(after_help = "\
Example:
  lb check --config lb.toml && lb reload")]
    Check(ConfigFile),

    /// Show what the daemon does: tables for people, --json for programs
    #[command(
        subcommand,
        after_help = "\
Examples:
  lb show summary
  lb show backends --json
  lb show flows --client 10.0.0.0/24 --sort idle --reverse --limit 20"
    )]
    Show(Show),

    /// Give a backend no new flows; old ones stay
    ///
    /// With a deadline, the flows that are left when it is over are reset, on both sides.
    #[command(after_help = "\
Examples:
  lb drain csta/imp1                    for as long as it takes
  lb drain csta/imp1 --deadline 30m     the rest is reset after half an hour")]
    Drain {
        #[command(flatten)]
        target: Target,
        /// Reset what is left after this time, such as 90s, 30m or "1h 30m"
        #[arg(long, value_name = "TIME", value_parser = deadline)]
        deadline: Option<Duration>,
    },

    /// Take a backend out at once; its flows are reset
    #[command(after_help = "\
Example:
  lb suspend csta/imp1                  `lb drain` does the same without breaking a call")]
    Suspend(Target),

    /// Bring a drained or suspended backend back in
    ///
    /// It gets new flows as soon as its keepalives succeed; no old flow moves.
    #[command(after_help = "\
Example:
  lb activate csta/imp1")]
    Activate(Target),

    /// Change the weight of a backend: its part of the new flows against the others
    ///
    /// Old flows stay where they are. The config file is not changed.
    #[command(after_help = "\
Example:
  lb weight csta/imp1 3                 three times the new flows of a backend of weight 1")]
    Weight {
        #[command(flatten)]
        target: Target,
        /// The new weight
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(..=i64::from(MAX_WEIGHT)))]
        weight: u32,
    },

    /// Say what a reload would change: services, backends, the part of new connections that moves
    ///
    /// Changes nothing. Connections that are open stay where they are, but for those of services
    /// that would end.
    #[command(after_help = "\
Example:
  lb plan /etc/lb/lb.toml               and then, perhaps: lb reload")]
    Plan {
        #[command(flatten)]
        output: Output,
        /// The config file (TOML), as the daemon would find it
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },

    /// Show packets as the XDP program sees them: what came, what was decided, what went out
    ///
    /// tcpdump does not see what XDP sends or drops. Without options every packet of the interfaces is
    /// shown, those that are not lb's included. Ends by Ctrl-C. While it runs packets take a longer
    /// way through the program, and at most --rate of them a second are told of on each CPU.
    #[command(after_help = "\
Examples:
  lb trace --client 10.0.0.7            what happens to this client's packets
  lb trace --drops                      whatever did not simply go through, and why
  lb trace --service csta --count 100 --json
  lb trace --client 10.0.0.7 --pcap call.pcapng --max-size 20MB
  lb trace --pcap - | tcpdump -nr -")]
    Trace(Trace),

    /// Have the daemon read its config file again
    ///
    /// A file that is wrong changes nothing. No flow moves; backends that left the file drain, the
    /// flows of services that left it are reset.
    #[command(after_help = "\
Example:
  lb check --config /etc/lb/lb.toml && lb reload")]
    Reload,

    /// Watch: rates, states, drops and events, live in the terminal; drain and suspend by key
    ///
    /// `?` shows the keys, `q` leaves. Orders are given after a question alone. Colours are left
    /// out where NO_COLOR is set.
    Top(Top),

    /// Print what lets a shell complete commands, options and their values by the tab key
    #[command(after_help = "\
Examples:
  lb completions bash > /etc/bash_completion.d/lb
  lb completions zsh > /usr/local/share/zsh/site-functions/_lb
  lb completions fish > /etc/fish/completions/lb.fish")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },

    /// Print the manual page of lb, or write the pages of all its commands into a directory
    #[command(after_help = "\
Examples:
  lb man | man -l -                     read it here
  lb man /usr/local/share/man/man8      then: man lb, man lb-show-flows")]
    Man {
        /// Where to write the pages, a file each
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct ConfigFile {
    /// The config file (TOML)
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) file: ConfigFile,

    /// Replace a persistent datapath that cannot be taken over: its connections end
    ///
    /// Such as one of an lb whose tables are different. What operators have ordered stays in force.
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Detach {
    /// Where it is pinned, as its config says
    #[arg(long, value_name = "DIR", default_value = DEFAULT_PIN_DIRECTORY, conflicts_with = "config")]
    pub(super) pin_directory: PathBuf,

    /// The config file (TOML) that says where
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Target {
    /// The backend, as `lb show backends` prints it: csta/imp1
    #[arg(value_name = "SERVICE/BACKEND")]
    pub(super) name: BackendName,
}

#[derive(Debug, ClapArgs)]
pub(super) struct Output {
    /// JSON instead of a table; its fields keep their names and meanings
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Show {
    /// The daemon, its interfaces, and the sums of everything
    #[command(after_help = "\
Example:
  lb show summary                       how the daemon is, and what runs where")]
    Summary(Output),
    /// Services: VIP, state and its reason, backends, traffic, rates
    #[command(after_help = "\
Example:
  lb show services                      which services have nobody left")]
    Services(Output),
    /// Backends: state and its reason, weight, part of the hash, flows, traffic, rates
    #[command(after_help = "\
Examples:
  lb show backends                      who is up, why not, and who gets what
  lb show backends --json | jq -r '.[] | select(.state != \"up\") | .backend'")]
    Backends(Output),
    /// Connections: which backend has which client
    Flows(Flows),
    /// One connection: which backend has it, and why; or where a new one would go
    Flow(Flow),
    /// Keepalives: what was asked last, and with what result
    #[command(after_help = "\
Example:
  lb show keepalives                    what each node answered last, and how fast")]
    Keepalives(Output),
    /// Packets that were not forwarded, by reason
    #[command(after_help = "\
Example:
  lb show drops                         why packets do not arrive")]
    Drops(Output),
    /// What happened: changes of state, orders, reloads, resets, warnings; the last 1,000, newest last
    Events(Events),
}

fn deadline(text: &str) -> Result<Duration, String> {
    let deadline = parse_duration(text).map_err(|error| error.to_string())?;
    if deadline.is_zero() {
        return Err("a drain without time is `lb suspend`".to_owned());
    }
    if deadline > MAX_DEADLINE {
        return Err("a deadline is at most 365 days".to_owned());
    }
    Ok(deadline)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn clap_finds_no_fault() {
        Args::command().debug_assert();
    }

    #[test]
    fn the_help_names_the_default_socket() {
        let help = Args::command().render_help().to_string();
        assert!(help.contains(&format!("[default: {DEFAULT_ADMIN_SOCKET}]")), "{help}");
    }

    #[test]
    fn no_help_is_wider_than_a_terminal() {
        fn check(command: &mut clap::Command) {
            let help = command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 100, "{line}");
            }
            command.get_subcommands_mut().for_each(check);
        }
        check(&mut Args::command().term_width(100));
    }

    #[test]
    fn deadlines_are_neither_nothing_nor_for_ever() {
        assert_eq!(deadline("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(deadline("365days"), Ok(MAX_DEADLINE));
        assert!(deadline("0s").unwrap_err().contains("suspend"));
        assert!(deadline("366days").unwrap_err().contains("365 days"));
        assert!(deadline("soon").is_err());
    }
}
