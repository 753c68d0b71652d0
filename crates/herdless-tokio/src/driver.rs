//! The task that moves bytes between the machine and the socket.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use herdless_core::{Answer, Error, Mutex, Notice, NoticeQueue, SessionState, Watch, WatchStream};
use herdless_proto::client::{Event, Machine, StreamId};
use tokio::io::ReadBuf;
use tokio::time::Sleep;

use crate::client::{NoSession, Shared, Slot, WatchCell, now};
use crate::{Dial, Host, Stream, probe};

/// One future per client: it ends when the client is closed.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    dial: Arc<dyn Dial>,
    hosts: Vec<Host>,
    connect_timeout: Duration,
    link: Link,
    probing: Option<Probing>,
    events: VecDeque<Event<Slot, WatchCell>>,
    streams: BTreeMap<StreamId, Arc<NoticeQueue>>,
    reading: BytesMut,
    writing: BytesMut,
    /// Whether the stream may hold back something that it was given.
    unflushed: bool,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer stands for anything: one that has run out stays ready, and would keep the driver awake.
    is_armed: bool,
    is_closed: bool,
}

/// A question to this host, and its answer.
struct Probing {
    host: usize,
    answer: Pin<Box<dyn Future<Output = bool> + Send>>,
}

type Dialing = Pin<Box<dyn Future<Output = io::Result<Box<dyn Stream>>> + Send>>;

enum Link {
    Down,
    Dialing(Dialing),
    Up(Box<dyn Stream>),
}

