//! Where a server runs: on the caller's runtime, or on a thread and a runtime of its own.

use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

/// What a server is found by that runs.
#[derive(Debug)]
pub(crate) struct Serving {
    /// Closed when it is over.
    over: oneshot::Receiver<()>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Serving {
    /// Runs on the caller's runtime.
    pub(crate) fn spawn(serve: impl Future<Output = ()> + Send + 'static) -> Self {
        let (running, over) = oneshot::channel();
        tokio::spawn(async move {
            serve.await;
            drop::<oneshot::Sender<()>>(running);
        });
        Self { over, thread: None }
    }

    /// Runs `begin` on a thread and a runtime of its own, and what it has begun until that is over. Blocks until `begin` has said
    /// how it went.
    pub(crate) fn on_thread<T, F>(begin: F) -> io::Result<(T, Self)>
    where
        T: Send + 'static,
        F: AsyncFnOnce() -> (T, Option<Self>) + Send + 'static,
    {
        let (running, over) = oneshot::channel::<()>();
        let (tell, begun) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
        let run = move || {
            runtime.block_on(async move {
                let (how, serving) = begin().await;
                // Whoever asked waits for it.
                let _ = tell.send(how);
                if let Some(serving) = serving {
                    serving.ended().await;
                }
            });
            drop(runtime);
            drop(running);
        };
        let thread = thread::Builder::new().name("herdless-server".into()).spawn(run)?;
        let how = begun.recv().map_err(|_| io::Error::other("the thread of the server has panicked"))?;
        Ok((how, Self { over, thread: Some(thread) }))
    }

    /// Waits until it is over.
    pub(crate) async fn ended(self) {
        // Nothing is ever sent: an error says that it is over, also where the runtime took it down.
        let _ = self.over.await;
    }

    /// The same, and blocks.
    ///
    /// # Panics
    ///
    /// In asynchronous code, where it runs on the caller's runtime: that might wait for itself.
    pub(crate) fn wait(self) {
        match self.thread {
            // A panic was told of by the thread.
            Some(thread) => drop(thread.join()),
            None => drop(self.over.blocking_recv()),
        }
    }
}
