//! From files to a tree.

use std::io::Read;
use std::time::Duration;

use herdless_core::{SessionId, Zxid};

use crate::error::{Fault, ImportError};
use crate::files::{Files, Listing, Numbered};
use crate::input::Input;
use crate::log::{End, Log};
use crate::password::password;
use crate::replica::Replica;
use crate::snapshot::Snapshot;
use crate::transaction::{Entry, TreeDigest};
use crate::{Import, ImportedSession, Report, Torn};

/// The newest snapshot that can be read, and all that the logs have behind it.
pub(crate) fn read(files: &dyn Files) -> Result<Import, ImportError> {
    let listing = Listing::of(files)?;
    let mut passed_over = Vec::new();
    for numbered in &listing.snapshots {
        let snapshot = match snapshot(files, numbered) {
            Ok(snapshot) => snapshot,
            // Another try may find it whole.
            Err(error) if matches!(error.fault, Fault::Io(_)) => return Err(error),
            Err(error) => {
                passed_over.push(error);
                continue;
            }
        };
        let replayed = Replay::new(numbered, snapshot).run(files, &listing);
        if passed_over.is_empty() {
            return replayed;
        }
        // An older one will do where the logs have everything since, up to the newest.
        return match replayed {
            Ok(import) if import.tree.last_zxid().0 >= listing.snapshots[0].zxid => {
                Ok(Import { report: Report { passed_over, ..import.report }, ..import })
            }
            _ => Err(passed_over.swap_remove(0)),
        };
    }
    // The newest says most about what has gone wrong.
    Err(passed_over.into_iter().next().unwrap_or_else(|| Fault::NoSnapshot.of(&files.place())))
}

fn open<'a>(files: &'a dyn Files, name: &str) -> Result<Box<dyn Read + 'a>, ImportError> {
    files.open(name).map_err(|error| Fault::Io(error).of(name))
}

fn snapshot(files: &dyn Files, numbered: &Numbered) -> Result<Snapshot, ImportError> {
    let name = &numbered.name;
    if let Some(compression) = numbered.compression() {
        return Err(Fault::Compressed(compression).of(name));
    }
    let mut input = Input::new(open(files, name)?);
    Snapshot::read(&mut input).map_err(|fault| fault.at(name, input.offset()))
}

/// A snapshot on its way to be the tree after the last change.
struct Replay {
    replica: Replica,
    /// The change that the snapshot is of; later ones may be in it too.
    from: i64,
    /// The last change that it may hold a part of.
    until: i64,
    last: i64,
    /// Whether digests can be compared at all, and the snapshot's own.
    has_digest: bool,
    digest: Option<(i64, TreeDigest)>,
    report: Report,
}

impl Replay {
    fn new(numbered: &Numbered, snapshot: Snapshot) -> Self {
        let Snapshot { replica, digest, until, has_digest } = snapshot;
        let report = Report { snapshot: numbered.name.clone(), ..Report::default() };
        let from = numbered.zxid;
        Self { replica, from, until, last: from, has_digest, digest, report }
    }

    fn run(mut self, files: &dyn Files, listing: &Listing) -> Result<Import, ImportError> {
        for Numbered { name, .. } in listing.logs_after(self.from) {
            let mut log = Log::open(open(files, name)?).map_err(|fault| fault.at(name, 0))?;
            while let Some(payload) = log.entry().map_err(|fault| fault.at(name, log.start()))? {
                self.entry(&payload).map_err(|fault| fault.at(name, log.start()))?;
            }
            self.report.logs.push(name.clone());
            if log.end() == Some(End::Torn) {
                self.report.torn.push(Torn { file: name.clone(), offset: log.start() });
            }
        }
        if let Some((_, digest)) = self.digest.filter(|(zxid, _)| *zxid == self.last) {
            self.compare(digest);
        }
        let Self { replica, last, until, report, .. } = self;
        if last < until {
            let fault = Fault::Uncovered { last: Zxid(last), until: Zxid(until) };
            return Err(fault.of(&report.snapshot));
        }
        let finished = replica.finish(last).map_err(|fault| fault.of(&report.snapshot))?;
        let session = |(id, timeout_ms): (&i64, &i32)| ImportedSession {
            id: SessionId(*id),
            timeout: Duration::from_millis(u64::try_from(*timeout_ms).unwrap_or(0)),
            password: password(SessionId(*id)),
        };
        let sessions = finished.sessions.iter().map(session).collect();
        Ok(Import { tree: finished.tree, sessions, report: Report { dropped: finished.dropped, ..report } })
    }

    fn entry(&mut self, payload: &[u8]) -> Result<(), Fault> {
        let Entry { header, transaction, digest } = Entry::read(payload)?;
        if header.zxid <= self.from && self.last == self.from {
            return Ok(());
        }
        if !follows(self.last, header.zxid) {
            return Err(Fault::Gap { last: Zxid(self.last), found: Zxid(header.zxid) });
        }
        self.replica.apply(header, transaction);
        self.last = header.zxid;
        self.report.transactions += 1;
        // A snapshot may have a part of one change more than it knows of: one that was being made when its last node was written
        // (seen on 3.8.0).
        if let Some(digest) = digest.filter(|_| self.has_digest && self.last > self.until) {
            self.compare(digest);
        }
        Ok(())
    }

    /// Compares what the tree comes to with what is noted of it (`DataTree.compareDigest`).
    fn compare(&mut self, digest: TreeDigest) {
        const VERSION: i32 = 2;
        if digest.version != VERSION {
            return;
        }
        let digests = &mut self.report.digests;
        digests.compared += 1;
        if digest.value != self.replica.digest() {
            digests.differs.get_or_insert(Zxid(self.last));
        }
    }
}

/// A server numbers its changes without a gap. The leader of a new epoch begins with 1, and what the last one has done is in the
/// logs of those who took part in it, so that no more can be said there.
fn follows(last: i64, next: i64) -> bool {
    const FIRST: u32 = 1;
    next == last.wrapping_add(1) || next >> 32 > last >> 32 && next as u32 == FIRST
}