/// How much is read at once, in bytes.
const READ_CHUNK: usize = 64 * 1024;

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, dial: Arc<dyn Dial>, hosts: Vec<Host>, connect_timeout: Duration) -> Self {
        Self {
            shared,
            dial,
            hosts,
            connect_timeout,
            link: Link::Down,
            probing: None,
            events: VecDeque::new(),
            streams: BTreeMap::new(),
            reading: BytesMut::new(),
            writing: BytesMut::new(),
            unflushed: false,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            is_armed: false,
            is_closed: false,
        }
    }

    /// The machine names hosts by their place in the list. So the list changes only here, between two steps, when what the
    /// machine has said about the old one has been understood.
    fn update_hosts(&mut self) {
        self.shared.state.with(|state| {
            if let Some(new) = state.hosts.take() {
                let kept: Vec<_> = new.iter().map(|host| self.hosts.iter().position(|old| old == host)).collect();
                state.machine.update_hosts(now(), &kept, rand::random());
                self.hosts = new;
            }
        });
    }

    /// Lets the machine do something, then takes what it wants done: events, bytes, a deadline. What is known is told
    /// with no lock held.
    fn step(&mut self, cx: &Context<'_>, f: impl FnOnce(&mut Machine<Slot, WatchCell>, Instant, &mut BytesMut)) {
        let now = now();
        let (deadline, lease, with_room) = self.shared.state.with(|state| {
            f(&mut state.machine, now, &mut self.reading);
            if state.machine.is_sweep_due() {
                state.machine.sweep_watches(now, |watch| !watch.is_abandoned());
            }
            state.machine.swap_events(&mut self.events);
            if self.writing.is_empty() && !state.machine.may_wait() {
                std::mem::swap(&mut self.writing, state.machine.transmit());
            }
            if !state.driver.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.driver = Some(cx.waker().clone());
            }
            (state.machine.poll_timeout(), state.machine.lease(), state.next_with_room())
        });
        with_room.into_iter().for_each(Waker::wake);
        while let Some(event) = self.events.pop_front() {
            self.tell(event, lease);
        }
        if let Some(lease) = lease {
            self.shared.renew_lease(lease);
        }
        self.arm(deadline);
    }

    /// A deadline that moves away, as it does with every request, leaves the timer alone: it fires early, finds nothing
    /// due, and is set again. So a busy connection sets it a few times a second and not with every request.
    fn arm(&mut self, deadline: Option<Instant>) {
        self.is_armed = deadline.is_some();
        let Some(deadline) = deadline.map(tokio::time::Instant::from_std) else {
            return;
        };
        if self.timer.is_elapsed() || deadline < self.timer.deadline() {
            self.timer.as_mut().reset(deadline);
        }
    }

    fn tell(&mut self, event: Event<Slot, WatchCell>, lease: Option<Instant>) {
        match event {
            Event::Reply { token, outcome, watch, stream } => {
                let answer = outcome.map(|reply| Answer {
                    reply,
                    watch: watch.map(|cell| Watch::new(cell.belongs_to(&self.shared))),
                    stream: stream.map(|id| Box::new(self.open_stream(id))),
                });
                token.put(answer).run();
            }
            // An outcome that nobody waits for goes to the undo, which does better with the one that is still to come.
            Event::Overdue { token } if token.is_abandoned() => {}
            Event::Overdue { token } => token.put(Err(Error::TIMED_OUT)).run(),
            Event::Noticed { streams, notice } => self.notice(&streams, &notice),
            Event::Fired { watches, outcome } => {
                for watch in watches {
                    watch.put(outcome.clone()).run();
                }
            }
            Event::Dial { host, pause } => self.start_dial(host, pause),
            Event::Probe { host, pause } => self.start_probe(host, pause),
            Event::Opened { id, timeout, is_read_only } => {
                tracing::debug!(session = %id, ?timeout, is_read_only, "session opened");
                self.shared.opened(id, timeout, connected(is_read_only), lease);
            }
            Event::Resumed { timeout, is_read_only } => {
                tracing::debug!(?timeout, is_read_only, "session resumed");
                self.shared.resumed(timeout, connected(is_read_only), lease);
            }
            Event::Suspended => {
                tracing::info!("connection lost");
                self.shared.set(SessionState::Suspended);
            }
            Event::Lost => {
                tracing::info!("session lost");
                self.shared.set(SessionState::Lost);
            }
            Event::Closed { cause } => {
                self.is_closed = true;
                let failure = self.shared.state.with(|state| state.machine.sasl_failure());
                self.shared.ended(match failure {
                    Some(failure) => {
                        tracing::warn!(%failure, "not authenticated");
                        NoSession::Unproven(failure)
                    }
                    None => NoSession::Ended(cause),
                });
            }
        }
    }

    fn open_stream(&mut self, id: StreamId) -> WatchStream {
        let (queue, shared) = (Arc::<NoticeQueue>::default(), self.shared.clone());
        self.streams.insert(id, queue.clone());
        WatchStream::new(queue, move || shared.unwatch(id))
    }

    fn notice(&mut self, streams: &[StreamId], notice: &Result<Notice, Error>) {
        for id in streams {
            let queue = match notice {
                Ok(_) => self.streams.get(id).cloned(),
                Err(_) => self.streams.remove(id),
            };
            queue.and_then(|queue| queue.put(notice.clone())).into_iter().for_each(Waker::wake);
        }
    }

    fn start_dial(&mut self, host: usize, pause: RangeInclusive<Duration>) {
        self.reading.clear();
        self.writing.clear();
        self.unflushed = false;
        self.probing = None;
        // What nobody waits for is not re-armed.
        self.shared.state.with(|state| state.machine.sweep_watches(now(), |watch| !watch.is_abandoned()));
        let (dial, host, limit) = (self.dial.clone(), self.hosts[host].clone(), self.connect_timeout);
        let pause = rand::random_range(pause);
        self.link = Link::Dialing(Box::pin(async move {
            tokio::time::sleep(pause).await;
            tracing::debug!(%host, ?pause, "dialling");
            match tokio::time::timeout(limit, dial.dial(&host)).await {
                Ok(stream) => stream,
                Err(late) => Err(io::Error::new(io::ErrorKind::TimedOut, late)),
            }
        }));
    }

    fn start_probe(&mut self, host: usize, pause: Duration) {
        let (dial, name, limit) = (self.dial.clone(), self.hosts[host].clone(), self.connect_timeout);
        let pause = rand::random_range(Duration::ZERO..=pause);
        let answer = Box::pin(async move {
            tokio::time::sleep(pause).await;
            let asking = probe::is_read_write(&*dial, &name);
            let answer = tokio::time::timeout(limit, asking).await;
            tracing::debug!(host = %name, ?answer, "asked whether it is read-write");
            matches!(answer, Ok(Ok(true)))
        });
        self.probing = Some(Probing { host, answer });
    }

    /// Passes the answer to a question on, if it is there.
    fn poll_probe(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Probing { host, answer }) = &mut self.probing else {
            return false;
        };
        let Poll::Ready(is_read_write) = answer.as_mut().poll(cx) else {
            return false;
        };
        let host = *host;
        self.probing = None;
        self.step(cx, |machine, now, _| machine.probed(now, host, is_read_write));
        true
    }

    fn disconnected(&mut self, cx: &Context<'_>, cause: &dyn std::fmt::Display) {
        tracing::debug!(%cause, "no connection");
        self.shared.failed(cause);
        self.link = Link::Down;
        self.step(cx, |machine, now, _| machine.disconnected(now));
    }

    /// Does what can be done at once; whether anything was.
    fn advance(&mut self, cx: &mut Context<'_>) -> bool {
        match &mut self.link {
            Link::Down => false,
            Link::Dialing(dialing) => match dialing.as_mut().poll(cx) {
                Poll::Pending => false,
                Poll::Ready(Ok(stream)) => {
                    self.link = Link::Up(stream);
                    self.step(cx, |machine, now, _| machine.connected(now));
                    true
                }
                Poll::Ready(Err(error)) => {
                    self.disconnected(cx, &error);
                    true
                }
            },
            Link::Up(stream) => {
                let wrote = match write(cx, stream, &mut self.writing, &mut self.unflushed) {
                    Ok(wrote) => wrote,
                    Err(error) => {
                        // A peer that hangs up may have said why, in an alert of TLS.
                        let said = match read(cx, stream, &mut self.reading) {
                            Poll::Ready(Err(said)) => said,
                            _ => error,
                        };
                        self.disconnected(cx, &said);
                        return true;
                    }
                };
                match read(cx, stream, &mut self.reading) {
                    Poll::Pending => wrote,
                    Poll::Ready(Ok(0)) => {
                        self.disconnected(cx, &"closed by the server");
                        true
                    }
                    Poll::Ready(Ok(_)) => {
                        let mut broken = None;
                        self.step(cx, |machine, now, reading| broken = machine.receive(now, reading).err());
                        release(&mut self.reading);
                        if let Some(error) = broken {
                            tracing::warn!(%error, "protocol error");
                            self.disconnected(cx, &error);
                        }
                        true
                    }
                    Poll::Ready(Err(error)) => {
                        self.disconnected(cx, &error);
                        true
                    }
                }
            }
        }
    }
}

