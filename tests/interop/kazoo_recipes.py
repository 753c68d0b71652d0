"""kazoo's recipes, several clients contending in each: kazoo_recipes.py HOST:PORT. The server has to be empty.

It prints what has come out of each, without what differs from one run to the next, so that two servers do the same if
the same is printed. What must not happen on any server ends it.
"""

import datetime
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from kazoo.client import KazooClient
from kazoo.exceptions import KazooException, LockTimeout
from kazoo.recipe.cache import TreeCache, TreeEvent
from kazoo.security import CREATOR_ALL_ACL, make_digest_acl

SESSION = 40.0  # seconds; so long that no slow machine ends it
PATIENCE = 60
CLIENTS = 3


class Room:
    """What only so many are to be in at a time."""

    def __init__(self):
        self.guard = threading.Lock()
        self.inside = self.most = self.visits = 0

    def visit(self, linger=lambda: None):
        with self.guard:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.visits += 1
        linger()
        with self.guard:
            self.inside -= 1


def say(what, *answers):
    print(what, *answers, sep=": ", flush=True)


def until(what, look):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.002)
    raise AssertionError(f"waited in vain for {what}")


def refused(call, *arguments, **options):
    try:
        return call(*arguments, **options)
    except KazooException as error:
        return type(error).__name__


def together(clients, part, of_each=2):
    """So many threads of each client play the part at the same time, numbered through. What they return, in order."""
    count = of_each * len(clients)
    with ThreadPoolExecutor(count) as threads:
        playing = [threads.submit(part, clients[number % len(clients)], number) for number in range(count)]
        return [each.result(2 * PATIENCE) for each in playing]


def locks(clients):
    for kind in ("Lock", "WriteLock"):
        room = Room()

        def rounds(client, number):
            lock = getattr(client, kind)(f"/{kind}", str(number))
            for _ in range(20):
                with lock:
                    room.visit()

        together(clients, rounds)
        say(kind, f"{room.visits} visits, at most {room.most} at once")
    one, other = clients[0].Lock("/held", "one"), clients[1].Lock("/held", "other")
    say("acquire", one.acquire())
    say("not blocking", other.acquire(blocking=False))
    try:
        other.acquire(timeout=0.05)
    except LockTimeout:
        say("timeout", "LockTimeout")
    say("contenders", one.contenders())
    say("release", one.release())
    say("acquire", other.acquire(timeout=PATIENCE))
    say("release", other.release())
    everybody = threading.Barrier(2 * CLIENTS)
    room = Room()

    def read(client, number):
        with client.ReadLock("/WriteLock", str(number)):
            room.visit(lambda: everybody.wait(PATIENCE))

    together(clients, read)
    say("ReadLock", f"{room.most} at once")
    with clients[0].ReadLock("/WriteLock"):
        say("WriteLock while it is read", clients[1].WriteLock("/WriteLock").acquire(blocking=False))


def semaphore(clients):
    room = Room()
    full = threading.Barrier(3)

    def rounds(client, number):
        for _ in range(10):
            with client.Semaphore("/semaphore", str(number), max_leases=3):
                # Each time three are let in together, or the barrier breaks.
                room.visit(lambda: full.wait(PATIENCE))

    together(clients, rounds)
    say("Semaphore", f"{room.visits} visits, at most {room.most} at once")
    one = clients[0].Semaphore("/semaphore", "one", max_leases=3)
    say("acquire", one.acquire())
    say("lease holders", one.lease_holders())
    say("release", one.release())


def election(clients):
    room = Room()
    led = []

    def run(client, number):
        candidate = client.Election("/election", f"candidate {number}")
        candidate.run(lambda: room.visit(lambda: led.append(number)))

    together(clients, run)
    say("Election", f"{sorted(led)} led, at most {room.most} at once")
    say("contenders", clients[0].Election("/election").contenders())


def barriers(clients):
    barrier = clients[0].Barrier("/barrier")
    barrier.create()
    through = []
    with ThreadPoolExecutor(CLIENTS) as threads:
        waiting = [threads.submit(each.Barrier("/barrier").wait, PATIENCE) for each in clients]
        say("wait", clients[1].Barrier("/barrier").wait(0.05))
        say("remove", barrier.remove())
        through = [each.result(PATIENCE) for each in waiting]
    say("through", through)
    say("remove again", barrier.remove())
    double_barrier(clients)


def double_barrier(clients):
    """The last comes when all others wait: of two who see that all are there, the later one makes a node that nobody
    deletes, in kazoo."""
    members = 2 * CLIENTS
    here = []
    gone = []
    waiting = []

    class Awaited(threading.Event):
        def wait(self, timeout=None):
            waiting.append(self)
            return super().wait(timeout)

    def play(client, number):
        double = client.DoubleBarrier("/double", members, str(number))
        if number == members - 1:
            until("the others to wait", lambda: len(waiting) == members - 1)
        here.append(number)
        double.enter()
        begun = len(here)
        gone.append(number)
        double.leave()
        return begun, len(gone)

    for each in clients:
        each.handler.event_object = Awaited
    say("DoubleBarrier", together(clients, play))
    for each in clients:
        del each.handler.event_object


