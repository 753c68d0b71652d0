//! Who moves where when the list of servers changes.

/// In which order the new hosts are to be tried by a client that leaves its server; `None` if it stays.
///
/// The rule of ZooKeeper's client (`StaticHostProvider.updateServerList`, ZOOKEEPER-1355): each client decides for
/// itself with a probability that leaves all servers of the new list with the same number of clients, provided that those of the
/// old one had the same. `old` is how many there were, `kept` which of the old ones each new one is, `is_kept` whether
/// the client's own is among them.
pub(super) fn reconnect_order(
    old: usize,
    kept: &[Option<usize>],
    is_kept: bool,
    dice: &mut Dice,
) -> Option<Vec<usize>> {
    let (mut known, mut added): (Vec<_>, Vec<_>) = (0..kept.len()).partition(|host| kept[*host].is_some());
    dice.shuffle(&mut known);
    dice.shuffle(&mut added);
    let (before, after) = (old as f64, kept.len() as f64);
    let to_added = if after > before {
        // The servers that remain have more than their share. A client of theirs moves if it is of the surplus; one of
        // a server that is gone must not make it larger.
        if is_kept && dice.fraction() >= 1.0 - before / after {
            return None;
        }
        1.0
    } else if is_kept {
        // They are to have more.
        return None;
    } else {
        // The clients of the servers that are gone fill up those that remain to the new share, and give the rest to
        // the added ones.
        let gone = before - known.len() as f64;
        let to_known = if gone > 0.0 { known.len() as f64 * (before - after) / (after * gone) } else { 1.0 };
        1.0 - to_known
    };
    // The first draw decides where this client goes; the further ones only where a server cannot be reached.
    let (mut known, mut added) = (known.into_iter().peekable(), added.into_iter().peekable());
    let mut order = Vec::with_capacity(kept.len());
    while known.peek().is_some() || added.peek().is_some() {
        let wants_added = dice.fraction() < to_added;
        let next =
            if wants_added { added.next().or_else(|| known.next()) } else { known.next().or_else(|| added.next()) };
        order.extend(next);
    }
    Some(order)
}

/// Random numbers out of one that the caller has drawn (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// At least 0 and below 1.
    fn fraction(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn shuffle(&mut self, hosts: &mut [usize]) {
        for last in (1..hosts.len()).rev() {
            // The bias is that of a remainder of 2^64 by a handful of hosts.
            let other = usize::try_from(self.number() % (last as u64 + 1)).expect("at most `last`");
            hosts.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const CLIENTS: usize = 10_000;

    /// Clients that are spread evenly over `old`, after the list has become `new`: how many there are at each server, and how
    /// many have moved. Servers have names here, as they have for the transport.
    fn spread(old: &[char], new: &[char], dice: &mut Dice) -> (BTreeMap<char, usize>, usize) {
        let kept: Vec<_> = new.iter().map(|name| old.iter().position(|other| other == name)).collect();
        let (mut at, mut moved) = (new.iter().map(|name| (*name, 0)).collect::<BTreeMap<_, _>>(), 0);
        for client in 0..CLIENTS {
            let own = old[client % old.len()];
            let order = reconnect_order(old.len(), &kept, new.contains(&own), &mut Dice::new(dice.number()));
            if let Some(order) = &order {
                let mut all = order.clone();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..new.len()), "each is tried once: {order:?}");
            }
            moved += usize::from(order.is_some());
            *at.entry(order.map_or(own, |order| new[order[0]])).or_default() += 1;
        }
        (at, moved)
    }

    /// Each server has its share to within 6 in 100, and only as many have moved as must.
    fn assert_even(old: &[char], new: &[char], expected_moves: usize) {
        let (at, moved) = spread(old, new, &mut Dice::new(0x5eed));
        let share = CLIENTS / new.len();
        println!("{old:?} to {new:?}: {at:?}, {moved} moved");
        assert_eq!(at.len(), new.len(), "none is at a server that is gone: {at:?}");
        for (name, count) in &at {
            assert!(count.abs_diff(share) * 100 <= share * 6, "{name}: {count} instead of {share}");
        }
        assert!(moved.abs_diff(expected_moves) * 100 <= CLIENTS * 2, "{moved} moved, {expected_moves} have to");
    }

    #[test]
    fn the_clients_spread_evenly_over_any_new_list() {
        let five = ['a', 'b', 'c', 'd', 'e'];
        // More servers: the newcomers' shares move.
        assert_even(&five[..3], &five, 4_000);
        assert_even(&five[..1], &five[..2], 5_000);
        // Fewer: those of the servers that are gone.
        assert_even(&five, &five[..3], 4_000);
        assert_even(&five, &['a', 'b', 'x'], 6_000);
        // As many.
        assert_even(&five[..3], &['a', 'b', 'x'], 3_333);
        assert_even(&five[..3], &['x', 'y', 'z'], CLIENTS);
        // More, and one is gone: its clients, and the surplus of the others.
        assert_even(&five[..3], &['a', 'b', 'x', 'y', 'z'], 3_333 + 6_667 * 2 / 5);
        assert_even(&five[..3], &['c', 'a', 'b'], 0);
    }

    #[test]
    fn the_client_of_a_server_that_is_gone_always_moves() {
        for seed in 0..1_000 {
            let mut dice = Dice::new(seed);
            assert!(reconnect_order(3, &[Some(0), Some(1)], false, &mut dice).is_some());
            assert!(reconnect_order(3, &[Some(0), Some(1), Some(2)], false, &mut dice).is_some());
            assert!(reconnect_order(1, &[None, Some(0)], false, &mut dice).is_some());
            assert_eq!(reconnect_order(3, &[Some(0), Some(1)], true, &mut dice), None, "and that of another stays");
        }
    }
}
