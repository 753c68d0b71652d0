"""The scenarios of the recipes other than the lock."""

import collections
import contextlib
import os
import sys
import threading
import time

from kazoo.recipe.barrier import DoubleBarrier
from kazoo.recipe.election import Election
from kazoo.recipe.queue import LockingQueue, Queue
from measure import Baton, Stopwatch, connect, create_root


class Limit:
    """Ends the process if a phase does not end: some recipes can wait for ever.

    `done` tells how far the phase is; append is safe from all threads.
    """

    def __init__(self, settings, what, wanted, seconds=120):
        self.seconds = settings.get("limit", seconds)
        self.what = what
        self.wanted = wanted
        self.done = collections.deque()
        self.timer = threading.Timer(self.seconds, self.stop)
        self.timer.daemon = True

    def stop(self):
        done = f"{len(self.done)} of {self.wanted} {self.what}"
        print(f"stopped after {self.seconds} s, with {done}", file=sys.stderr, flush=True)
        os._exit(1)

    def __enter__(self):
        self.timer.start()
        return self.done

    def __exit__(self, *failure):
        self.timer.cancel()


@contextlib.contextmanager
def running(target, each):
    """A thread for each: they have ended when this has."""
    threads = [threading.Thread(target=target, args=(one,), daemon=True) for one in each]
    for thread in threads:
        thread.start()
    yield
    for thread in threads:
        thread.join()


def connect_all(settings, count):
    return [connect(settings) for _ in range(count)]


def await_children(client, path, wanted):
    while client.exists(path).children_count != wanted:
        time.sleep(0.01)  # seldom enough to weigh nothing in the time


def latch(settings):
    """kazoo has no latch: its election calls a function, and who returns has given the lead up."""
    rounds = settings.get("rounds", 50)
    baton = Baton(settings.get("warmup", 50), rounds)
    sessions = connect_all(settings, settings.get("p", 8))
    root = create_root(sessions[0])

    def lead():
        baton.grant()
        done.append(1)
        baton.released = time.perf_counter()

    def stand(session):
        election = Election(session, root)
        while baton.report is None:
            election.run(lead)

    with Limit(settings, "rounds", rounds) as done, running(stand, sessions):
        pass
    report = baton.report
    return {
        **report,
        "handover_p50_us": report["p50_us"],
        "handover_p99_us": report["p99_us"],
    }


def barrier(settings):
    p = settings.get("p", 16)
    rounds = settings.get("rounds", 30)
    sessions = connect_all(settings, p)
    root = create_root(sessions[0])
    for turn in range(rounds):
        # On one path, who is late in leaving would delete the next round's ready node.
        sessions[0].create(f"{root}/{turn}")

    def pass_all(session):
        for turn in range(rounds):
            double = DoubleBarrier(session, f"{root}/{turn}", p)
            double.enter()
            double.leave()
            done.append(1)

    with Limit(settings, "enters and leaves", rounds * p, 20) as done:
        watch = Stopwatch()
        with running(pass_all, sessions):
            pass
        return watch.stop(rounds)


def item(settings, number):
    return number.to_bytes(4, "big").ljust(settings.get("size", 100), b"x")


def queue(settings):
    n = settings.get("n", 3_000)
    producer, consumer = connect_all(settings, 2)
    root = create_root(producer)
    entries = Queue(producer, root)
    with Limit(settings, "puts", n) as done:
        watch = Stopwatch()
        for number in range(n):
            entries.put(item(settings, number))
            done.append(1)
        put = watch.stop(n)

    entries = Queue(consumer, root)
    with Limit(settings, "takes", n) as done:
        watch = Stopwatch()
        for _ in range(n):
            done.append(entries.get())
        take = watch.stop(n)
    if len(set(done)) != n or entries.get() is not None:
        raise RuntimeError("items were lost or duplicated")
    secs = put["secs"] + take["secs"]
    return {
        **take,
        "secs": round(secs, 6),
        "per_s": round(n / secs, 1),
        "cpu_s": round(put["cpu_s"] + take["cpu_s"], 6),
        "put_per_s": put["per_s"],
        "take_per_s": take["per_s"],
    }


def queue_ack(settings):
    n = settings.get("n", 2_000)
    control = connect(settings)
    root = create_root(control)
    entries = LockingQueue(control, root)
    for number in range(n):
        entries.put(item(settings, number))
    sessions = connect_all(settings, settings.get("consumers", 4))

    def consume(session):
        entries = LockingQueue(session, root)
        while (data := entries.get(timeout=1)) is not None:
            if entries.consume():
                done.append(data)

    with Limit(settings, "takes", n) as done, running(consume, sessions):
        watch = Stopwatch()
        await_children(control, f"{root}/entries", 0)
        report = watch.stop(n)
    times = collections.Counter(done)
    duplicated = sum(count > 1 for count in times.values())
    return {**report, "lost": n - len(times), "duplicated": duplicated}


def semaphore(settings):
    n = settings.get("n", 100)
    sessions = connect_all(settings, settings.get("p", 8))
    root = create_root(sessions[0])
    permits = settings.get("permits", 4)

    def contend(session):
        pool = session.Semaphore(f"{root}/pool", max_leases=permits)
        for _ in range(n):
            pool.acquire()
            pool.release()
            done.append(1)

    wanted = n * len(sessions)
    with Limit(settings, "permits", wanted) as done:
        watch = Stopwatch()
        with running(contend, sessions):
            pass
        report = watch.stop(wanted)
    return {**report, "permits_per_s": report["per_s"]}


def rwlock(settings):
    readers = settings.get("readers", 1_000)
    control = connect(settings)
    sessions = connect_all(settings, settings.get("sessions", 4))
    root = create_root(control)
    writer = control.WriteLock(root)
    writer.acquire()
    granted = threading.Event()

    def read(session):
        reader = session.ReadLock(root)
        reader.acquire()
        done.append(1)
        if len(done) == readers:
            granted.set()
        granted.wait()  # or releases would be measured as well
        reader.release()

    turns = [sessions[reader % len(sessions)] for reader in range(readers)]
    with Limit(settings, "readers", readers) as done, running(read, turns):
        await_children(control, root, readers + 1)
        time.sleep(1)  # the last ones still look who is before them
        watch = Stopwatch()
        writer.release()
        granted.wait()
        report = watch.stop(readers)
    return {
        **report,
        "all_ms": round(report["secs"] * 1e3, 3),
        "read_per_s": reads(settings, control)["per_s"],
    }


def reads(settings, client):
    n = settings.get("n", 3_000)
    reader = client.ReadLock(create_root(client))
    with Limit(settings, "reads", n) as done:
        watch = Stopwatch()
        for _ in range(n):
            reader.acquire()
            reader.release()
            done.append(1)
        return watch.stop(n)