def queues(clients):
    items = 20
    counts = {}
    taken = []

    def produce(client, number):
        queue = client.Queue("/queue")
        for item in range(items):
            queue.put(f"{number}-{item}".encode())

    def consume(client, number):
        queue = client.Queue("/queue")
        while len(taken) < items * 2 * CLIENTS:
            item = queue.get()
            if item is not None:
                taken.append(item)

    together(clients, produce)
    say("Queue", len(clients[0].Queue("/queue")))
    together(clients, consume)
    say("taken", len(taken), len(set(taken)))
    queue = clients[0].Queue("/priorities")
    for priority in (5, 0, 9, 100):
        queue.put(str(priority).encode(), priority)
    say("priorities", [queue.get() for _ in range(5)])

    done = []
    begin = clients[0].LockingQueue("/locking")
    begin.put_all([str(item).encode() for item in range(items * CLIENTS)])

    def work(client, number):
        queue = client.LockingQueue("/locking")
        while len(done) < items * CLIENTS:
            item = queue.get(0.05)
            if item is None:
                continue
            counts[item] = counts.get(item, 0) + 1
            # Every third is given back once.
            if counts[item] == 1 and int(item) % 3 == 0:
                queue.release()
            else:
                assert queue.consume()
                done.append(item)

    together(clients, work, of_each=1)
    say("LockingQueue", len(done), len(set(done)), sum(counts.values()), len(begin))


def counters(clients):
    def add(client, number):
        counter = client.Counter("/counter")
        for _ in range(15):
            counter += number

    together(clients, add)
    say("Counter", clients[0].Counter("/counter").value)
    decimal = clients[0].Counter("/decimal", default=1.5)
    decimal -= 0.25
    say("decimal", decimal.value, decimal.pre_value, decimal.post_value)
    curator = clients[0].Counter("/curator", support_curator=True)
    curator += 7
    say("as Curator's", curator.value, clients[1].get("/curator")[0])


def parties(clients):
    for kind in ("Party", "ShallowParty"):
        members = [getattr(each, kind)(f"/{kind}", f"member{number}") for number, each in enumerate(clients)]
        for member in members:
            member.join()
        say(kind, len(members[0]), sorted(members[0]))
        members[1].leave()
        say("left", len(members[0]), sorted(members[2]), bool(members[1].participating))
        for member in members:
            member.leave()


def partitioner(clients):
    whole = set(range(7))
    stop = threading.Event()
    shares = {}

    def play(client, number):
        share = client.SetPartitioner("/partition", whole, identifier=str(number), time_boundary=0.2)
        while not stop.is_set():
            if share.failed:
                raise AssertionError("it has failed")
            if share.release:
                shares.pop(number, None)
                share.release_set()
            elif share.acquired:
                shares[number] = set(share)
                complete = len(shares) == CLIENTS and sorted(x for each in shares.values() for x in each) == sorted(whole)
                stop.set() if complete else time.sleep(0.01)
            elif share.allocating:
                share.wait_for_acquire(1)
        share.finish()

    together(clients, play, of_each=1)
    say("SetPartitioner", sorted(len(each) for each in shares.values()))


def watches(clients):
    one, other = clients[:2]
    one.create("/watched")
    data, names = [], []

    @one.DataWatch("/watched/data")
    def see_data(value, stat, event):
        data.append((value, stat.version if stat else None, event.type if event else None))

    @one.ChildrenWatch("/watched", send_event=True)
    def see_children(children, event):
        names.append((sorted(children), event.type if event else None))

    other.create("/watched/data", b"1")
    until("the creation", lambda: len(data) == 2 and len(names) == 2)
    other.set("/watched/data", b"2")
    until("the change", lambda: len(data) == 3)
    other.delete("/watched/data")
    until("the deletion", lambda: len(data) == 4 and len(names) == 3)
    say("DataWatch", data)
    say("ChildrenWatch", names)
    other.create("/tree/a/b", b"b", makepath=True)
    seen = set()
    kinds = {TreeEvent.NODE_ADDED: "added", TreeEvent.NODE_UPDATED: "updated", TreeEvent.NODE_REMOVED: "removed"}
    cache = TreeCache(one, "/tree")
    ready = threading.Event()

    def hear(event):
        if event.event_type == TreeEvent.INITIALIZED:
            ready.set()
        elif event.event_type in kinds:
            seen.add((kinds[event.event_type], event.event_data.path))

    cache.listen(hear)
    cache.start()
    assert ready.wait(PATIENCE)
    other.set("/tree/a/b", b"new")
    until("the change", lambda: cache.get_data("/tree/a/b").data == b"new")
    other.create("/tree/a/c", b"c")
    # It knows the names before it has read the nodes, and says nothing of one that goes in between.
    until("the creation", lambda: cache.get_data("/tree/a/c") is not None)
    other.delete("/tree/a", recursive=True)
    until("the deletion", lambda: cache.get_children("/tree") == set())
    until("its events", lambda: len(seen) == 8)
    say("TreeCache", sorted(seen))
    cache.close()


