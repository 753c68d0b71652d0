//! The client's handle.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use herdless_core::{
    Chroot, Client, Error, Lease, Mutex, OneShot, Outcome, Request, Response, Session, SessionCell, SessionId,
    SessionState, StdMutex,
};
use herdless_proto::client::{Counters, Machine, SaslError, SessionCredentials, StreamId};
use rand::seq::SliceRandom;

use crate::protection::Protection;
use crate::room::{Ready, Room};
use crate::watch_slot::WatchSlot;
use crate::{Address, AddressError, ConnectError, Host};

pub(crate) type Slot = Arc<OneShot<Outcome>>;
pub(crate) type WatchCell = Arc<WatchSlot>;

/// A client of a ZooKeeper ensemble over TCP. Cheap to clone: clones share the session.
///
/// The session is closed, and its ephemeral nodes deleted at once, by [`ClientExt::close`](herdless_core::ClientExt)
/// or when the last clone is dropped, guards included.
#[derive(Clone)]
pub struct TokioClient {
    client: Chroot<Handle>,
    protection: Protection,
}

impl TokioClient {
    pub(crate) fn new(client: Chroot<Handle>, protection: Protection) -> Self {
        Self { client, protection }
    }

    /// What the client has sent and received so far.
    pub fn counters(&self) -> Counters {
        self.shared().state.with(|state| state.machine.counters())
    }

    /// What another client needs to go on with this session, also in another process, if it has not ended by then: see
    /// [`Connector::resume`](crate::Connector::resume). Two clients must not use one session at the same time: the server
    /// hangs up on one for the other, in turns.
    ///
    /// `None` while there is no session, or one that nobody could go on with: one that is being closed, and one that a
    /// [read-only](SessionState::ReadOnly) server has opened.
    pub fn credentials(&self) -> Option<SessionCredentials> {
        self.shared().state.with(|state| state.machine.credentials())
    }

    /// Ends this client and all its clones **without closing the session**: its ephemeral nodes live on, until the session
    /// is taken over by a client with these credentials ([`Connector::resume`](crate::Connector::resume)), or has expired.
    /// `None` where there was no session to leave, as for [`credentials`](Self::credentials); the client has ended too.
    ///
    /// For this process the session is over before the call returns: its state is [`Lost`](SessionState::Lost), guards are
    /// no longer valid, and dropping one releases nothing. What was sent and not yet answered ends as
    /// [`ConnectionLost`](Error::ConnectionLost), everything else as [`Closed`](Error::Closed). That goes for clean-up as
    /// well, so wait for releases before, if their nodes are not to stay.
    ///
    /// ```no_run
    /// # async fn example(client: herdless_tokio::TokioClient) -> Result<(), Box<dyn std::error::Error>> {
    /// use herdless_tokio::{Connector, SessionCredentials};
    ///
    /// if let Some(credentials) = client.detach() {
    ///     std::fs::write("/run/orders/session", credentials.encode().expose())?;
    /// }
    /// // In the process that comes next:
    /// let credentials = SessionCredentials::decode(&std::fs::read("/run/orders/session")?)?;
    /// let client = Connector::new("zk1,zk2,zk3")?.resume(credentials).connect().await?;
    /// # Ok(()) }
    /// ```
    pub fn detach(self) -> Option<SessionCredentials> {
        self.shared().detach()
    }

