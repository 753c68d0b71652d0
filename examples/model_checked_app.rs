//! A small application, and the proof that it needs what it has.
//!
//! ```text
//! cargo run --example model_checked_app
//! cargo run --example model_checked_app -- --connect localhost:2181
//! ```
//!
//! Clerks move money between the accounts of a bank, each with the lock held: [`Bank::transfer`]. Money is neither made
//! nor lost. A clerk can be stopped anywhere (a paused process, a long collection of garbage), its session can end
//! meanwhile, and then the next clerk rightly has the lock. What the first one writes when it goes on must not count.
//!
//! loom runs two clerks in every order of their steps, with the session of one ending at any point: once where the
//! clerk asks its guard and then writes, which must fail, and once where the write is fenced, which must pass. shuttle
//! then runs eight clerks in random orders. Last, the same code moves money on a real server.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, value_parser};
use herdless::core::{Request, Response};
use herdless::server::Server;
use herdless::testing::shuttle::rand::{Rng, thread_rng};
use herdless::testing::{Count, LoomServer, Model, Schedules, ShuttleServer, block_on, loom, shuttle};
use herdless::{Client, ClientExt, CreateMode, Error, Lock, MultiOp, NodePath, Session, Version};

type AnyError = Box<dyn std::error::Error>;

/// Clerks move money under a lock; a model checker shows what happens with and without fencing
#[derive(Parser)]
struct Arguments {
    /// A ZooKeeper server for the last part, HOST:PORT [default: an embedded one]
    #[arg(long)]
    connect: Option<String>,
    /// How many random schedules eight clerks go through
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u64).range(1..))]
    schedules: u64,
}

// ----- The application: ordinary async code, generic over `Client`. It knows nothing of models.

const ACCOUNTS: [&str; 3] = ["alice", "bob", "carol"];
const OPENING_BALANCE: i64 = 100;
const TOTAL: i64 = OPENING_BALANCE * ACCOUNTS.len() as i64;

/// How a clerk makes sure that it still holds the lock when it writes.
#[derive(Clone, Copy)]
enum Care {
    /// It asks its guard, and then writes: the session may end in between.
    AsksFirst,
    /// The server checks the lock's node in the same transaction.
    Fenced,
}

#[derive(Clone)]
struct Bank<C> {
    client: C,
    root: NodePath,
    lock: Lock<C>,
    care: Care,
}

impl<C: Client + Clone + 'static> Bank<C> {
    fn new(client: C, root: &NodePath, care: Care) -> Self {
        let lock = Lock::new(client.clone(), node(root, "lock"));
        Self { client, root: root.clone(), lock, care }
    }

    async fn open(&self) -> Result<(), Error> {
        self.client.create(&self.root, "", CreateMode::Persistent).await?;
        self.client.create(&node(&self.root, "lock"), "", CreateMode::Container).await?;
        for name in ACCOUNTS {
            let balance = OPENING_BALANCE.to_string();
            self.client.create(&node(&self.root, name), balance, CreateMode::Persistent).await?;
        }
        Ok(())
    }

    async fn close(&self) -> Result<(), Error> {
        for name in ACCOUNTS.into_iter().chain(["lock"]) {
            self.client.delete(&node(&self.root, name), Version::ANY).await?;
        }
        self.client.delete(&self.root, Version::ANY).await
    }

    async fn balance(&self, name: &str) -> Result<i64, AnyError> {
        let (data, _) = self.client.get(&node(&self.root, name)).await?;
        Ok(std::str::from_utf8(&data)?.parse()?)
    }

    async fn total(&self) -> Result<i64, AnyError> {
        let mut total = 0;
        for name in ACCOUNTS {
            total += self.balance(name).await?;
        }
        Ok(total)
    }

    async fn transfer(&self, from: &str, to: &str, amount: i64) -> Result<(), AnyError> {
        let guard = self.lock.acquire().await?;
        let (less, more) = (self.balance(from).await? - amount, self.balance(to).await? + amount);
        let writes = vec![
            MultiOp::set(&node(&self.root, from), less.to_string(), Version::ANY),
            MultiOp::set(&node(&self.root, to), more.to_string(), Version::ANY),
        ];
        match self.care {
            Care::AsksFirst if !guard.is_valid() => return Err(Error::SessionExpired.into()),
            Care::AsksFirst => self.client.multi(writes).await?,
            Care::Fenced => guard.multi(writes).await?,
        };
        Ok(())
    }
}

fn node(root: &NodePath, name: &str) -> NodePath {
    root.child(name).expect("the names are in this file")
}

// ----- The models

/// What has happened in the execution that is running; after a failure, the bad order.
type Story = Arc<Mutex<Vec<String>>>;

fn tell(story: &Story, step: impl Into<String>) {
    story.lock().expect("nothing panics in here").push(step.into());
}

/// A client that tells its steps.
#[derive(Clone)]
struct Told<C> {
    client: C,
    name: &'static str,
    story: Story,
}

