//! Who was turned away: counted, and told in the log at a bounded rate.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::usage::Refused;

/// Why somebody is turned away or let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Connections,
    Address,
    Descriptors,
    Handshake,
    Malformed,
    Sessions,
    Passwords,
    Slow,
    Watches,
}

impl Reason {
    fn text(self) -> &'static str {
        match self {
            Self::Connections => "too many connections",
            Self::Address => "too many connections from one address",
            Self::Descriptors => "no file descriptor left",
            Self::Handshake => "no session in time",
            Self::Malformed => "what it sent cannot be read",
            Self::Sessions => "too many sessions",
            Self::Passwords => "too many wrong passwords",
            Self::Slow => "it does not take what it is sent",
            Self::Watches => "too many watches to re-arm",
        }
    }
}

/// Between two lines of the log: a flood of connections is not to become one of lines.
const QUIET: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Refusals {
    pub(super) counts: Refused,
    told: Option<Instant>,
    untold: u64,
}

impl Refusals {
    /// Counts one; how many the log is to be told of now, if it is.
    fn count(&mut self, reason: Reason, now: Instant) -> Option<u64> {
        let count = match reason {
            Reason::Connections => &mut self.counts.connections,
            Reason::Address => &mut self.counts.address,
            Reason::Descriptors => &mut self.counts.descriptors,
            Reason::Handshake => &mut self.counts.handshakes,
            Reason::Malformed => &mut self.counts.malformed,
            Reason::Sessions => &mut self.counts.sessions,
            Reason::Passwords => &mut self.counts.passwords,
            Reason::Slow => &mut self.counts.slow,
            Reason::Watches => &mut self.counts.watches,
        };
        *count += 1;
        self.untold += 1;
        if self.told.is_some_and(|told| now.duration_since(told) < QUIET) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }

    pub(super) fn note(&mut self, reason: Reason, peer: Option<IpAddr>, now: Instant) {
        if let Some(count) = self.count(reason, now) {
            let peer = peer.map(tracing::field::display);
            tracing::warn!(peer, connections = count, "closed: {}", reason.text());
        }
    }
}

/// How many wrong passwords came from each address in the present second.
#[derive(Debug, Default)]
pub(super) struct Failures {
    second: Option<Instant>,
    by_address: BTreeMap<IpAddr, u32>,
}

/// Of how many addresses it is kept. Further ones have no patience left to use up.
const ADDRESSES: usize = 10_000;

impl Failures {
    pub(super) fn note(&mut self, address: IpAddr, now: Instant) {
        self.turn(now);
        if self.by_address.len() < ADDRESSES || self.by_address.contains_key(&address) {
            *self.by_address.entry(address).or_default() += 1;
        }
    }

    pub(super) fn are_too_many(&mut self, address: IpAddr, limit: u32, now: Instant) -> bool {
        self.turn(now);
        match self.by_address.get(&address) {
            Some(count) => *count >= limit,
            None => self.by_address.len() >= ADDRESSES,
        }
    }

    fn turn(&mut self, now: Instant) {
        if self.second.is_none_or(|second| now.duration_since(second) >= Duration::from_secs(1)) {
            self.second = Some(now);
            self.by_address.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_told_once_a_second_of_all_there_were() {
        let (mut refusals, began) = (Refusals::default(), Instant::now());
        let at = |millis| began + Duration::from_millis(millis);
        assert_eq!(refusals.count(Reason::Sessions, at(0)), Some(1));
        for millis in 1..1_000 {
            assert_eq!(refusals.count(Reason::Connections, at(millis)), None);
        }
        assert_eq!(refusals.count(Reason::Address, at(1_000)), Some(1_000));
        assert_eq!(refusals.counts.connections, 999);
        assert_eq!(refusals.counts.total(), 1_001);
    }

    #[test]
    fn each_address_fails_alone_and_begins_anew_with_the_next_second() {
        let (mut failures, began) = (Failures::default(), Instant::now());
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..5 {
            assert!(!failures.are_too_many(one, 5, began));
            failures.note(one, began);
        }
        assert!(failures.are_too_many(one, 5, began));
        assert!(!failures.are_too_many(other, 5, began));
        assert!(!failures.are_too_many(one, 5, began + Duration::from_secs(1)));
    }

    #[test]
    fn the_addresses_kept_are_bounded() {
        let (mut failures, now) = (Failures::default(), Instant::now());
        for number in 0..2 * ADDRESSES as u32 {
            failures.note(IpAddr::from(number.to_be_bytes()), now);
        }
        assert_eq!(failures.by_address.len(), ADDRESSES);
        assert!(failures.are_too_many(IpAddr::from([255, 0, 0, 1]), 5, now), "one more");
    }
}