    /// Waits until there is room for one more request
    /// ([`Connector::max_in_flight`](crate::Connector::max_in_flight)): what is submitted right after it, with no `.await`
    /// in between, is accepted.
    ///
    /// That is no reservation: another task may take the room first, on another thread or in the same poll, and the
    /// request is then refused as `Overloaded`, with nothing sent. So it belongs into a loop, or in front of a single
    /// producer. Those who wait are woken in the order in which they came, one for each room that there is.
    ///
    /// # Cancel safety
    ///
    /// The future may be dropped at any time; who waits behind it moves up.
    ///
    /// # Errors
    ///
    /// What a request would be told: `Closed`, `Refused` with `AuthFailed`.
    ///
    /// # Examples
    ///
    /// ```no_run
    /// # use herdless_core::{ClientExt, CreateMode, Error, NodePath};
    /// # async fn example(client: &herdless_tokio::TokioClient, paths: &[NodePath]) -> Result<(), Error> {
    /// let mut calls = Vec::new();
    /// for path in paths {
    ///     client.ready().await?;
    ///     calls.push(client.create(path, "", CreateMode::Persistent));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn ready(&self) -> impl Future<Output = Result<(), Error>> + Send + 'static + use<> {
        Ready::new(self.shared().clone())
    }

    /// Gives the client another list of servers, in a connect string. Its chroot, if it has one, is the client's.
    ///
    /// The client stays at its server where that is still one of them, unless it is of the surplus that servers added to
    /// the list are to take over. That is thrown by the rule of ZooKeeper's client (`StaticHostProvider.updateServerList`,
    /// ZOOKEEPER-1355): all clients that are told the same list spread evenly over it, and no more move than must. Who
    /// moves keeps the session; it reconnects as after a lost connection, so its requests in flight end as
    /// `ConnectionLost`. Servers are told apart by scheme, name and port as they are written.
    ///
    /// # Errors
    ///
    /// A string that is none, or one with another chroot; `NoTls` and `SaslWithoutTls` as for
    /// [`Connector::connect`](crate::Connector::connect). Nothing changes then.
    pub fn update_hosts(&self, connect: &str) -> Result<(), ConnectError> {
        let address: Address = connect.parse()?;
        if !address.chroot.is_root() && address.chroot != *self.client.root() {
            return Err(AddressError::OtherChroot(address.chroot).into());
        }
        self.protection.check(&address.hosts)?;
        let mut hosts = address.hosts;
        hosts.shuffle(&mut rand::rng());
        let driver = self.shared().state.with(|state| {
            state.hosts = Some(hosts);
            state.driver.take()
        });
        driver.into_iter().for_each(Waker::wake);
        Ok(())
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.client.inner().0.shared
    }
}

impl Client for TokioClient {
    fn submit(&self, request: Request) -> Response {
        self.client.submit(request)
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

impl fmt::Debug for TokioClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokioClient").field("chroot", self.client.root()).finish_non_exhaustive()
    }
}

/// The client without its chroot. The last one closes the session.
#[derive(Clone, Debug)]
pub(crate) struct Handle(Arc<Closing>);

#[derive(Debug)]
struct Closing {
    shared: Arc<Shared>,
}

impl Handle {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(Arc::new(Closing { shared }))
    }
}

impl Client for Handle {
    fn submit(&self, request: Request) -> Response {
        self.0.shared.submit(request)
    }

    fn session(&self) -> Session {
        self.0.shared.session.with(|session| session.handle.clone())
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        drop(self.shared.submit(Request::CloseSession));
    }
}

/// What handles and driver share.
pub(crate) struct Shared {
    pub(crate) state: StdMutex<State>,
    session: StdMutex<Current>,
    first_session: OneShot<Result<(), NoSession>>,
    last_error: StdMutex<Arc<str>>,
    /// Drawn once per client, for its attempts' numbers.
    client: u64,
    attempts: Arc<AtomicU64>,
}

/// Why there will be no session.
pub(crate) enum NoSession {
    /// The client could not prove who it is.
    Unproven(SaslError),
    /// The client was ended.
    Ended(Error),
}

pub(crate) struct State {
    pub(crate) machine: Machine<Slot, WatchCell>,
    /// The driver's, while it sleeps.
    pub(crate) driver: Option<Waker>,
    pub(crate) room: Room,
    /// Those that are to take the place of the driver's.
    pub(crate) hosts: Option<Vec<Host>>,
}

struct Current {
    cell: Arc<SessionCell>,
    lease: Arc<LeaseClock>,
    handle: Session,
    /// Whether the client has ended: a session that comes after this one is over as well.
    is_last: bool,
}

impl Shared {
    pub(crate) fn new(machine: Machine<Slot, WatchCell>) -> Self {
        let (client, attempts) = (rand::random(), Arc::default());
        let none = Current::new(SessionId(0), Duration::ZERO, client, &attempts);
        drop(none.cell.set(SessionState::Lost));
        Self {
            state: StdMutex::new(State { machine, driver: None, room: Room::default(), hosts: None }),
            session: StdMutex::new(none),
            first_session: OneShot::new(),
            last_error: StdMutex::new("no answer".into()),
            client,
            attempts,
        }
    }

    fn submit(&self, request: Request) -> Response {
        if request == Request::CloseSession {
            // Before it is sent: the server gives away what the session holds as soon as it reads this, and no guard may
            // be valid then.
            self.end_sessions();
        }
        let slot = Slot::default();
        let now = now();
        let (submitted, driver) = self.state.with(|state| {
            let submitted = state.machine.submit(now, request, slot.clone());
            // Only the first request of a batch finds a waker here: one wake-up and one write for all of them.
            (submitted, state.driver.take())
        });
        driver.into_iter().for_each(Waker::wake);
        match submitted {
            Ok(()) => Response::pending(slot),
            Err((_, error)) => Response::ready(Err(error)),
        }
    }

