//! `key=value` arguments.

use std::str::FromStr;

/// One of them.
#[derive(Clone)]
pub(crate) struct Setting {
    key: String,
    value: usize,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or_else(|| format!("{text:?} is not key=value"))?;
        let value = value.parse().map_err(|_| format!("{value:?} is not a number"))?;
        Ok(Self { key: key.to_owned(), value })
    }
}

/// All of them.
pub(crate) struct Settings(Vec<Setting>);

impl Settings {
    pub(crate) fn new(settings: Vec<Setting>) -> Self {
        Self(settings)
    }

    /// The number given for `key`, or the default; 0 makes no sense anywhere.
    pub(crate) fn number(&self, key: &str, default: usize) -> Result<usize, String> {
        match self.0.iter().rev().find(|setting| setting.key == key).map_or(default, |setting| setting.value) {
            0 => Err(format!("{key} must be at least 1")),
            number => Ok(number),
        }
    }
}
