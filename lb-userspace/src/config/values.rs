//! One value of the file each: its type, its range, and what this version does not offer.
//!
//! Every function judges a value by itself and says what is wrong with it and what to do.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::duration::{format_duration, parse_duration};
use super::error::quote;
use super::suggest::closest;

/// `IFNAMSIZ` less the terminating zero (linux/if.h).
const LONGEST_INTERFACE_NAME: usize = 15;
/// `sun_path` less the terminating zero (unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;
const LONGEST_NAME: usize = 64;
const SHORTEST_DURATION: Duration = Duration::from_millis(10);
const LONGEST_DURATION: Duration = Duration::from_secs(3600);

/// "expected …, found …", with a hint where the cause is a common one.
pub(super) fn expected(what: &str, found: &DeValue<'_>) -> String {
    format!("expected {what}, found {}", describe(found))
}

/// The name of a service or backend. Operators write it on the command line, as
/// `SERVICE/BACKEND`, so it has nothing that a shell or the slash would give a meaning.
pub(super) fn name(value: &DeValue<'_>) -> Result<String, String> {
    let name = string("a name in quotes, such as \"csta\"", value)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        return Err("is empty: give a name".to_owned());
    }
    if let Some(wrong) = name.chars().find(|&c| !allowed(c)) {
        return Err(format!(
            "{} has the character {wrong:?}: use letters, digits, '.', '_' and '-' only",
            quote(name)
        ));
    }
    if name.len() > LONGEST_NAME {
        let length = name.len();
        return Err(format!("has {length} characters: {LONGEST_NAME} are allowed"));
    }
    Ok(name.to_owned())
}

/// The name of an interface that may carry an XDP program. The kernel's rule is
/// `dev_valid_name` (net/core/dev.c).
pub(super) fn interface(value: &DeValue<'_>) -> Result<String, String> {
    let name = string("the name of an interface in quotes, such as \"eth0\"", value)?;
    let shown = quote(name);
    let reason = if name.is_empty() {
        "is empty".to_owned()
    } else if name.len() > LONGEST_INTERFACE_NAME {
        format!("is longer than the {LONGEST_INTERFACE_NAME} bytes that the kernel allows")
    } else if name == "." || name == ".." {
        "cannot be the name of an interface".to_owned()
    } else if let Some(wrong) =
        name.chars().find(|&c| c == '/' || c == ':' || c.is_whitespace() || c.is_control())
    {
        format!("has the character {wrong:?}, which no interface's name has")
    } else if name == "lo" {
        return Err(
            "\"lo\" carries no traffic of clients or backends: name the interfaces that do"
                .to_owned(),
        );
    } else {
        return Ok(name.to_owned());
    };
    Err(format!("{shown} {reason}: `ip -brief link` lists the interfaces"))
}

/// A TCP port that can be connected to.
pub(super) fn port(value: &DeValue<'_>) -> Result<u16, String> {
    integer(1..=u16::MAX)(value)
}

/// An address and a port of this host to listen on.
pub(super) fn listener(value: &DeValue<'_>) -> Result<SocketAddr, String> {
    const EXAMPLE: &str = "\"127.0.0.1:9460\"";
    let text = string(&format!("an address and a port in quotes, such as {EXAMPLE}"), value)?;
    let shown = quote(text);
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        Ok(_) => Err(format!("{shown} has port 0: write one from 1 to 65535")),
        Err(_) => Err(format!("{shown} is no address with a port: write for example {EXAMPLE}")),
    }
}

/// A range of TCP ports, "LOW-HIGH", both included.
pub(super) fn port_range(value: &DeValue<'_>) -> Result<RangeInclusive<u16>, String> {
    const EXAMPLE: &str = "\"1024-65535\"";
    let text = string(&format!("a range of ports in quotes, such as {EXAMPLE}"), value)?;
    let shown = quote(text);
    let is_number =
        |text: &str| !text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit());
    let Some((low, high)) =
        text.split_once('-').filter(|(low, high)| is_number(low) && is_number(high))
    else {
        return Err(format!("{shown} is no range of ports: write LOW-HIGH, such as {EXAMPLE}"));
    };
    // Digits that do not fit are a number that is too large.
    let port = |digits: &str| digits.parse::<u16>().ok().filter(|port| *port > 0);
    match (port(low), port(high)) {
        (Some(low), Some(high)) if low <= high => Ok(low..=high),
        (Some(low), Some(high)) => {
            Err(format!("{shown} begins above its end: write \"{high}-{low}\""))
        }
        _ => Err(format!("{shown} is out of range: ports are from 1 to 65535")),
    }
}

