#!/usr/bin/env python3
"""Measures kazoo: kazoo_bench.py SCENARIO --connect HOST:PORT [key=value ...]

The scenarios are described in bench/README.md.
"""

import argparse
import collections
import json
import sys
import threading
import time

sys.dont_write_bytecode = True  # of the neighbours, into the repository

import recipes
from measure import Baton, Stopwatch, connect, create_root

KEYS = "n window c warmup p rounds size consumers permits readers sessions limit".split()


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
    for scenario in (
        get1,
        get,
        create_delete,
        lock_awaited,
        acquire_idle,
        contend,
        recipes.latch,
        recipes.barrier,
        recipes.queue,
        recipes.queue_ack,
        recipes.semaphore,
        recipes.rwlock,
    )
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
