//! Where events are sent to.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::de::DeValue;

use super::error::quote;
use super::reader::Located;
use super::report::{Refused, Report};
use super::schema::RawConfig;
use super::values::{choice, path_of_socket, string};

/// A syslog receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Syslog {
    /// Where it is.
    pub target: SyslogTarget,
    /// The facility's number (RFC 5424, section 6.2.1): 0 to 11, or 16 to 23.
    pub facility: u8,
}

/// Where a syslog receiver is, and how messages get there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyslogTarget {
    /// A datagram a message (RFC 5426).
    Udp(SocketAddr),
    /// A stream of messages with their lengths (RFC 6587, section 3.4.1).
    Tcp(SocketAddr),
    /// A datagram a message, to a socket of this host such as `/dev/log`.
    Unix(PathBuf),
}

impl fmt::Display for SyslogTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Udp(address) => write!(f, "udp://{address}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix(path) => write!(f, "unix://{}", Path::display(path)),
        }
    }
}

/// The number of "daemon".
const DAEMON: u8 = 3;

/// The words for facilities (those of syslog(3)), and their numbers.
const FACILITIES: [(&str, Result<u8, &str>); 20] = [
    ("kern", Ok(0)),
    ("user", Ok(1)),
    ("mail", Ok(2)),
    ("daemon", Ok(DAEMON)),
    ("auth", Ok(4)),
    ("syslog", Ok(5)),
    ("lpr", Ok(6)),
    ("news", Ok(7)),
    ("uucp", Ok(8)),
    ("cron", Ok(9)),
    ("authpriv", Ok(10)),
    ("ftp", Ok(11)),
    ("local0", Ok(16)),
    ("local1", Ok(17)),
    ("local2", Ok(18)),
    ("local3", Ok(19)),
    ("local4", Ok(20)),
    ("local5", Ok(21)),
    ("local6", Ok(22)),
    ("local7", Ok(23)),
];

/// `syslog`.
pub(super) fn target(value: &DeValue<'_>) -> Result<SyslogTarget, String> {
    const EXAMPLES: &str = "\"udp://10.0.0.5:514\", \"tcp://10.0.0.5:601\" or \"unix:///dev/log\"";
    let text = string(&format!("a receiver in quotes, such as {EXAMPLES}"), value)?;
    let shown = quote(text);
    let host = |text: &str| match text.parse::<SocketAddr>() {
        Ok(address) if address.port() > 0 => Ok(address),
        Ok(_) => Err(format!("{shown} has port 0: write one from 1 to 65535")),
        Err(_) => Err(format!(
            "{shown} has no address with a port after the slashes: write for example {EXAMPLES}"
        )),
    };
    match text.split_once("://") {
        Some(("udp", rest)) => host(rest).map(SyslogTarget::Udp),
        Some(("tcp", rest)) => host(rest).map(SyslogTarget::Tcp),
        Some(("unix", rest)) => path_of_socket(rest).map(SyslogTarget::Unix),
        _ => Err(format!("{shown} begins with no way to send: write for example {EXAMPLES}")),
    }
}

/// `syslog_facility`.
pub(super) fn facility(value: &DeValue<'_>) -> Result<u8, String> {
    choice("syslog_facility", &FACILITIES)(value)
}

/// A facility of nothing is a mistake.
pub(super) fn check(raw: &RawConfig, report: &mut Report) {
    if let (Ok(None), Ok(Some(Located { line, .. }))) = (&raw.syslog, &raw.syslog_facility) {
        let message = "means nothing without syslog: add for example syslog = \
                       \"udp://10.0.0.5:514\", or remove it";
        report.refuse(*line, "syslog_facility", message.to_owned());
    }
}

/// What both keys say.
pub(super) fn build(
    target: Result<Option<Located<SyslogTarget>>, Refused>,
    facility: Result<Option<Located<u8>>, Refused>,
) -> Result<Option<Syslog>, Refused> {
    let facility = facility?.map_or(DAEMON, |facility| facility.value);
    Ok(target?.map(|target| Syslog { target: target.value, facility }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<SyslogTarget, String> {
        target(DeValue::parse(&format!("'{text}'")).expect("TOML").get_ref())
    }

    #[test]
    fn each_way_is_read_and_written() {
        for text in [
            "udp://10.0.0.5:514",
            "udp://[2001:db8::5]:514",
            "tcp://10.0.0.5:601",
            "unix:///dev/log",
        ] {
            assert_eq!(read(text).map(|target| target.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_leads_nowhere_is_refused() {
        for (text, part) in [
            ("10.0.0.5:514", "begins with no way to send"),
            ("tls://10.0.0.5:6514", "begins with no way to send"),
            ("udp://10.0.0.5", "no address with a port"),
            ("udp://loghost:514", "no address with a port"),
            ("tcp://10.0.0.5:0", "port 0"),
            ("unix://dev/log", "not absolute"),
            ("unix:///dev/", "is a directory"),
        ] {
            let message = read(text).expect_err(text);
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn facilities_have_the_numbers_of_the_standard() {
        let read = |text: &str| facility(DeValue::parse(text).expect("TOML").get_ref());
        assert_eq!(read("'daemon'"), Ok(3));
        assert_eq!(read("'local7'"), Ok(23));
        assert!(read("'demon'").expect_err("misspelt").contains("did you mean \"daemon\"?"));
    }
}
