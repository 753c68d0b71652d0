use std::process::{self, Command};

/// Bytes that this process' connections to `server` have carried, both ways, as the kernel counts
/// them. `None` without `ss` (of iproute2).
pub(crate) fn bytes(server: &str) -> Option<u64> {
    let listing = Command::new("ss")
        .args(["--tcp", "--info", "--numeric", "--processes"])
        .args(["--no-header", "--oneline", "dst", server])
        .output()
        .ok()?;
    let listing = String::from_utf8(listing.stdout).ok()?;
    let own = format!("pid={},", process::id());
    let counted = listing
        .lines()
        .filter(|line| line.contains(&own))
        .flat_map(str::split_ascii_whitespace)
        .filter_map(|field| {
            let sent = field.strip_prefix("bytes_sent:");
            sent.or_else(|| field.strip_prefix("bytes_received:"))
        })
        .filter_map(|count| count.parse::<u64>().ok());
    Some(counted.sum())
}
