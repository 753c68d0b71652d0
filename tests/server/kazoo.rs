//! A client that is not ours: kazoo, from Python.

use tokio::process::Command;

use crate::support::World;

/// One process of what people write with kazoo: a lock, nodes, watches, a transaction.
const SCRIPT: &str = r#"
import sys, threading
from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError, NoNodeError

client, other = (KazooClient(hosts=sys.argv[1]) for _ in range(2))
client.start(10)
other.start(10)

client.create("/kazoo/a/b", b"first", makepath=True)
try:
    client.create("/kazoo/a/b")
    sys.exit("created twice")
except NodeExistsError:
    pass
assert client.get("/kazoo/a/b")[0] == b"first"
assert client.get_children("/kazoo") == ["a"]
assert client.create("/kazoo/n-", sequence=True, ephemeral=True) == "/kazoo/n-0000000001"

fired = threading.Event()
assert client.exists("/kazoo/later", watch=lambda event: fired.set()) is None
other.create("/kazoo/later", b"")
assert fired.wait(30), "no event"

transaction = client.transaction()
transaction.create("/kazoo/t", b"1")
transaction.set_data("/kazoo/t", b"2")
transaction.check("/kazoo/t", 1)
results = transaction.commit()
assert results[0] == "/kazoo/t" and results[1].version == 1 and results[2] is True, results
transaction = client.transaction()
transaction.create("/kazoo/u", b"")
transaction.delete("/kazoo/missing")
results = transaction.commit()
assert isinstance(results[1], NoNodeError), results
assert client.exists("/kazoo/u") is None

lock, rival = client.Lock("/kazoo/lock", "one"), other.Lock("/kazoo/lock", "two")
with lock:
    assert not rival.acquire(blocking=False)
    assert lock.contenders() == ["one"]
assert rival.acquire(timeout=30)
rival.release()

client.stop()
assert other.exists("/kazoo/n-0000000001") is None
other.stop()
print("done")
"#;

#[tokio::test]
async fn kazoo_finds_what_it_expects() {
    let python = |code: &str, argument: &str| {
        let mut command = Command::new("python3");
        command.args(["-c", code, argument]).kill_on_drop(true);
        command
    };
    let has_kazoo = python("import kazoo", "").output().await.is_ok_and(|output| output.status.success());
    if !has_kazoo {
        eprintln!("skipped: no kazoo for python3");
        return;
    }
    let world = World::embedded("kazoo").await;
    let output = python(SCRIPT, &world.address).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert_eq!(output.stdout, b"done\n");
}
