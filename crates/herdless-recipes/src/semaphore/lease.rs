//! The nodes of one grant.

use std::sync::Arc;

use bytes::Bytes;
use herdless_core::{
    Acl, Call, Client, ClientExt, Create, CreateMode, Created, Error, FindOwn, MultiOp, NodePath, Stat,
};

use crate::contend::{Token, search};

/// A grant about to be made: its nodes, whose names are known before they are there and are never used again, because
/// the token of the place in line is in them.
#[derive(Clone)]
pub(super) struct Lease {
    paths: Vec<NodePath>,
    data: Bytes,
}

impl Lease {
    /// One node that stands for the whole weight; or, where peers count nodes, one for each permit.
    pub(super) fn new(directory: &NodePath, token: Token, weight: u32, is_split: bool, data: Bytes) -> Self {
        let path = |name: String| directory.child(&name).expect("digits are a valid name below any valid path");
        let paths = match is_split {
            // All names are of one length: none is the beginning of another, as a search for it needs.
            true => (0..weight).map(|index| path(format!("lease-{:016x}-1-{index:05}", token.0.0))).collect(),
            false => vec![path(format!("lease-{:016x}-{weight}", token.0.0))],
        };
        Self { paths, data }
    }

    pub(super) fn len(&self) -> usize {
        self.paths.len()
    }

    /// The node that the permit is known by.
    pub(super) fn path(&self) -> &NodePath {
        &self.paths[0]
    }

    pub(super) fn creates<'a>(&'a self, acl: &'a Arc<[Acl]>) -> impl Iterator<Item = MultiOp> + 'a {
        self.paths.iter().map(|path| {
            let (path, data, acl) = (path.clone(), self.data.clone(), acl.clone());
            MultiOp::Create(Create { path, data: data.into(), acl, mode: CreateMode::Ephemeral })
        })
    }

    /// All nodes as made: one change made them all.
    pub(super) fn created(self, stat: Stat) -> impl Iterator<Item = Created> {
        self.paths.into_iter().map(move |path| Created { path, stat })
    }

    /// The Stat of the nodes, if they were made and the answer lost.
    pub(super) fn find<C: Client + Clone + 'static>(&self, client: &C) -> Call<FindOwn> {
        client.call(self.search_for(self.path())).on_abandon(self.undo(client))
    }

    /// What becomes of the nodes when nobody waits for them any more: each is looked for and taken away, whatever is known
    /// so far. A creation that is still on its way is found too: the search catches up first.
    pub(super) fn undo<C: Client + Clone + 'static, T>(
        &self,
        client: &C,
    ) -> impl FnOnce(Result<T, Error>) + Send + 'static {
        let (lease, client) = (self.clone(), client.clone());
        move |_| lease.paths.iter().for_each(|path| drop(search(&client, lease.search_for(path))))
    }

    fn search_for(&self, path: &NodePath) -> FindOwn {
        FindOwn { prefix: path.clone(), data: self.data.clone() }
    }
}

/// What a child of the leases' directory stands for: the grant that it belongs to, where it is one of ours, and how many
/// permits. Everything else is one permit of a Curator process (`InterProcessSemaphoreV2.LEASE_BASE_NAME`).
pub(super) fn parse(name: &str) -> (Option<Token>, u32) {
    fn ours(name: &str) -> Option<(Token, u32)> {
        let mut parts = name.strip_prefix("lease-")?.split('-');
        let token = parts.next().filter(|hex| hex.len() == 16)?;
        let weight = parts.next().filter(|weight| weight.starts_with(|first: char| ('1'..='9').contains(&first)))?;
        Some((Token(herdless_core::Zxid(i64::from_str_radix(token, 16).ok()?)), weight.parse().ok()?))
    }
    ours(name).map_or((None, 1), |(token, weight)| (Some(token), weight))
}

#[cfg(test)]
mod tests {
    use super::*;
    use herdless_core::Zxid;

    #[test]
    fn names_are_read_as_they_are_written() {
        let directory = NodePath::parse("/p/leases").unwrap();
        for (weight, is_split, sum) in [(7, false, 7), (3, true, 3), (u32::MAX, false, u32::MAX)] {
            let lease = Lease::new(&directory, Token(Zxid(0x1_0000_00ab)), weight, is_split, Bytes::new());
            let parsed: Vec<_> = lease.paths.iter().map(|path| parse(path.name())).collect();
            assert!(parsed.iter().all(|(token, _)| *token == Some(Token(Zxid(0x1_0000_00ab)))));
            assert_eq!(parsed.iter().map(|(_, weight)| weight).sum::<u32>(), sum);
        }
    }

    #[test]
    fn what_others_make_is_one_permit() {
        for name in [
            "_c_5f1a8f24-7b5c-4b3e-8b53-8e2a4c7d9e10-lease-0000000012",
            "lease-0000000012",
            "lease--2147483648",
            "lease-00000001000000ab-0",
            "lease-00000001000000ab-+4",
            "lease-00000001000000ab-4294967296",
            "lease-",
            "x",
        ] {
            assert_eq!(parse(name), (None, 1), "{name}");
        }
    }
}
