//! Both machines against each other over the in-memory tree, in virtual time.
//!
//! One thread, no sleeping: the clock jumps to whatever comes next. The wire carries bytes, tears them, delays them and
//! can be cut after any of them.

#[path = "serving.rs"]
mod serving;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use herdless_core::{Error, NodePath, Notice, Reply, Request, SessionId, WatchEvent, Zxid};
use herdless_memory::{Fired, Tree};
use herdless_proto::client::{Config, Event, LinkError, Machine, StreamId};
use herdless_proto::codec::{ConnectRequest, ConnectResponse, SetWatches};
use herdless_proto::server;

/// The session timeout that tests ask for, and get unless they say otherwise.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(9);
/// A third of it.
pub(crate) const THIRD: Duration = Duration::from_secs(3);
/// Another session, whose requests go to the tree directly.
pub(crate) const OTHER: SessionId = SessionId(0x0fff);

/// Stands for a watch; two are the same if they are clones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mark(Rc<()>);

/// What the client machine has told, watches replaced by the token of the read that left them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Seen {
    Dial(usize),
    Probe(usize),
    Opened(SessionId),
    OpenedReadOnly(SessionId),
    Resumed,
    ResumedReadOnly,
    Suspended,
    Lost,
    Closed,
    Reply(u32, Result<Reply, Error>),
    Overdue(u32),
    Fired(Vec<u32>, Result<WatchEvent, Error>),
    /// To streams, by the tokens of the requests that began them.
    Noticed(Vec<u32>, Result<Notice, Error>),
}

/// How the bytes of one transmission are cut into reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Torn {
    Whole,
    Random,
    OneByte,
}

type Hook<A, R> = Box<dyn FnMut(&A) -> R>;
type CutHook = Box<dyn FnMut(&mut Tree)>;

/// How the server departs from what the tree says.
#[derive(Default)]
pub(crate) struct Script {
    /// An answer to a handshake.
    pub(crate) connect: Option<Hook<ConnectRequest, Option<ConnectResponse>>>,
    /// An answer to a request, which the tree then does not see.
    pub(crate) request: Option<Hook<Request, Option<Result<Reply, Error>>>>,
    /// Hang up after such an answer.
    pub(crate) hang_up: bool,
    /// Refuse so many SetWatches.
    pub(crate) refuse_set_watches: usize,
}

struct Conn {
    server: server::Machine,
    server_in: BytesMut,
    client_in: BytesMut,
    session: Option<SessionId>,
    is_closing: bool,
    up: VecDeque<(Instant, BytesMut)>,
    down: VecDeque<(Instant, BytesMut)>,
}

struct Known {
    password: [u8; 16],
    timeout: Duration,
    heard: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum State {
    None,
    Connected,
    Suspended,
    Closed,
}

pub(crate) struct World {
    pub(crate) client: Machine<u32, Mark>,
    pub(crate) tree: Tree,
    pub(crate) now: Instant,
    pub(crate) base: Instant,
    pub(crate) torn: Torn,
    pub(crate) latency: Duration,
    /// Whether the transport draws the shortest pauses and not the longest.
    pub(crate) hasty: bool,
    /// Whether dials succeed.
    pub(crate) reachable: bool,
    /// Hosts that nobody answers at, whatever `reachable` says.
    pub(crate) dead_hosts: Vec<usize>,
    /// The server receives and does nothing.
    pub(crate) silent: bool,
    /// The server's bytes wait for `flush`.
    pub(crate) hold: bool,
    pub(crate) script: Script,
    /// The host that says it is read-write when it is asked.
    pub(crate) read_write: Option<usize>,
    /// The numbers of bytes carried (in either direction, over all connections) after which the connection breaks.
    pub(crate) cut_at: VecDeque<u64>,
    /// Runs at every cut, on what the server has by then.
    pub(crate) on_cut: Option<CutHook>,
    pub(crate) carried: u64,
    pub(crate) log: Vec<(Duration, Seen)>,
    /// What the server was asked, by name.
    pub(crate) served: Vec<String>,
    pub(crate) set_watches: Vec<SetWatches>,
    pub(crate) link_errors: Vec<LinkError>,
    pub(crate) server_errors: Vec<server::ReceiveError>,
    /// What OTHER's watches were told.
    pub(crate) other_fired: Vec<WatchEvent>,
    pub(crate) rng: Xorshift,
    /// The server's wall clock stands still, so that two runs that differ in time alone make the same nodes.
    pub(crate) clock_stands: bool,
    conn: Option<Conn>,
    /// When which host is dialled.
    dial: Option<(Instant, usize)>,
    probe: Option<(Instant, usize)>,
    sessions: BTreeMap<SessionId, Known>,
    last_session: i64,
    state: State,
    answers: BTreeMap<u32, Option<Result<Reply, Error>>>,
    marks: Vec<(Mark, u32)>,
    streams: BTreeMap<StreamId, u32>,
}

/// Small, and the same everywhere.
pub(crate) struct Xorshift(u64);

impl Xorshift {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed:#x}");
        Self(seed.max(1))
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound.max(1)
    }
}

