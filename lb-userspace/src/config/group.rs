//! The group whose members may use the admin socket.

use std::fmt;

use toml::de::DeValue;

use super::error::quote;
use super::values::{expected, integer};

/// A group of this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminGroup {
    /// By its name. Whether there is one is for the host to say.
    Name(String),
    /// By its number; it needs no name.
    Id(u32),
}

impl fmt::Display for AdminGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Id(id) => write!(f, "{id}"),
        }
    }
}

/// The greatest number that a group can have: the one above means "none" (chown(2)).
const GREATEST: u32 = u32::MAX - 1;

/// A name, or a number, in quotes or without.
pub(super) fn admin_group(value: &DeValue<'_>) -> Result<AdminGroup, String> {
    const WHAT: &str = "the name or the number of a group, such as \"lbadmin\" or 990";
    match value {
        DeValue::Integer(_) => integer(0..=GREATEST)(value).map(AdminGroup::Id),
        DeValue::String(text) if !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit()) => {
            let id = text.parse().ok().filter(|id| *id <= GREATEST);
            id.map(AdminGroup::Id)
                .ok_or_else(|| format!("{} is out of range: write {WHAT}", quote(text)))
        }
        DeValue::String(text) => {
            // Those that no line of /etc/group can have.
            let wrong = |c: char| c == ':' || c == ',' || c.is_whitespace() || c.is_control();
            if text.is_empty() || text.contains(wrong) {
                return Err(format!("{} is no name of a group: write {WHAT}", quote(text)));
            }
            Ok(AdminGroup::Name(text.to_string()))
        }
        _ => Err(expected(WHAT, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<AdminGroup, String> {
        admin_group(DeValue::parse(text).expect("TOML").get_ref())
    }

    #[test]
    fn a_group_has_a_name_or_a_number() {
        assert_eq!(read("'lbadmin'"), Ok(AdminGroup::Name("lbadmin".to_owned())));
        assert_eq!(read("'_lb-admin.1$'"), Ok(AdminGroup::Name("_lb-admin.1$".to_owned())));
        assert_eq!(read("990"), Ok(AdminGroup::Id(990)));
        assert_eq!(read("'990'"), Ok(AdminGroup::Id(990)));
        assert_eq!(read("4294967294"), Ok(AdminGroup::Id(4_294_967_294)));
        for wrong in ["4294967295", "'4294967295'", "'99999999999'", "-1", "''", "'a:b'", "'a b'"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for wrong in ["true", "['lbadmin']"] {
            let message = read(wrong).expect_err(wrong);
            assert!(message.starts_with("expected the name or the number of a group"), "{message}");
        }
    }
}