/// The path of the admin socket.
pub(super) fn socket_path(value: &DeValue<'_>) -> Result<PathBuf, String> {
    path_of_socket(string("an absolute path in quotes, such as \"/run/lb/lb.sock\"", value)?)
}

/// A directory in bpffs, which takes no names with dots (kernel, kernel/bpf/inode.c).
pub(super) fn pin_directory(value: &DeValue<'_>) -> Result<PathBuf, String> {
    let path = string("an absolute path in quotes, such as \"/sys/fs/bpf/lb\"", value)?;
    let shown = quote(path);
    if !path.starts_with('/') {
        Err(format!("{shown} is not absolute: begin with /"))
    } else if path.contains(['.', '\0']) {
        Err(format!("{shown} has a dot or a zero byte, which no path in bpffs has: remove it"))
    } else if path.ends_with('/') || path.contains("//") {
        Err(format!("{shown} has an empty name: write each / once, and none at the end"))
    } else {
        Ok(PathBuf::from(path))
    }
}

/// The path of a Unix socket.
pub(super) fn path_of_socket(path: &str) -> Result<PathBuf, String> {
    let shown = quote(path);
    if !path.starts_with('/') {
        Err(format!("{shown} is not absolute: begin with /"))
    } else if path.ends_with('/') {
        Err(format!("{shown} is a directory: add the name of the socket"))
    } else if path.contains('\0') {
        Err(format!("{shown} has a zero byte, which no path has: remove it"))
    } else if path.len() > LONGEST_SOCKET_PATH {
        let length = path.len();
        Err(format!("has {length} bytes: a socket's path has {LONGEST_SOCKET_PATH} at most"))
    } else {
        Ok(PathBuf::from(path))
    }
}

/// A duration between 10 ms (so that no typing error makes a flood of checks) and an hour.
pub(super) fn duration(value: &DeValue<'_>) -> Result<Duration, String> {
    let text = string("a duration in quotes, such as \"5s\" or \"500ms\"", value)?;
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST_DURATION..=LONGEST_DURATION).contains(&duration) {
        return Ok(duration);
    }
    Err(format!(
        "{} is out of range: write a duration from {} to {}",
        quote(text),
        format_duration(SHORTEST_DURATION),
        format_duration(LONGEST_DURATION)
    ))
}

/// A whole number in `range`.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&DeValue<'_>) -> Result<T, String>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    move |value| {
        let what = format!("a whole number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = value else { return Err(expected(&what, value)) };
        i128::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .and_then(|number| T::try_from(number).ok())
            .filter(|number| range.contains(number))
            .ok_or_else(|| format!("{} is out of range: write {what}", describe(value)))
    }
}

/// One of the words that the format knows for `key`: what it means, or, where this version does
/// not offer it, what this version does instead.
pub(super) fn choice<T: Copy>(
    key: &str,
    words: &[(&str, Result<T, &str>)],
) -> impl Fn(&DeValue<'_>) -> Result<T, String> {
    move |value| {
        let offered: Vec<_> = words
            .iter()
            .filter(|(_, meaning)| meaning.is_ok())
            .map(|(word, _)| format!("{word:?}"))
            .collect();
        let offered = offered.join(" or ");
        let text = string(&offered, value)?;
        match words.iter().find(|(word, _)| *word == text) {
            Some((_, Ok(meaning))) => Ok(*meaning),
            Some((_, Err(instead))) => Err(not_available(
                &format!("{key} = {text:?}"),
                instead,
                &format!("write {offered}"),
            )),
            None => Err(match closest(text, words.iter().map(|(word, _)| *word)) {
                Some(meant) => format!("{} is unknown: did you mean {meant:?}?", quote(text)),
                None => format!("{} is unknown: write {offered}", quote(text)),
            }),
        }
    }
}