pub(crate) fn config() -> Config {
    Config {
        hosts: 2,
        session_timeout: TIMEOUT,
        connect_timeout: Duration::from_secs(2),
        max_backoff: Duration::from_millis(400),
        max_in_flight: 100,
        request_timeout: None,
        max_reply: 1 << 20,
        read_only: false,
    }
}

impl World {
    /// A client that has not dialled yet, in front of an empty tree.
    pub(crate) fn idle(config: Config) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an Instant has no other origin")]
        let base = Instant::now();
        let mut tree = Tree::new(Zxid(1));
        tree.open_session(OTHER);
        Self {
            client: Machine::new(config),
            tree,
            now: base,
            base,
            torn: Torn::Random,
            latency: Duration::from_millis(1),
            hasty: false,
            reachable: true,
            dead_hosts: Vec::new(),
            silent: false,
            hold: false,
            script: Script::default(),
            read_write: None,
            cut_at: VecDeque::new(),
            on_cut: None,
            carried: 0,
            log: Vec::new(),
            served: Vec::new(),
            set_watches: Vec::new(),
            link_errors: Vec::new(),
            server_errors: Vec::new(),
            other_fired: Vec::new(),
            rng: Xorshift::new(0x5eed),
            clock_stands: false,
            conn: None,
            dial: None,
            probe: None,
            sessions: BTreeMap::new(),
            last_session: 0x10000,
            state: State::None,
            answers: BTreeMap::new(),
            marks: Vec::new(),
            streams: BTreeMap::new(),
        }
    }

    /// A client with a session, in front of an empty tree.
    pub(crate) fn new() -> Self {
        let mut world = Self::idle(config());
        world.settle();
        assert!(world.is_connected(), "{:?}", world.log);
        world
    }

    /// Another client takes the place of this one, which says no more: as if its process had ended.
    pub(crate) fn replace_client(&mut self, client: Machine<u32, Mark>) {
        self.drop_conn();
        (self.dial, self.probe, self.state) = (None, None, State::None);
        self.client = client;
        self.forget();
    }

    // What tests do.

    /// Submits a request and returns its token.
    pub(crate) fn submit(&mut self, request: Request) -> u32 {
        self.try_submit(request).expect("the request is accepted")
    }

    pub(crate) fn try_submit(&mut self, request: Request) -> Result<u32, Error> {
        let token = self.answers.len() as u32;
        let result = self.client.submit(self.now, request, token);
        if result.is_ok() {
            self.answers.insert(token, None);
        }
        self.pump();
        result.map(|()| token).map_err(|(back, error)| {
            assert_eq!(back, token);
            error
        })
    }

    /// Submits a request and lets it run its course.
    pub(crate) fn call(&mut self, request: Request) -> Result<Reply, Error> {
        let token = self.submit(request);
        self.settle();
        self.outcome(token).expect("answered by now")
    }

    /// Gives up the stream that this request has begun.
    pub(crate) fn unwatch(&mut self, token: u32) {
        let (id, _) = self.streams.iter().find(|(_, of)| **of == token).expect("a stream that has not ended");
        let id = *id;
        self.client.unwatch(self.now, id);
        self.pump();
    }

    /// Forgets all watches but those of these reads, as if the others had been dropped.
    pub(crate) fn sweep(&mut self, wanted: &[u32]) {
        let marks = &self.marks;
        let is_wanted =
            |mark: &Mark| marks.iter().any(|(known, token)| Rc::ptr_eq(&known.0, &mark.0) && wanted.contains(token));
        self.client.sweep_watches(self.now, is_wanted);
        self.pump();
    }

    pub(crate) fn outcome(&self, token: u32) -> Option<Result<Reply, Error>> {
        self.answers[&token].clone()
    }

    /// Lets another session carry a request out.
    pub(crate) fn other(&mut self, request: Request) -> Result<Reply, Error> {
        let mut fired = Fired::new();
        let outcome = self.tree.apply(OTHER, &request, self.millis(), &mut fired);
        self.tell(fired);
        self.flush();
        outcome
    }

    /// Breaks the connection: what is on the wire is lost in both directions.
    pub(crate) fn cut(&mut self) {
        self.drop_conn();
        if let Some(mut on_cut) = self.on_cut.take() {
            on_cut(&mut self.tree);
            self.on_cut = Some(on_cut);
        }
        self.client.disconnected(self.now);
        self.pump();
    }

    /// Breaks the connection once the server has dealt with what was sent; its replies are lost.
    pub(crate) fn cut_replies(&mut self) {
        let silent = std::mem::replace(&mut self.silent, false);
        if let Some(conn) = &mut self.conn {
            for (_, bytes) in std::mem::take(&mut conn.up) {
                conn.server_in.extend_from_slice(&bytes);
            }
        }
        self.serve();
        self.silent = silent;
        self.cut();
    }

    /// Puts bytes on the wire to the client as if the server had sent them.
    pub(crate) fn inject(&mut self, bytes: &[u8]) {
        let at = self.now + self.latency;
        let conn = self.conn.as_mut().expect("a connection");
        conn.down.push_back((at, bytes.into()));
    }

    /// Ends the client's session on the server.
    pub(crate) fn expire(&mut self) {
        for session in std::mem::take(&mut self.sessions).into_keys() {
            self.end_session(session);
        }
    }

    /// Gives the client another list of hosts. A dial that is under way is replaced where the client wants another.
    pub(crate) fn update_hosts(&mut self, kept: &[Option<usize>], random: u64) {
        let dial = self.dial.take();
        self.client.update_hosts(self.now, kept, random);
        self.pump();
        self.dial = self.dial.or(dial);
    }

    /// Lets the wire run until nothing is on it; timers do not.
    pub(crate) fn settle(&mut self) {
        self.pump();
        self.run(None);
    }

    /// Lets time pass.
    pub(crate) fn advance(&mut self, time: Duration) {
        self.pump();
        let until = self.now + time;
        self.run(Some(until));
        self.now = until;
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.state == State::Connected
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Everything the client has told, without times, dials and probes.
    pub(crate) fn told(&self) -> Vec<Seen> {
        let told = self.log.iter().map(|(_, seen)| seen.clone());
        told.filter(|seen| !matches!(seen, Seen::Dial(_) | Seen::Probe(_))).collect()
    }

    /// When it was told, since the start.
    pub(crate) fn when(&self, what: &Seen) -> Vec<Duration> {
        let log = self.log.iter().filter(|(_, seen)| seen == what);
        log.map(|(at, _)| *at).collect()
    }

    pub(crate) fn since_start(&self, at: Instant) -> Duration {
        at - self.base
    }

    /// Forgets what was told and served so far.
    pub(crate) fn forget(&mut self) {
        self.log.clear();
        self.served.clear();
    }

    /// The other half of "each token is answered exactly once"; that it is not answered twice is checked all along.
    pub(crate) fn assert_all_answered(&self) {
        for (token, answer) in &self.answers {
            assert!(answer.is_some(), "{token} has no answer: {:#?}", self.log);
        }
    }

    // How the world turns.

    fn run(&mut self, until: Option<Instant>) {
        for _ in 0..2_000_000 {
            match self.next(until.is_some()) {
                Some((at, what)) if until.is_none_or(|until| at <= until) => {
                    self.now = self.now.max(at);
                    self.step(what);
                }
                _ => return,
            }
        }
        panic!("it spins: {:#?}", &self.log[self.log.len().saturating_sub(20)..]);
    }

    fn next(&self, timers: bool) -> Option<(Instant, What)> {
        let mut all = Vec::new();
        if let Some(conn) = &self.conn {
            all.extend(conn.up.front().map(|(at, _)| (*at, What::Up)));
            all.extend(conn.down.front().map(|(at, _)| (*at, What::Down)));
            if conn.is_closing && conn.down.is_empty() {
                all.push((self.now, What::HangUp));
            }
        }
        if self.reachable || timers {
            all.extend(self.dial.map(|(at, host)| (at, What::Dial(host))));
        }
        if timers {
            all.extend(self.probe.map(|(at, _)| (at, What::Probe)));
            all.extend(self.client.poll_timeout().map(|at| (at, What::Timer)));
            let ends = self.sessions.values();
            let end = ends.map(|known| known.heard + known.timeout).min();
            all.extend(end.map(|at| (at, What::Expiry)));
        }
        all.into_iter().min_by_key(|(at, _)| *at)
    }

    fn step(&mut self, what: What) {
        match what {
            What::Up | What::Down => self.carry(what == What::Up),
            What::HangUp => self.cut(),
            What::Probe => {
                let (_, host) = self.probe.take().expect("it is due");
                self.client.probed(self.now, host, self.read_write == Some(host));
            }
            What::Timer => self.client.handle_timeout(self.now),
            What::Expiry => {
                let now = self.now;
                let late = |(_, known): &(&SessionId, &Known)| known.heard + known.timeout <= now;
                if let Some(session) = self.sessions.iter().find(late).map(|(id, _)| *id) {
                    self.sessions.remove(&session);
                    self.end_session(session);
                }
            }
            What::Dial(host) => {
                self.dial = None;
                if self.reachable && !self.dead_hosts.contains(&host) {
                    self.conn = Some(Conn {
                        server: server::Machine::new(),
                        server_in: BytesMut::new(),
                        client_in: BytesMut::new(),
                        session: None,
                        is_closing: false,
                        up: VecDeque::new(),
                        down: VecDeque::new(),
                    });
                    self.client.connected(self.now);
                } else {
                    self.client.disconnected(self.now);
                }
            }
        }
        self.pump();
    }

    /// Brings one read's bytes to the other end.
    fn carry(&mut self, is_up: bool) {
        let Some(conn) = &mut self.conn else { return };
        let pipe = if is_up { &mut conn.up } else { &mut conn.down };
        let Some((_, bytes)) = pipe.front_mut() else {
            return;
        };
        let mut length = match self.torn {
            Torn::Whole => bytes.len(),
            Torn::OneByte => 1,
            Torn::Random => 1 + self.rng.below(bytes.len().min(60)),
        };
        let mut cut = false;
        if let Some(&at) = self.cut_at.front()
            && at <= self.carried + length as u64
        {
            length = (at - self.carried) as usize;
            self.cut_at.pop_front();
            cut = true;
        }
        let piece = bytes.split_to(length);
        if bytes.is_empty() {
            pipe.pop_front();
        }
        self.carried += length as u64;
        if is_up {
            conn.server_in.extend_from_slice(&piece);
            self.serve();
        } else {
            conn.client_in.extend_from_slice(&piece);
            if let Err(error) = self.client.receive(self.now, &mut conn.client_in) {
                self.link_errors.push(error);
                cut = true;
            }
            self.pump();
        }
        if cut && self.conn.is_some() {
            self.cut();
        }
    }

    /// Takes what the client wants done, known and sent.
    fn pump(&mut self) {
        while let Some(event) = self.client.poll_event() {
            assert_ne!(self.state, State::Closed, "{event:?} after the end");
            let seen = match event {
                Event::Dial { host, pause } => {
                    self.drop_conn();
                    self.probe = None;
                    assert!(self.dial.is_none(), "one dial at a time");
                    let pause = if self.hasty { *pause.start() } else { *pause.end() };
                    self.dial = Some((self.now + pause, host));
                    Seen::Dial(host)
                }
                Event::Probe { host, pause } => {
                    assert!(self.probe.is_none(), "one question at a time");
                    self.probe = Some((self.now + pause, host));
                    Seen::Probe(host)
                }
                Event::Opened { id, is_read_only, .. } => {
                    let seen = if is_read_only { Seen::OpenedReadOnly(id) } else { Seen::Opened(id) };
                    self.turn(State::None, State::Connected, seen)
                }
                Event::Resumed { is_read_only, .. } => {
                    let seen = if is_read_only { Seen::ResumedReadOnly } else { Seen::Resumed };
                    self.turn(State::Suspended, State::Connected, seen)
                }
                Event::Suspended => self.turn(State::Connected, State::Suspended, Seen::Suspended),
                Event::Lost => {
                    assert_ne!(self.state, State::None, "there is a session to lose");
                    self.turn(self.state, State::None, Seen::Lost)
                }
                Event::Closed { .. } => {
                    self.drop_conn();
                    (self.dial, self.probe) = (None, None);
                    self.turn(self.state, State::Closed, Seen::Closed)
                }
                Event::Reply { token, outcome, watch, stream } => {
                    let answer = self.answers.get_mut(&token).expect("a known token");
                    assert_eq!(*answer, None, "{token} is answered once");
                    *answer = Some(outcome.clone());
                    self.marks.extend(watch.map(|mark| (mark, token)));
                    self.streams.extend(stream.map(|id| (id, token)));
                    Seen::Reply(token, outcome)
                }
                Event::Overdue { token } => {
                    assert_eq!(self.answers[&token], None, "{token} has its answer");
                    Seen::Overdue(token)
                }
                Event::Noticed { streams, notice } => {
                    let tokens = streams.iter().map(|id| self.streams[id]).collect();
                    if notice.is_err() {
                        self.streams.retain(|id, _| !streams.contains(id));
                    }
                    Seen::Noticed(tokens, notice)
                }
                Event::Fired { watches, outcome } => {
                    let tokens = watches.iter().map(|mark| self.take_mark(mark)).collect();
                    Seen::Fired(tokens, outcome)
                }
            };
            self.log.push((self.now - self.base, seen));
        }
        let bytes = self.client.transmit().split();
        match &mut self.conn {
            Some(conn) if !bytes.is_empty() => {
                conn.up.push_back((self.now + self.latency, bytes));
            }
            Some(_) => {}
            None => assert!(bytes.is_empty(), "there is nothing to send it on"),
        }
    }

    fn turn(&mut self, from: State, to: State, seen: Seen) -> Seen {
        assert_eq!(self.state, from, "{seen:?}");
        self.state = to;
        seen
    }

    fn take_mark(&mut self, mark: &Mark) -> u32 {
        let same = |(known, _): &(Mark, u32)| Rc::ptr_eq(&known.0, &mark.0);
        let at = self.marks.iter().position(same);
        let at = at.expect("a watch that was handed out, and has not fired before");
        self.marks.swap_remove(at).1
    }

    fn drop_conn(&mut self) {
        if let Some(session) = self.conn.take().and_then(|conn| conn.session) {
            self.tree.disconnect(session);
        }
    }

    fn millis(&self) -> i64 {
        let elapsed = if self.clock_stands { Duration::ZERO } else { self.now - self.base };
        1_000 + elapsed.as_millis() as i64
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Up,
    Down,
    HangUp,
    Dial(usize),
    Probe,
    Timer,
    Expiry,
}

pub(crate) fn accepted(id: SessionId, timeout: Duration, password: [u8; 16]) -> ConnectResponse {
    ConnectResponse { timeout_ms: timeout.as_millis() as i32, session_id: id.0, password, read_only: Some(false) }
}

pub(crate) fn path(path: &str) -> NodePath {
    NodePath::parse(path).unwrap()
}
