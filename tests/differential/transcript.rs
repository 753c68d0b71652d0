//! What was answered and told, in a form in which two servers can be compared.

use std::collections::BTreeMap;
use std::fmt::Debug;

use herdless::core::{Answer, MultiReply, ReadReply, Reply, Request};
use herdless::{Error, Stat};

/// Everything in order, each with what must be equal and what must only correspond.
#[derive(Debug, Default)]
pub(crate) struct Transcript {
    entries: Vec<Entry>,
    events: usize,
}

#[derive(Debug, Default)]
struct Entry {
    what: String,
    /// Changes: of the same order on both servers.
    zxids: Vec<i64>,
    /// Sessions: the same one on one server is the same one on the other.
    owners: Vec<i64>,
}

impl Entry {
    fn stat(&mut self, stat: &Stat) {
        let Stat { version, cversion, aversion, data_length, num_children, .. } = stat;
        self.what += &format!(" [{version} {cversion} {aversion} {data_length} {num_children}]");
        self.zxids.extend([stat.czxid.0, stat.mzxid.0, stat.pzxid.0]);
        self.owners.push(stat.ephemeral_owner);
    }

    fn text(&mut self, part: &impl Debug) {
        self.what += &format!(" {part:?}");
    }

    fn reply(&mut self, reply: &Reply) {
        match reply {
            Reply::Created(created) => {
                self.text(&created.path);
                self.stat(&created.stat);
            }
            Reply::Exists(Some(stat)) | Reply::Set(stat) => self.stat(stat),
            Reply::Data(data, stat) => {
                self.text(data);
                self.stat(stat);
            }
            Reply::Children(names, stat) => {
                self.text(&sorted(names));
                self.stat(stat);
            }
            Reply::Acl(acl, stat) => {
                // What `auth` stands for has no order: who somebody is is a set.
                self.text(&sorted(&acl.iter().map(|acl| format!("{acl:?}")).collect::<Vec<_>>()));
                self.stat(stat);
            }
            Reply::Ephemerals(paths) => self.text(&sorted(paths)),
            Reply::Identities(identities) => {
                let names = identities.iter().map(|identity| (identity.scheme.clone(), identity.id.clone()));
                self.text(&sorted(&names.collect::<Vec<_>>()));
            }
            Reply::Multi(replies) => replies.iter().for_each(|reply| self.multi_reply(reply)),
            Reply::MultiRead(outcomes) => outcomes.iter().for_each(|outcome| self.read_reply(outcome)),
            other => self.text(other),
        }
    }

    fn multi_reply(&mut self, reply: &MultiReply) {
        match reply {
            MultiReply::Created(path, stat) => {
                self.text(path);
                stat.iter().for_each(|stat| self.stat(stat));
            }
            MultiReply::Set(stat) => self.stat(stat),
            other => self.text(other),
        }
    }

    fn read_reply(&mut self, outcome: &Result<ReadReply, Error>) {
        match outcome {
            Ok(ReadReply::Data(data, stat)) => {
                self.text(data);
                self.stat(stat);
            }
            Ok(ReadReply::Children(names)) => self.text(&sorted(names)),
            Err(error) => self.text(error),
        }
    }
}

fn sorted<T: Ord + Clone>(items: &[T]) -> Vec<T> {
    let mut items = items.to_vec();
    items.sort();
    items
}

impl Transcript {
    pub(crate) fn replied(&mut self, step: usize, request: &Request, outcome: &Result<Answer, Error>) {
        let mut entry = Entry { what: format!("step {step}: {request:?} ->"), ..Entry::default() };
        match outcome {
            Ok(Answer { reply, watch, stream }) => {
                entry.reply(reply);
                entry.text(&(watch.is_some(), stream.is_some()));
            }
            Err(error) => entry.text(error),
        }
        self.entries.push(entry);
    }

    pub(crate) fn renewed(&mut self, step: usize, closed: &Result<(), Error>) {
        self.entries.push(Entry { what: format!("step {step}: closed {closed:?}"), ..Entry::default() });
    }

    /// What a watch or a stream of this step has told.
    pub(crate) fn told(&mut self, who: usize, step: usize, news: &impl Debug) {
        self.events += 1;
        self.entries.push(Entry { what: format!("client {who}, of step {step}: {news:?}"), ..Entry::default() });
    }

    /// Where what comes next will stand.
    pub(crate) fn mark(&self) -> usize {
        self.entries.len()
    }

    /// What has come since then, in an order that does not tell.
    pub(crate) fn sort_from(&mut self, mark: usize) {
        self.entries[mark..].sort_by(|a, b| a.what.cmp(&b.what));
    }

    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// The first difference.
    pub(crate) fn compare(&self, theirs: &Self) -> Result<(), String> {
        let (mut zxids, mut owners) = (BTreeMap::new(), BTreeMap::from([(0, 0)]));
        for (at, (ours, theirs)) in self.entries.iter().zip(&theirs.entries).enumerate() {
            let differ = |what: &str| {
                let before =
                    self.entries[..at].iter().map(|entry| format!("\n        {}", entry.what)).collect::<String>();
                Err(format!("{what}{before}\n ours:   {ours:?}\n theirs: {theirs:?}"))
            };
            if ours.what != theirs.what || ours.zxids.len() != theirs.zxids.len() {
                return differ("");
            }
            for (a, b) in ours.zxids.iter().zip(&theirs.zxids) {
                if *zxids.entry(*a).or_insert(*b) != *b {
                    return differ("other changes");
                }
            }
            for (a, b) in ours.owners.iter().zip(&theirs.owners) {
                if *owners.entry(*a).or_insert(*b) != *b {
                    return differ("other sessions");
                }
            }
        }
        if !zxids.values().is_sorted_by(|a, b| a < b) {
            return Err(format!("changes in another order: {zxids:?}"));
        }
        match self.entries.len() == theirs.entries.len() {
            true => Ok(()),
            false => Err(format!("{} entries against {}", self.entries.len(), theirs.entries.len())),
        }
    }
}