/// A switch.
pub(super) fn switch(value: &DeValue<'_>) -> Result<bool, String> {
    value.as_bool().ok_or_else(|| expected("true or false", value))
}

fn not_available(what: &str, instead: &str, remedy: &str) -> String {
    format!("{what} is not available in this version: {instead}; {remedy}")
}

pub(super) fn string<'v>(what: &str, value: &'v DeValue<'_>) -> Result<&'v str, String> {
    value.as_str().ok_or_else(|| expected(what, value))
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) if text.parse::<i128>().is_ok() || text.parse::<bool>().is_ok() => {
            format!("the text {}: write it without quotes", quote(text))
        }
        DeValue::String(text) => format!("the text {}", quote(text)),
        DeValue::Integer(number) => shorten(&number.to_string()),
        DeValue::Float(number) => shorten(&number.to_string()),
        DeValue::Boolean(value) => value.to_string(),
        DeValue::Datetime(_) => "a date or time".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

fn shorten(number: &str) -> String {
    match number.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &number[..end]),
        None => number.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the TOML value `text` by `read`.
    fn accepts<T>(read: impl Fn(&DeValue<'_>) -> Result<T, String>, text: &str) -> bool {
        read(DeValue::parse(text).expect(text).get_ref()).is_ok()
    }

    #[test]
    fn each_range_ends_where_it_says() {
        for (inside, outside) in [("10ms", "9999us"), ("1h", "1h 1ns")] {
            assert!(accepts(duration, &format!("'{inside}'")), "{inside}");
            assert!(!accepts(duration, &format!("'{outside}'")), "{outside}");
        }
        for (inside, outside) in [("1", "0"), ("65_535", "65_536"), ("0xffff", "-1")] {
            assert!(accepts(port, inside), "{inside}");
            assert!(!accepts(port, outside), "{outside}");
        }
        for (inside, outside) in [
            ("1-65535", "0-65535"),
            ("1024-65535", "1024-65536"),
            ("5060-5060", "5061-5060"),
            ("01024-2048", "99999999999999999999-99999999999999999999"),
        ] {
            assert!(accepts(port_range, &format!("'{inside}'")), "{inside}");
            assert!(!accepts(port_range, &format!("'{outside}'")), "{outside}");
        }
        let a = |count| "a".repeat(count);
        assert!(accepts(interface, &format!("'{}'", a(15))));
        assert!(!accepts(interface, &format!("'{}'", a(16))));
        assert!(accepts(name, &format!("'{}'", a(64))));
        assert!(!accepts(name, &format!("'{}'", a(65))));
        assert!(accepts(socket_path, &format!("'/{}'", a(106))));
        assert!(!accepts(socket_path, &format!("'/{}'", a(107))));
    }

    #[test]
    fn a_range_of_ports_has_two_ends() {
        let range = port_range(DeValue::parse("'1024-65535'").expect("TOML").get_ref());
        assert_eq!(range, Ok(1024..=65535));
        for text in ["", "-", "1024", "1024-", "-65535", "1-2-3", "+1-2", "1 - 2", "low-high"] {
            let value = format!("'{text}'");
            let message = port_range(DeValue::parse(&value).expect("TOML").get_ref());
            let message = message.expect_err(text);
            assert!(message.contains("write LOW-HIGH, such as \"1024-65535\""), "{message}");
        }
    }

    #[test]
    fn what_the_kernel_refuses_as_an_interface_is_refused() {
        for text in ["'.'", "'..'", "'a/b'", "'a:b'", "'a b'", "\"a\\tb\"", "''", "'lo'"] {
            assert!(!accepts(interface, text), "{text}");
        }
        for text in ["'eth0'", "'bond0.100'", "'enp3s0f1np1'", "'veth-a_b@c'"] {
            assert!(accepts(interface, text), "{text}");
        }
    }
}