    /// Ends the client and leaves its session alone.
    pub(crate) fn detach(&self) -> Option<SessionCredentials> {
        // Before anybody else can have the session: no guard may be valid then.
        self.end_sessions();
        let (credentials, driver) = self.state.with(|state| {
            let credentials = state.machine.credentials();
            state.machine.abort();
            (credentials, state.driver.take())
        });
        driver.into_iter().for_each(Waker::wake);
        credentials
    }

    /// The reader of a stream has gone.
    pub(crate) fn unwatch(&self, stream: StreamId) {
        let now = now();
        let driver = self.state.with(|state| {
            state.machine.unwatch(now, stream);
            state.driver.take()
        });
        driver.into_iter().for_each(Waker::wake);
    }

    /// Who waited for a watch has gone. The driver is woken only when enough have.
    pub(crate) fn watch_dropped(&self) {
        let driver = self.state.with(|state| state.machine.watch_dropped().then(|| state.driver.take()).flatten());
        driver.into_iter().for_each(Waker::wake);
    }

    /// Waits for the first session, or for the news that there will be none.
    pub(crate) async fn first_session(&self) -> Result<(), NoSession> {
        std::future::poll_fn(|cx| self.first_session.poll_take(cx)).await
    }

    /// There will be no further session.
    pub(crate) fn ended(&self, cause: NoSession) {
        self.first_session.put(Err(cause)).run();
    }

    pub(crate) fn last_error(&self) -> Arc<str> {
        self.last_error.with(|last| last.clone())
    }

    pub(crate) fn failed(&self, error: &dyn fmt::Display) {
        let text = error.to_string().into();
        self.last_error.with(|last| *last = text);
    }

    /// A new session took the place of the last. Nobody sees it without its lease, in which it would not be valid.
    pub(crate) fn opened(&self, id: SessionId, timeout: Duration, state: SessionState, lease: Option<Instant>) {
        let mut current = Current::new(id, timeout, self.client, &self.attempts);
        lease.into_iter().for_each(|lease| current.lease.renew(lease));
        let old = self.session.with(|session| {
            current.is_last = session.is_last;
            let state = if session.is_last { SessionState::Lost } else { state };
            drop(current.cell.set(state)); // nobody waits for it yet
            std::mem::replace(session, current)
        });
        drop(old);
        self.first_session.put(Ok(())).run();
    }

    /// The session goes on with this timeout.
    pub(crate) fn resumed(&self, timeout: Duration, state: SessionState, lease: Option<Instant>) {
        self.session.with(|session| session.cell.set_timeout(timeout));
        lease.into_iter().for_each(|lease| self.renew_lease(lease));
        self.set(state);
    }

    /// For this process the session is over, and the one that the driver may just have heard of as well.
    fn end_sessions(&self) {
        self.session.with(|session| session.is_last = true);
        self.set(SessionState::Lost);
    }

    pub(crate) fn set(&self, state: SessionState) {
        let cell = self.session.with(|session| session.cell.clone());
        cell.set(state).into_iter().for_each(Waker::wake);
    }

    pub(crate) fn renew_lease(&self, until: Instant) {
        self.session.with(|session| session.lease.renew(until));
    }
}

impl Current {
    fn new(id: SessionId, timeout: Duration, client: u64, attempts: &Arc<AtomicU64>) -> Self {
        let lease = Arc::new(LeaseClock { base: now(), until_ns: AtomicU64::new(0) });
        let cell = Arc::new(SessionCell::new(id, timeout, client, attempts.clone(), lease.clone()));
        Self { handle: Session::new(cell.clone()), cell, lease, is_last: false }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The clock of the transport: the one place where it is read.
#[expect(clippy::disallowed_methods, reason = "the transport is where time comes from")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Until when the server must keep a session, readable without a lock and without the driver having run.
#[derive(Debug)]
struct LeaseClock {
    base: Instant,
    until_ns: AtomicU64,
}

impl LeaseClock {
    fn renew(&self, until: Instant) {
        let nanos = until.saturating_duration_since(self.base).as_nanos();
        self.until_ns.store(u64::try_from(nanos).unwrap_or(u64::MAX), Ordering::Release);
    }
}

impl Lease for LeaseClock {
    fn is_live(&self) -> bool {
        let until = Duration::from_nanos(self.until_ns.load(Ordering::Acquire));
        now().saturating_duration_since(self.base) < until
    }
}
