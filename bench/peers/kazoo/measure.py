"""What all scenarios use: clocks, connections and fresh nodes."""

import time

from kazoo.client import KazooClient


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
