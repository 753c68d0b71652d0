//! The names of contenders, their order, and who keeps whom waiting.

/// How the contenders of a line are named: the part before the number, for those who hold alone and for those who share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Naming {
    pub(crate) exclusive: &'static str,
    pub(crate) shared: Option<&'static str>,
}

/// What a contender wants to be once it is its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Alone: everybody ahead keeps it waiting.
    Exclusive,
    /// Together with others of this role: only those who want to be alone keep it waiting.
    Shared,
}

/// A contender's number: its place in the order. Where the server's counter (a signed 32-bit number) runs over, the
/// negative numbers come after the positive ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sequence(u32);

impl Naming {
    /// Curator's `LockInternals`, and with it `InterProcessMutex` and `LeaderSelector`.
    pub(crate) const CURATOR_LOCK: Self = Self::alone("lock-");
    /// Curator's `LeaderLatch`.
    pub(crate) const CURATOR_LATCH: Self = Self::alone("latch-");
    /// Curator's `InterProcessReadWriteLock`.
    pub(crate) const CURATOR_READ_WRITE: Self = Self { exclusive: "__WRIT__", shared: Some("__READ__") };
    /// kazoo's `Lock`, and with it `Election`.
    pub(crate) const KAZOO_LOCK: Self = Self::alone("__lock__");
    /// kazoo's `WriteLock` and `ReadLock`.
    pub(crate) const KAZOO_READ_WRITE: Self = Self { exclusive: "__lock__", shared: Some("__rlock__") };

    pub(crate) const fn alone(stem: &'static str) -> Self {
        Self { exclusive: stem, shared: None }
    }

    /// What the names of contenders in this role begin with, as ours do, or hold before the number.
    pub(crate) fn stem(self, role: Role) -> &'static str {
        match role {
            Role::Shared => self.shared.unwrap_or(self.exclusive),
            Role::Exclusive => self.exclusive,
        }
    }

    /// The contender that a child's name stands for: what follows the last stem is its number, whatever is before it, as
    /// Curator (`StandardLockInternalsDriver.standardFixForSorting`) and kazoo (`Lock._get_predecessor`) read it. A child
    /// without a stem and a number is no contender.
    pub(crate) fn contender(self, name: &str) -> Option<(Sequence, Role)> {
        let number = |stem| name.rsplit_once(stem).and_then(|(_, digits)| Sequence::parse(digits));
        let exclusive = number(self.exclusive).map(|sequence| (sequence, Role::Exclusive));
        exclusive.or_else(|| self.shared.and_then(number).map(|sequence| (sequence, Role::Shared)))
    }

    /// The names that a contender of ours may have which was made right before `sequence`; none for the first ever.
    pub(crate) fn names_before(self, sequence: Sequence) -> impl Iterator<Item = String> {
        let stems = sequence.before().map(|before| {
            let named = move |stem| before.name(stem);
            [Some(named(self.exclusive)), self.shared.map(named)]
        });
        stems.into_iter().flatten().flatten()
    }
}

impl Role {
    /// Whether a contender of this role waits for one of the `other` ahead of it.
    pub(crate) fn waits_for(self, other: Self) -> bool {
        self == Self::Exclusive || other == Self::Exclusive
    }
}

impl Sequence {
    /// The number that the server wrote as these digits.
    pub(crate) fn parse(digits: &str) -> Option<Self> {
        let is_number =
            digits.len() >= 10 && digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit());
        let number: i32 = digits.parse().ok().filter(|_| is_number)?;
        Some(Self(number as u32))
    }

    fn before(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }

    /// The name with this number, as the server writes it: `String.format("%010d")`.
    pub(crate) fn name(self, stem: &str) -> String {
        format!("{stem}{:010}", self.0 as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: Naming = Naming::CURATOR_LOCK;
    const READ_WRITE: Naming = Naming::CURATOR_READ_WRITE;

    #[test]
    fn numbers_are_read_as_curator_does() {
        let number = |name| LOCK.contender(name).map(|(sequence, _)| sequence.0);
        assert_eq!(number("lock-0000000012"), Some(12));
        assert_eq!(number("_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-lock-0000000012"), Some(12));
        assert_eq!(number("lock-lock-0000000003"), Some(3));
        for other in ["lock-", "lock-12", "lock-000000001x", "lock-+000000001", "latch-0000000001", "config"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn the_order_goes_on_where_the_counter_runs_over() {
        let of = |name| LOCK.contender(name).unwrap().0;
        let before = |name| LOCK.names_before(of(name)).collect::<Vec<_>>();
        let (last, first) = (of("lock-2147483647"), of("lock--2147483648"));
        assert!(last < first);
        assert_eq!(before("lock--2147483648"), ["lock-2147483647"]);
        assert_eq!(before("lock--2147483647"), ["lock--2147483648"]);
        assert_eq!(before("lock-0000000010"), ["lock-0000000009"]);
        assert!(before("lock-0000000000").is_empty());
    }

    #[test]
    fn readers_and_writers_are_told_apart() {
        let of = |name| READ_WRITE.contender(name).map(|(sequence, role)| (sequence.0, role));
        assert_eq!(of("__READ__0000000004"), Some((4, Role::Shared)));
        assert_eq!(of("_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-__WRIT__0000000005"), Some((5, Role::Exclusive)));
        assert_eq!(of("lock-0000000005"), None);
        let before: Vec<_> = READ_WRITE.names_before(Sequence(5)).collect();
        assert_eq!(before, ["__WRIT__0000000004", "__READ__0000000004"]);
        let kazoo = |name| Naming::KAZOO_READ_WRITE.contender(name).map(|(sequence, role)| (sequence.0, role));
        assert_eq!(kazoo("4f0c2b__rlock__0000000004"), Some((4, Role::Shared)));
        assert_eq!(kazoo("4f0c2b__lock__0000000005"), Some((5, Role::Exclusive)));
    }
}
