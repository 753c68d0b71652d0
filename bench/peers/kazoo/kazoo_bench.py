#!/usr/bin/env python3
"""Measures kazoo: kazoo_bench.py SCENARIO --connect HOST:PORT [key=value ...]

The scenarios are described in bench/README.md.
"""

import argparse
import collections
import json
import threading
import time

from kazoo.client import KazooClient

KEYS = ("n", "window", "c", "warmup")


class Stopwatch:
    """Measures a phase on the wall clock and on the clock of this process' processor time."""

    def __init__(self):
        self.cpu = time.process_time()
        self.started = time.perf_counter()

    def stop(self, ops, latencies=None):
        """Latencies are left out where the time of one operation says nothing."""
        secs = time.perf_counter() - self.started
        cpu = time.process_time() - self.cpu
        latencies = sorted(latencies or [])

        def percentile(percent):
            if not latencies:
                return None
            return round(latencies[len(latencies) * percent // 100] * 1e6, 1)

        return {
            "ops": ops,
            "secs": round(secs, 6),
            "per_s": round(ops / secs, 1),
            "p50_us": percentile(50),
            "p99_us": percentile(99),
            "cpu_s": round(cpu, 6),
        }


class Baton:
    """Times the hand-overs of one lock, from just before a release to the next grant.

    The first `warmup` ones are not counted. Only the holder of the lock touches it.
    """

    def __init__(self, warmup, wanted):
        self.warmup = warmup
        self.wanted = wanted
        self.granted = 0
        self.released = 0.0
        self.latencies = []
        self.watch = None
        self.report = None

    def carry(self, lock):
        """Contends until no more hand-overs are wanted."""
        wanted = True
        while wanted:
            lock.acquire()
            self.grant()
            wanted = self.report is None
            self.released = time.perf_counter()
            lock.release()

    def grant(self):
        if self.granted == self.warmup:
            self.watch = Stopwatch()
        elif self.granted > self.warmup and self.report is None:
            self.latencies.append(time.perf_counter() - self.released)
            if len(self.latencies) == self.wanted:
                self.report = self.watch.stop(self.wanted, self.latencies)
        self.granted += 1


def connect(settings):
    client = KazooClient(hosts=settings["server"], timeout=30)
    client.start()
    return client


def create_root(client):
    """A fresh node with 100 bytes: what is read, or the parent of what is created and locked."""
    return client.create("/bench-", b"x" * 100, sequence=True)


def get1(settings):
    n = settings.get("n", 20_000)
    client = connect(settings)
    root = create_root(client)
    for _ in range(settings.get("warmup", 200)):
        client.get(root)
    latencies = []
    watch = Stopwatch()
    for _ in range(n):
        sent = time.perf_counter()
        client.get(root)
        latencies.append(time.perf_counter() - sent)
    return watch.stop(n, latencies)


def get(settings):
    n = settings.get("n", 400_000)
    window = settings.get("window", 256)
    client = connect(settings)
    root = create_root(client)
    for _ in range(settings.get("warmup", 200)):
        client.get(root)
    watch = Stopwatch()
    sent = collections.deque()  # answers come in order
    for _ in range(n):
        if len(sent) == window:
            sent.popleft().get()
        sent.append(client.get_async(root))
    for read in sent:
        read.get()
    return watch.stop(n)


def create_delete(settings):
    n = settings.get("n", 40_000)
    window = settings.get("window", 128)
    client = connect(settings)
    root = create_root(client)
    watch = Stopwatch()
    sent = collections.deque()
    for i in range(n):
        if len(sent) == window:
            created, deleted = sent.popleft()
            created.get()
            deleted.get()
        path = f"{root}/{i}"
        sent.append((client.create_async(path), client.delete_async(path)))
    for created, deleted in sent:
        created.get()
        deleted.get()
    return watch.stop(2 * n)


def warm_lock(settings):
    client = connect(settings)
    lock = client.Lock(create_root(client))
    for _ in range(settings.get("warmup", 200)):
        lock.acquire()
        lock.release()
    return lock


def lock_awaited(settings):
    n = settings.get("n", 3_000)
    lock = warm_lock(settings)
    latencies = []
    watch = Stopwatch()
    for _ in range(n):
        began = time.perf_counter()
        lock.acquire()
        lock.release()
        latencies.append(time.perf_counter() - began)
    return watch.stop(n, latencies)


def acquire_idle(settings):
    n = settings.get("n", 600)
    lock = warm_lock(settings)
    latencies = []
    watch = Stopwatch()
    for _ in range(n):
        began = time.perf_counter()
        lock.acquire()
        latencies.append(time.perf_counter() - began)
        lock.release()
        time.sleep(max(0.0, began + 0.002 - time.perf_counter()))
    return watch.stop(n, latencies)


def contend(settings):
    baton = Baton(settings.get("warmup", 200), settings.get("n", 3_000))
    sessions = [connect(settings) for _ in range(settings.get("c", 8))]
    root = create_root(sessions[0])
    threads = [
        threading.Thread(target=baton.carry, args=(session.Lock(root),)) for session in sessions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if baton.report is None:
        raise RuntimeError("the hand-overs ended early")
    return baton.report


SCENARIOS = {
    scenario.__name__: scenario
    for scenario in (get1, get, create_delete, lock_awaited, acquire_idle, contend)
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scenario", choices=SCENARIOS)
    parser.add_argument("--connect", required=True, metavar="HOST:PORT")
    parser.add_argument("settings", nargs="*", metavar="key=value", help=", ".join(KEYS))
    args = parser.parse_intermixed_args()
    settings = {"server": args.connect}
    for setting in args.settings:
        key, _, value = setting.partition("=")
        if key not in KEYS:
            parser.error(f"no such key: {key}")
        settings[key] = int(value)
    report = SCENARIOS[args.scenario](settings)
    line = {"peer": "kazoo", "scenario": args.scenario, **report}
    print(json.dumps(line, separators=(",", ":")))


if __name__ == "__main__":
    main()
