//! How the server is, for those who ask.

use std::sync::{Arc, Mutex, PoisonError};

use herdless_server::{Server, StoreError};

#[derive(Default)]
pub(super) struct Service(Mutex<Phase>);

#[derive(Default)]
enum Phase {
    #[default]
    Starting,
    Serving(Arc<Server>),
    Ending,
}

impl Service {
    pub(super) fn serves(&self, server: Arc<Server>) {
        self.change(Phase::Serving(server));
    }

    /// Whether clients can read and write; and in words.
    pub(super) fn health(&self) -> (bool, String) {
        self.with(|phase| match phase {
            Phase::Starting => (false, "starting".into()),
            Phase::Serving(server) if server.is_read_only() => (false, "read-only: the disk is full".into()),
            Phase::Serving(_) => (true, "serving".into()),
            Phase::Ending => (false, "ending".into()),
        })
    }

    /// Brings the figures up to date.
    pub(super) fn look(&self) {
        self.with(|phase| {
            if let Phase::Serving(server) = phase {
                server.look();
            }
        });
    }

    /// Ends the server in order, which nobody else may have any more. An error says why not all of it is on disk.
    pub(super) async fn end(&self) -> Result<(), Arc<StoreError>> {
        let Phase::Serving(server) = self.change(Phase::Ending) else {
            return Ok(());
        };
        let server = Arc::into_inner(server).expect("nobody else has it");
        server.shutdown().await.map_or(Ok(()), Err)
    }

    fn change(&self, next: Phase) -> Phase {
        self.with(|phase| std::mem::replace(phase, next))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Phase) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_well_while_it_serves() {
        let service = Service::default();
        assert_eq!(service.health(), (false, "starting".into()));
        service.serves(Arc::new(Server::bind("127.0.0.1:0").await.unwrap()));
        assert_eq!(service.health(), (true, "serving".into()));
        let (ended, health) = tokio::join!(biased; service.end(), async { service.health() });
        assert_eq!(health, (false, "ending".into()));
        ended.unwrap();
    }
}