def leases(clients):
    one, other = clients[:2]
    hour = datetime.timedelta(hours=1)
    lease = one.NonBlockingLease("/lease", hour, identifier="one")
    say("NonBlockingLease", bool(lease), bool(other.NonBlockingLease("/lease", hour, identifier="other")))
    say("again", bool(one.NonBlockingLease("/lease", hour, identifier="one")))
    held = [bool(clients[n % CLIENTS].MultiNonBlockingLease(2, "/leases", hour, identifier=str(n))) for n in range(4)]
    say("MultiNonBlockingLease", held)


def own_nodes(clients):
    one = clients[0]
    for path in ("/", "/zookeeper", "/zookeeper/quota", "/zookeeper/config"):
        say(path, *one.get(path))
        say("children", sorted(one.get_children(path)))
        say("list", *one.get_acls(path))
        say("delete", refused(one.delete, path))
    say("set", refused(one.set, "/zookeeper/config", b"x"))
    say("reconfigure", refused(one.reconfig, joining=None, leaving="3", new_members=None))


def quota(clients):
    one = clients[0]
    below = "/zookeeper/quota/limited"
    one.create("/limited", b"1234")
    one.create(below)
    one.create(f"{below}/zookeeper_limits", b"count=2,bytes=10")
    one.create(f"{below}/zookeeper_stats", b"count=0,bytes=0")
    one.create("/limited/a/b", b"123456789", makepath=True)
    say("counted", one.get(f"{below}/zookeeper_stats")[0])
    one.delete("/limited", recursive=True)
    say("gone", one.get(f"{below}/zookeeper_stats")[0])
    one.delete(below, recursive=True)
    say("none", one.get_children("/zookeeper/quota"))


def nodes(clients):
    one, other = clients[:2]
    say("create", one.create("/n/a/b", b"data", makepath=True))
    say("exists already", refused(one.create, "/n"))
    say("no parent", refused(one.create, "/none/a"))
    path, stat = one.create("/n/stat", b"x", include_data=True)
    say("include_data", path, stat.version, stat.dataLength)
    say("sequential", one.create("/n/s-", sequence=True), one.create("/n/e-", ephemeral=True, sequence=True))
    say("children", sorted(one.get_children("/n")), sorted(one.get_children("/n", include_data=True)[0]))
    say("wrong version", refused(one.set, "/n", b"x", version=7), refused(one.delete, "/n/stat", version=7))
    say("null", one.get(one.create("/n/null", None))[0])
    say("not empty", refused(one.delete, "/n"))
    transaction = one.transaction()
    transaction.create("/n/tx", b"1")
    transaction.set_data("/n/tx", b"2", version=0)
    transaction.check("/n/tx", 1)
    transaction.delete("/n/stat")
    say("transaction", [each.version if hasattr(each, "version") else each for each in transaction.commit()])
    transaction = one.transaction()
    transaction.create("/n/other")
    transaction.delete("/none")
    transaction.check("/n", 0)
    say("refused", [type(each).__name__ for each in transaction.commit()], one.exists("/n/other"))
    say("recursive", one.delete("/n", recursive=True))
    one.add_auth("digest", "anna:secret")
    one.create("/acl", b"x", acl=CREATOR_ALL_ACL)
    say("list", one.get_acls("/acl")[0])
    say("another", refused(other.get, "/acl"), refused(other.get_acls, "/acl"), refused(other.set_acls, "/acl", []))
    say("set list", one.set_acls("/acl", [make_digest_acl("bert", "word", all=True)]).aversion)
    say("shut out", refused(one.get, "/acl"))
    other.add_auth("digest", "bert:word")
    say("let in", other.get("/acl")[0])
    say("sync", one.sync("/acl"))
    say("command", one.command(b"ruok"))
    inside = KazooClient(hosts=sys.argv[1] + "/chroot", timeout=SESSION)
    inside.start(PATIENCE)
    say("chroot", inside.ensure_path("/"), inside.create("/a"), one.get_children("/chroot"))
    inside.stop()


def main():
    clients = [KazooClient(hosts=sys.argv[1], timeout=SESSION) for _ in range(CLIENTS)]
    for client in clients:
        client.start(PATIENCE)
    checks = (own_nodes, nodes, quota, locks, semaphore, election, barriers, queues, counters, parties, partitioner)
    for check in (*checks, watches, leases):
        print("==", check.__name__, flush=True)
        check(clients)
    for client in clients:
        client.stop()
    sys.stdout.flush()
    os._exit(0)


main()