impl<C: Client> Client for Told<C> {
    fn submit(&self, request: Request) -> Response {
        let what = match &request {
            Request::Create(_) => "stands in line for the lock",
            Request::Exists(_) => "looks who is ahead",
            Request::GetData(get) => &format!("reads {}", get.path),
            Request::Multi(_) => "writes",
            Request::Release(_) => "leaves the line",
            other => other.name(),
        };
        let response = self.client.submit(request);
        tell(&self.story, format!("{} {what}", self.name));
        response
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

fn root() -> NodePath {
    NodePath::parse("/bank").expect("a valid path")
}

/// Two clerks, every order of their steps, the session of one ending at any point.
fn two_clerks(name: &str, care: Care, executions: Count, refused: Count, story: Story) {
    Model::new(name).check(move || {
        executions.add(true);
        let server = LoomServer::with_locks();
        let manager = Bank::new(server.connect(), &root(), care);
        block_on(manager.open()).expect("an empty tree takes it");
        story.lock().expect("nothing panics in here").clear();
        let client = server.connect();
        let ann = Bank::new(Told { client: client.clone(), name: "Ann", story: story.clone() }, &root(), care);
        let ben = Bank::new(Told { client: server.connect(), name: "Ben", story: story.clone() }, &root(), care);
        let its_story = story.clone();
        let thread = loom::thread::spawn(move || {
            server.expire(&client);
            tell(&its_story, "    Ann's session ends; she does not know yet");
            block_on(ben.transfer("bob", "carol", 10)).expect("Ben's session lives");
        });
        // Ann's transfer may be refused. It may not be done on numbers that are no longer true.
        refused.add(block_on(ann.transfer("alice", "bob", 10)).is_err());
        thread.join().expect("Ben is done");
        let total = block_on(manager.total()).expect("the accounts are there");
        assert!(total == TOTAL, "{total} in the bank, which had {TOTAL}");
    });
}

/// Eight clerks in random orders, each with a session that may end.
fn eight_clerks(schedules: u64) {
    Schedules::new("eight clerks, fenced").iterations(schedules).check(|| {
        let server = ShuttleServer::with_locks();
        let manager = Bank::new(server.connect(), &root(), Care::Fenced);
        shuttle::future::block_on(manager.open()).expect("an empty tree takes it");
        let clerk = |number: usize| {
            let (server, client) = (server.clone(), server.connect());
            let bank = Bank::new(client.clone(), &root(), Care::Fenced);
            let (from, to) = (ACCOUNTS[number % 3], ACCOUNTS[(number + 1) % 3]);
            let ends = thread_rng().gen_bool(0.25).then(|| shuttle::thread::spawn(move || server.expire(&client)));
            // A transfer is refused where the session has ended.
            let works = shuttle::thread::spawn(move || drop(shuttle::future::block_on(bank.transfer(from, to, 10))));
            ends.into_iter().chain([works])
        };
        let threads: Vec<_> = (0..8).flat_map(clerk).collect();
        threads.into_iter().for_each(|thread| thread.join().expect("the clerk is done"));
        let total = shuttle::future::block_on(manager.total()).expect("the accounts are there");
        assert!(total == TOTAL, "{total} in the bank, which had {TOTAL}");
    });
}

/// Runs the model of two clerks: how many executions there were, and the message if it failed.
fn outcome(name: &str, care: Care, story: &Story) -> (u64, Option<String>) {
    let (executions, refused) = (Count::default(), Count::default());
    let (executions_in, refused_in, story) = (executions.clone(), refused.clone(), story.clone());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {})); // A failed model panics, and the caller tells.
    let result = catch_unwind(AssertUnwindSafe(move || two_clerks(name, care, executions_in, refused_in, story)));
    std::panic::set_hook(hook);
    let message = result.err().map(|panic| panic.downcast().map_or_else(|_| "a panic".into(), |message| *message));
    if message.is_none() {
        refused.assert_reached("a transfer is refused, because the session has ended");
    }
    (executions.total(), message)
}

// ----- The same code on a server

#[tokio::main(flavor = "current_thread")]
async fn run(connect: Option<&str>) -> Result<i64, AnyError> {
    let embedded = Server::bind("127.0.0.1:0").await?;
    let address = connect.map_or_else(|| embedded.address().to_string(), str::to_owned);
    #[expect(clippy::disallowed_methods, reason = "a name that no other run has")]
    let number = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let root = NodePath::parse(&format!("/herdless-bank-{number}"))?;
    let manager = Bank::new(herdless::connect(&address).await?, &root, Care::Fenced);
    manager.open().await?;
    let ann = Bank::new(herdless::connect(&address).await?, &root, Care::Fenced);
    let ben = Bank::new(herdless::connect(&address).await?, &root, Care::Fenced);
    for _ in 0..20 {
        let (first, second) = tokio::join!(ann.transfer("alice", "bob", 5), ben.transfer("bob", "carol", 5));
        first.and(second)?;
    }
    let total = manager.total().await?;
    // The end of their sessions comes after their last release, which nobody has waited for.
    ann.client.close().await?;
    ben.client.close().await?;
    manager.close().await?;
    Ok(total)
}

fn main() -> Result<ExitCode, AnyError> {
    let arguments = Arguments::parse();
    let story = Story::default();

    let (executions, message) = outcome("two clerks, asking first", Care::AsksFirst, &story);
    let Some(message) = message.filter(|message| message.contains("in the bank")) else {
        return Err("the model without fencing must fail, by money that was made or lost".into());
    };
    println!("model two clerks, asking first: FAILS, as it must, in execution {executions}: {message}");
    story.lock().expect("nothing panics in here").iter().for_each(|step| println!("    {step}"));
    println!("  Ann has asked her guard, which was valid, and her write is on its way when her session ends. Ben");
    println!("  rightly has the lock now. Her write arrives after his, made of what she read before.\n");

    if let (_, Some(message)) = outcome("two clerks, fenced", Care::Fenced, &story) {
        return Err(format!("the model with fencing must pass: {message}").into());
    }
    println!("  passes in every order: the server looks for Ann's node in the transaction that writes.\n");
    eight_clerks(arguments.schedules);

    let total = run(arguments.connect.as_deref())?;
    let server = arguments.connect.as_deref().unwrap_or("the embedded server");
    println!("\nthe same code on {server}: 40 transfers, {total} in the bank, which had {TOTAL}");
    Ok(if total == TOTAL { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