/// Reads what has arrived, up to a chunk. The bytes come over the stack: a buffer for the largest read at each of a
/// thousand clients, most of which are idle, would be most of their memory.
fn read(cx: &mut Context<'_>, stream: &mut dyn Stream, bytes: &mut BytesMut) -> Poll<io::Result<usize>> {
    let mut chunk = [const { MaybeUninit::uninit() }; READ_CHUNK];
    let mut chunk = ReadBuf::uninit(&mut chunk);
    Pin::new(stream).poll_read(cx, &mut chunk).map_ok(|()| {
        bytes.extend_from_slice(chunk.filled());
        chunk.filled().len()
    })
}

/// Gives back what a large message has left behind.
fn release(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > READ_CHUNK {
        *buffer = BytesMut::new();
    }
}

/// How a session stands on a new connection.
fn connected(is_read_only: bool) -> SessionState {
    if is_read_only { SessionState::ReadOnly } else { SessionState::Connected }
}

/// Writes as much as the stream takes; whether that was anything. What a stream with a buffer of its own has taken goes on
/// only if it is told to.
fn write(
    cx: &mut Context<'_>,
    stream: &mut dyn Stream,
    bytes: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<bool> {
    let mut wrote = false;
    while !bytes.is_empty() {
        match Pin::new(&mut *stream).poll_write(cx, bytes) {
            Poll::Pending => break,
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(count)) => {
                bytes.advance(count);
                wrote = true;
            }
            Poll::Ready(Err(error)) => return Err(error),
        }
    }
    release(bytes);
    *unflushed |= wrote;
    if *unflushed && let Poll::Ready(flushed) = Pin::new(stream).poll_flush(cx) {
        flushed?;
        *unflushed = false;
    }
    Ok(wrote)
}

impl Future for Driver {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        this.update_hosts();
        this.step(cx, |_, _, _| {});
        loop {
            if this.is_closed {
                return Poll::Ready(());
            }
            // What has arrived is read before a silence is found: both are there when the process was stopped for a while.
            let has_advanced = this.advance(cx) | this.poll_probe(cx);
            let is_due = this.is_armed && this.timer.as_mut().poll(cx).is_ready();
            if is_due {
                this.step(cx, |machine, now, _| machine.handle_timeout(now));
            }
            if !has_advanced && !is_due {
                return Poll::Pending;
            }
            if !this.writing.is_empty() {
                continue;
            }
            // What was submitted meanwhile, by those just woken among others, goes out in the next write.
            this.step(cx, |_, _, _| {});
        }
    }
}

