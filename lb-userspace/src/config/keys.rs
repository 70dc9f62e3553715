//! The keys of the format, by table, and what to say of a key that is none of them.

use super::suggest::closest;

/// A kind of table in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Level {
    /// What a person calls it.
    pub title: &'static str,
    /// Every key that may stand in it, those of later versions included.
    pub keys: &'static [&'static str],
}

pub(super) static ROOT: Level = Level {
    title: "the top of the file",
    keys: &[
        "interfaces",
        "xdp_mode",
        "persist",
        "pin_directory",
        "flow_capacity",
        "snat_ports",
        "admin_socket",
        "admin_group",
        "metrics_listen",
        "syslog",
        "syslog_facility",
        "service",
    ],
};

pub(super) static SERVICE: Level = Level {
    title: "[[service]]",
    keys: &[
        "name",
        "vip",
        "port",
        "protocol",
        "forwarding",
        "snat_addresses",
        "outbound_nat",
        "balance",
        "affinity",
        "keepalive",
        "backend",
        "reset_on_failure",
        "when_unavailable",
        "max_new_per_second",
        "allow",
        "deny",
    ],
};

pub(super) static KEEPALIVE: Level = Level {
    title: "[service.keepalive]",
    keys: &[
        "type",
        "interval",
        "retry_interval",
        "timeout",
        "fall",
        "rise",
        "error_limit",
        "port",
        "source_address",
        "close",
        "down_statuses",
    ],
};

pub(super) static BACKEND: Level =
    Level { title: "[[service.backend]]", keys: &["name", "address", "port", "weight", "backup"] };

static LEVELS: [&Level; 4] = [&ROOT, &SERVICE, &KEEPALIVE, &BACKEND];

/// What is wrong with `key` in a table of `level`, whose keys it is not one of, and what to do.
pub(super) fn unknown_key(level: &Level, key: &str) -> String {
    let title = level.title;
    if let Some(home) = LEVELS.into_iter().find(|home| home.keys.contains(&key)) {
        let place = if *home == ROOT { "above the first [[service]]" } else { "there" };
        return format!("is a key of {}, not of {title}: move it {place}", home.title);
    }
    match closest(key, level.keys.iter().copied()) {
        Some(meant) => format!("is no key of {title}: did you mean {meant}?"),
        None => format!("is no key of {title}: remove it; the keys are {}", level.keys.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_explained() {
        for (level, key, message) in [
            (&ROOT, "interface", "is no key of the top of the file: did you mean interfaces?"),
            (
                &KEEPALIVE,
                "Retry-Interval",
                "is no key of [service.keepalive]: did you mean retry_interval?",
            ),
            (
                &BACKEND,
                "flow_capacity",
                "is a key of the top of the file, not of [[service.backend]]: move it above the first [[service]]",
            ),
            (
                &ROOT,
                "backend",
                "is a key of [[service]], not of the top of the file: move it there",
            ),
            (
                &BACKEND,
                "colour",
                "is no key of [[service.backend]]: remove it; the keys are name, address, port, weight, backup",
            ),
        ] {
            assert_eq!(unknown_key(level, key), message);
        }
    }
}
