//! The names of contenders, and their order.

/// The part of a contender's name before its number.
pub(super) const STEM: &str = "lock-";

/// A contender's number: its place in the order. Where the server's counter (a signed 32-bit number) runs over, the
/// negative numbers come after the positive ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sequence(u32);

impl Sequence {
    /// The number in a child's name: what follows the last `lock-`, as Curator reads it
    /// (`StandardLockInternalsDriver.standardFixForSorting`). A child without one is no contender.
    pub(super) fn of(name: &str) -> Option<Self> {
        let (_, digits) = name.rsplit_once(STEM)?;
        let is_number =
            digits.len() >= 10 && digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit());
        let number: i32 = digits.parse().ok().filter(|_| is_number)?;
        Some(Self(number as u32))
    }

    /// The name that a contender of ours has which was made right before this one; `None` for the first ever.
    pub(super) fn name_before(self) -> Option<String> {
        let number = self.0.checked_sub(1)? as i32;
        // As the server writes it: String.format("%010d").
        Some(format!("{STEM}{number:010}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_curator_does() {
        let number = |name| Sequence::of(name).map(|sequence| sequence.0);
        assert_eq!(number("lock-0000000012"), Some(12));
        assert_eq!(number("_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-lock-0000000012"), Some(12));
        assert_eq!(number("lock-lock-0000000003"), Some(3));
        for other in ["lock-", "lock-12", "lock-000000001x", "lock-+000000001", "latch-0000000001", "config"] {
            assert_eq!(number(other), None, "{other}");
        }
    }

    #[test]
    fn the_order_goes_on_where_the_counter_runs_over() {
        let of = |name| Sequence::of(name).unwrap();
        let (last, first) = (of("lock-2147483647"), of("lock--2147483648"));
        assert!(last < first);
        assert_eq!(first.name_before().unwrap(), "lock-2147483647");
        assert_eq!(of("lock--2147483647").name_before().unwrap(), "lock--2147483648");
        assert_eq!(of("lock-0000000010").name_before().unwrap(), "lock-0000000009");
        assert_eq!(of("lock-0000000000").name_before(), None);
    }
}