impl Drop for Driver {
    /// The runtime is going down: whoever waits is told.
    fn drop(&mut self) {
        let waiting = self.shared.state.with(|state| {
            state.machine.abort();
            state.machine.swap_events(&mut self.events);
            state.next_with_room()
        });
        waiting.into_iter().for_each(Waker::wake);
        while let Some(event) = self.events.pop_front() {
            if !matches!(event, Event::Dial { .. }) {
                self.tell(event, None);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Wake, Waker};

    use async_trait::async_trait;
    use herdless_core::{ClientExt, NodePath, Reply, Stat};
    use herdless_proto::client::Config;
    use herdless_proto::codec::ConnectResponse;
    use herdless_proto::server::{self, Incoming};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, BufStream};
    use tokio::net::{TcpListener, TcpStream};

    use crate::Connector;

    use super::*;

    /// A server that never answers a dial.
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait]
    impl Dial for Nowhere {
        async fn dial(&self, _: &Host) -> io::Result<Box<dyn Stream>> {
            std::future::pending().await
        }
    }

    /// Streams that keep what they are given until they are told to send it, as those of TLS may.
    #[derive(Debug)]
    struct Buffered;

    #[async_trait]
    impl Dial for Buffered {
        async fn dial(&self, host: &Host) -> io::Result<Box<dyn Stream>> {
            Ok(Box::new(BufStream::new(TcpStream::connect((host.name.as_str(), host.port)).await?)))
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Without a session nothing is due, whatever the timer was last set to: a driver that polls it all the same comes to
    /// rest only where tokio's budget ends, and wakes itself to go on.
    #[tokio::test]
    async fn a_driver_without_a_session_sleeps_while_it_dials() {
        let minute = Duration::from_secs(60);
        let machine = Machine::new(Config {
            hosts: 1,
            session_timeout: minute,
            connect_timeout: minute,
            max_backoff: minute,
            max_in_flight: 1,
            request_timeout: None,
            max_reply: 1,
            read_only: false,
        });
        let hosts = vec![Host { name: "nowhere".into(), port: 1, scheme: None }];
        let mut driver = Driver::new(Arc::new(Shared::new(machine)), Arc::new(Nowhere), hosts, minute);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        for _ in 0..10 {
            assert!(Pin::new(&mut driver).poll(&mut Context::from_waker(&waker)).is_pending());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // The pause before the dial may end with one.
        let wakes = wakes.0.load(Ordering::Relaxed);
        assert!(wakes <= 1, "it woke itself {wakes} times");
    }

    /// The next thing that the client says.
    async fn next(stream: &mut TcpStream, machine: &mut server::Machine, buffer: &mut BytesMut) -> Incoming {
        loop {
            if let Some(incoming) = machine.poll(buffer, 1).unwrap() {
                return incoming;
            }
            assert!(stream.read_buf(buffer).await.unwrap() > 0, "the client closed the connection");
        }
    }

    #[tokio::test]
    async fn a_stream_with_a_buffer_is_told_to_send_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = Connector::new(&listener.local_addr().unwrap().to_string()).unwrap();
        let connecting = tokio::spawn(connector.dial(Buffered).connect());
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut server, mut buffer) = (server::Machine::new(), BytesMut::new());
        let hello = tokio::time::timeout(Duration::from_secs(60), next(&mut stream, &mut server, &mut buffer)).await;
        assert!(matches!(hello, Ok(Incoming::Connect(_))));
        connecting.abort();
    }

    /// A process that was stopped for longer than it takes to call a connection silent finds the answer and the deadline
    /// at the same time.
    #[tokio::test]
    async fn an_answer_that_has_arrived_is_not_lost_to_a_deadline() {
        let timeout = Duration::from_millis(400);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connector = Connector::new(&listener.local_addr().unwrap().to_string()).unwrap();
        let connecting = tokio::spawn(connector.session_timeout(timeout).connect());
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut server, mut buffer) = (server::Machine::new(), BytesMut::new());
        let hello = next(&mut stream, &mut server, &mut buffer).await;
        assert!(matches!(hello, Incoming::Connect(_)));
        server.accept(&ConnectResponse { timeout_ms: 400, session_id: 7, password: [7; 16], read_only: None });
        stream.write_all_buf(server.transmit()).await.unwrap();
        let client = connecting.await.unwrap().unwrap();

        let root = NodePath::root();
        let call = client.exists(&root);
        let ticket = loop {
            match next(&mut stream, &mut server, &mut buffer).await {
                Incoming::Request { ticket, .. } => break ticket,
                other => drop(other),
            }
        };
        server.reply(&ticket, 1, &Ok(Reply::Exists(Some(Stat::default()))));
        stream.write_all_buf(server.transmit()).await.unwrap();
        // Nothing else runs on this thread.
        #[expect(clippy::disallowed_methods, reason = "it stands for a stopped process, and more of it does no harm")]
        std::thread::sleep(timeout);
        assert_eq!(call.await, Ok(Some(Stat::default())));
    }
}
