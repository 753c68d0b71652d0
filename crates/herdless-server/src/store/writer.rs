//! The thread that writes.

use std::sync::Arc;
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use herdless_core::Mutex;
use tokio::sync::oneshot;

use super::{Batch, Database, Durability, Store, StoreError, now, open_existing};
use crate::state::{Shared, Work};

/// The storage thread, which ends when this is dropped: once all is on disk.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    thread: Thread,
    ended: oneshot::Receiver<()>,
}

/// How often a server whose disk is full looks whether there is room.
const LOOK_FOR_ROOM: Duration = Duration::from_secs(1);

/// Starts the thread. `shared` has the tree of this store.
pub(crate) fn start(store: Store, shared: Arc<Shared>) -> Result<Writer, StoreError> {
    let (writing, database) = (shared.clone(), store.database.shared());
    let (end, ended) = oneshot::channel();
    let work = move || {
        run(store, &writing);
        // Dropped where that panics, which says the same.
        let _ = end.send(());
    };
    let thread = thread::Builder::new().name("herdless-store".into()).spawn(work);
    let thread = thread.map_err(StoreError::Io)?.thread().clone();
    shared.state.with(|state| state.set_writer(thread.clone(), database));
    // It may have looked before it was known whom to wake.
    thread.unpark();
    Ok(Writer { shared, thread, ended })
}

impl Writer {
    /// Waits until all is on disk and the store is closed.
    pub(crate) async fn finish(mut self) {
        self.stop();
        // An error says that it is over too.
        let _ = (&mut self.ended).await;
    }

    fn stop(&self) {
        self.shared.state.with(|state| state.stop_writing());
        self.thread.unpark();
    }
}

impl Drop for Writer {
    /// Whoever drops it may be a runtime, which a disk that hangs must not hold up: the thread ends by itself.
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(mut store: Store, shared: &Shared) {
    /// Tells the failure also where the database panics.
    struct Report<'a>(&'a Shared, Option<StoreError>);
    impl Drop for Report<'_> {
        fn drop(&mut self) {
            let panicked = thread::panicking().then(|| StoreError::Damaged("writing it failed".into()));
            if let Some(error) = self.1.take().or(panicked) {
                tracing::error!(%error, "the store has failed: the server ends");
                self.0.fail(error);
            }
        }
    }
    let mut report = Report(shared, None);
    match store.serve(shared) {
        Ok(End::InOrder) => report.1 = store.database.close().err(),
        Ok(End::Full) => store.database.leave(),
        Err(error) => {
            report.1 = Some(error);
            // Before anybody is waited for: it is what ends a backup.
            drop(report);
            store.database.leave();
        }
    }
}

/// How the thread ends without an error: all that was acknowledged is on disk.
enum End {
    InOrder,
    /// There is no room, by which the database has failed: it can only be left as it is.
    Full,
}

impl Store {
    fn serve(&mut self, shared: &Shared) -> Result<End, StoreError> {
        let mut last = None;
        loop {
            if let (Durability::Relaxed { every }, Some(last)) = (self.durability, last) {
                // Half of it, so that there is as much time again to write before anybody has to wait.
                pause(last, every / 2, shared);
            }
            match shared.state.with(|state| state.take_batch(now())) {
                Work::Nothing => thread::park(),
                Work::Stop => break,
                Work::Batch(batch) => {
                    let began = now();
                    last = Some(began);
                    match self.database.commit(&batch) {
                        Ok(()) => {
                            shared.meter.committed(batch.nodes.len() + batch.sessions.len(), began.elapsed());
                            shared.published(batch.zxid);
                        }
                        Err(error) if error.is_full() => {
                            if !self.wait_for_room(batch, &error, shared)? {
                                return Ok(End::Full);
                            }
                        }
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.database.set_state(self.database.state().zxid, false)?;
        Ok(End::InOrder)
    }

    /// The disk is full. A durable server goes back to what is on it, by which it is as if it had been started anew: nobody has
    /// seen anything else, and all connections are closed, so that no watch is left which the changes had taken. A relaxed one
    /// has told of its changes, and keeps them until there is room. Changes are refused meanwhile. Whether there is room: else the
    /// server has ended before, and nothing is to be written any more, also where changes wait that nobody was told of.
    fn wait_for_room(&mut self, batch: Batch, error: &StoreError, shared: &Shared) -> Result<bool, StoreError> {
        tracing::error!(%error, "changes are refused until there is room");
        let is_durable = self.durability == Durability::Durable;
        let mut pending = Some(batch).filter(|_| !is_durable);
        shared.disk_is_full(is_durable);
        let mut is_shown = !is_durable;
        loop {
            match self.try_again(&mut pending, &mut is_shown, shared) {
                Ok(()) => break,
                Err(error) if error.is_full() => {}
                Err(error) => return Err(error),
            }
            let since = now();
            while since.elapsed() < LOOK_FOR_ROOM {
                if shared.state.with(|state| state.is_stopping()) {
                    return pending
                        .map_or(Ok(false), |_| Err(StoreError::Full(std::io::ErrorKind::StorageFull.into())));
                }
                thread::park_timeout(LOOK_FOR_ROOM);
            }
        }
        tracing::info!("there is room again: changes are accepted");
        shared.disk_has_room(self.database.state().zxid);
        Ok(true)
    }

    fn try_again(
        &mut self,
        pending: &mut Option<Batch>,
        is_shown: &mut bool,
        shared: &Shared,
    ) -> Result<(), StoreError> {
        // After an error the database takes nothing more until it is opened anew.
        if *is_shown {
            // Not read: a second tree would be there with each look.
            self.database = Database::open_unread(self.disk.clone())?;
            shared.state.with(|state| state.set_database(self.database.shared()));
        } else {
            let (database, mut loaded) = open_existing(self.disk.clone())?;
            self.database = database;
            loaded.tree.keep_journal(false);
            shared.install(loaded, self.database.shared());
            *is_shown = true;
        }
        self.database.make_room()?;
        match pending.take() {
            Some(batch) => self.database.commit(&batch).inspect_err(|_| *pending = Some(batch)),
            None => Ok(()),
        }
    }
}

/// Waits until this long after `since`, or until the server ends.
fn pause(since: Instant, time: Duration, shared: &Shared) {
    while let Some(left) = time.checked_sub(since.elapsed()).filter(|left| !left.is_zero()) {
        if shared.state.with(|state| state.is_stopping()) {
            break;
        }
        thread::park_timeout(left);
    }
}
