//! The file as a text.

use std::{io::Read as _, path::Path};

use super::{Config, ConfigError, Problem};

/// A larger file is not one of ours: all that a config may have fits in a small part of it.
pub const MAX_FILE_BYTES: u64 = 8 << 20;

impl Config {
    /// The text of the file at `path`, not looked at.
    ///
    /// # Errors
    /// A file that cannot be read is one problem with line 0 and no key.
    pub fn text(path: &Path) -> Result<String, ConfigError> {
        let file = path.display().to_string();
        read(path).map_err(|problem| ConfigError { file, problems: vec![problem] })
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let whole_file = |message| Problem { line: 0, key: String::new(), message };
    let cannot_read = |error| whole_file(format!("cannot be read: {error}"));

    let file = std::fs::File::open(path).map_err(cannot_read)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot_read)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(whole_file(format!(
            "is larger than {} MiB: this is no config file of lb",
            MAX_FILE_BYTES >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        Problem {
            line: 1 + valid.iter().filter(|&&byte| byte == b'\n').count(),
            key: String::new(),
            message: "is not valid UTF-8: save the file as UTF-8".to_owned(),
        }
    })
}
