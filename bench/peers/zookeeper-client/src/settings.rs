use std::collections::HashMap;

use crate::Result;

const KEYS: [&str; 6] = ["n", "window", "c", "waiters", "sessions", "warmup"];

/// The command line: `SCENARIO --connect HOST:PORT [key=value ...]`.
pub(crate) struct Settings {
    pub(crate) scenario: String,
    pub(crate) server: String,
    values: HashMap<String, usize>,
}

impl Settings {
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        const USAGE: &str = "usage: SCENARIO --connect HOST:PORT [key=value ...]";
        let scenario = args.next().ok_or(USAGE)?;
        let mut server = None;
        let mut values = HashMap::new();
        while let Some(arg) = args.next() {
            if arg == "--connect" {
                server = args.next();
            } else {
                let (key, value) = arg.split_once('=').ok_or(USAGE)?;
                // A misspelt key would measure something else than it says.
                if !KEYS.contains(&key) {
                    return Err(format!("no such key: {key} (there are {})", KEYS.join(", ")).into());
                }
                values.insert(key.to_owned(), value.parse()?);
            }
        }
        Ok(Self { scenario, server: server.ok_or(USAGE)?, values })
    }

    pub(crate) fn get(&self, key: &str, default: usize) -> usize {
        self.values.get(key).copied().unwrap_or(default)
    }
}
