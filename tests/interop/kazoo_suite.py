"""kazoo's own tests, which come with it, on a server that is there already: kazoo_suite.py HOST:PORT PART PARTS

kazoo starts three ZooKeeper servers for its tests and stops them. Here each of the three is an entrance to the one
server: to stop it closes its connections and refuses others, and what it has is still there afterwards.

The tests are dealt out to so many PARTS, of which this runs one, from 0. Many of them give things a second or five, where a
busy machine may take longer: those that fail are run once more, alone, and have to pass then. The last line says how many
have passed, and how many of them the second time.
"""

import asyncio
import contextlib
import os
import sys
import threading

import pytest
from kazoo.testing import harness

# The reason why each of these is left out.
LEFT_OUT = {
    "test_client.py::TestSSLClient": "the entrances have no TLS",
    "test_client.py::TestReconfig": "reconfiguration is switched off, as by default in Apache ZooKeeper",
    "TestConnectionDrop::test_connection_dropped": "whether a write is answered before its connection drops is luck",
    "test_connection.py::TestReadOnlyMode": "an ensemble that has lost its quorum",
    "test_eventlet_handler.py": "how kazoo waits, with a package that need not be there",
    "test_gevent_handler.py": "how kazoo waits, with a package that need not be there",
    "test_sasl.py": "a server with accounts",
}


class Entrance:
    """Passes connections on to the server, while it runs."""

    def __init__(self, loop, target):
        self.loop = loop
        self.target = target
        self.port = 0
        self.listener = None
        self.passing = set()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    @property
    def client_port(self):
        return self.port

    @property
    def running(self):
        return self.listener is not None

    def run(self):
        asyncio.run_coroutine_threadsafe(self.open(), self.loop).result()

    def stop(self):
        asyncio.run_coroutine_threadsafe(self.close(), self.loop).result()

    async def open(self):
        if not self.running:
            self.listener = await asyncio.start_server(self.accepted, "127.0.0.1", self.port)
            self.port = self.listener.sockets[0].getsockname()[1]

    async def close(self):
        if self.running:
            self.listener.close()
            self.listener = None
        for task in self.passing:
            task.cancel()
        await asyncio.gather(*self.passing, return_exceptions=True)

    async def accepted(self, reader, writer):
        task = asyncio.current_task()
        self.passing.add(task)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self.pass_on(reader, writer)
        self.passing.discard(task)

    async def pass_on(self, reader, writer):
        host, port = self.target.rsplit(":", 1)
        behind, ahead = await asyncio.open_connection(host, int(port))
        copies = [asyncio.create_task(copy(reader, ahead)), asyncio.create_task(copy(behind, writer))]
        try:
            await asyncio.wait(copies, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in copies:
                task.cancel()
            writer.transport.abort()
            ahead.transport.abort()


async def copy(reader, writer):
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        # All that was sent is to arrive before the end is seen.
        writer.write_eof()
        await writer.drain()


class Entrances(list):
    """What kazoo takes for its cluster."""

    def start(self):
        for entrance in self:
            entrance.run()

    def stop(self):
        for entrance in self:
            entrance.stop()

    # The class that comes next finds everything as it was.
    def terminate(self):
        pass

    def get_logs(self):
        return []


class Run:
    """Runs the tests that are asked for, without those that are left out."""

    def __init__(self, is_asked_for):
        self.is_asked_for = is_asked_for
        self.passed = set()
        self.failed = set()

    def pytest_collection_modifyitems(self, items):
        for name in LEFT_OUT:
            assert any(name in item.nodeid for item in items), f"kazoo has no {name} any more"
        kept = [item for item in items if not any(name in item.nodeid for name in LEFT_OUT)]
        items[:] = [item for number, item in enumerate(kept) if self.is_asked_for(number, item.nodeid)]

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.passed and report.when == "call":
            self.passed.add(report.nodeid)

    def run(self):
        options = ["-q", "-p", "no:cacheprovider", "-p", "no:logging", "--no-header", "-W", "ignore"]
        code = pytest.main(["--pyargs", "kazoo.tests", *options], [self])
        # Anything else is no outcome of a test.
        if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
            sys.exit(int(code))
        return self


def main():
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    address, part, parts = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    entrances = Entrances(Entrance(loop, address) for _ in range(3))
    entrances.start()
    harness.get_global_cluster = lambda: entrances
    first = Run(lambda number, name: number % parts == part).run()
    passed, again = first.passed - first.failed, set()
    if first.failed:
        second = Run(lambda number, name: name in first.failed).run()
        again = second.passed - second.failed
        if again != first.failed:
            sys.exit(1)
    print(len(passed) + len(again), "passed,", len(again), "of them the second time", *sorted(again))
    sys.stdout.flush()
    # Without waiting for threads that tests have left behind.
    os._exit(0)


main()
