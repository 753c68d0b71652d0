"""kazoo as a party that others contend with: kazoo_peer.py HOST:PORT.

The protocol, the words and the places are those of CuratorPeer.java, where they are explained. These
commands are here, in kazoo's own layouts:

Locks. The commands on one NAME are carried out in order.
  mutex|write|read acquire NAME PATH            Lock, WriteLock, ReadLock
  mutex|write|read try NAME PATH TIME
  mutex|write|read release NAME
  double enter NAME PATH COUNT                  DoubleBarrier
  double leave NAME

Full speed.
  loop mutex|write|read PATH ROUNDS PLACE
  loop sharedcount|counter PATH ROUNDS

Elections: Election.
  election start NAME PATH ID
  election await NAME
  election leads NAME
  election participants NAME                    the first is the leader, and has the star
  election close NAME

Values: "counter" is Counter, "sharedcount" is Counter with support_curator.
  sharedcount|counter get PATH | add PATH NUMBER

Barriers: Barrier.
  barrier set PATH | remove PATH | wait PATH [TIME]

Queues: Queue, which has priorities; 100 is the usual one.
  queue put PATH BYTES [PRIORITY]
  queue take PATH COUNT
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from kazoo.client import KazooClient
from kazoo.exceptions import LockTimeout

SESSION = 40.0  # seconds; so long that no slow machine ends it
WHO = f"kazoo-{os.getpid()}"


class Violation(Exception):
    pass


def got(yes):
    return "ok" if yes else "no"


def decoded(word):
    return b"" if word == "-" else bytes.fromhex(word)


def encoded(data):
    return data.hex() or "-"


def seconds(time):
    return int(time) / 1000


class Candidate:
    """Leads until it is closed."""

    def __init__(self, client, path, name):
        self.election = client.Election(path, name)
        self.leads = threading.Event()
        self.closes = threading.Event()
        self.thread = threading.Thread(target=self.election.run, args=(self.lead,), daemon=True)
        self.thread.start()

    def lead(self):
        self.leads.set()
        self.closes.wait()
        self.leads.clear()

    def close(self):
        self.closes.set()
        self.election.cancel()
        self.thread.join()


class Peer:
    def __init__(self, client):
        self.client = client
        self.threads = {}
        self.locks = {}
        self.double_barriers = {}
        self.candidates = {}
        self.queues = {}
        self.printing = threading.Lock()
        self.kinds = {
            "mutex": lambda *command: self.lock(client.Lock, *command),
            "write": lambda *command: self.lock(client.WriteLock, *command),
            "read": lambda *command: self.lock(client.ReadLock, *command),
            "double": self.double_barrier,
            "loop": self.loop,
            "election": self.election,
            "counter": lambda *command: self.counter(False, *command),
            "sharedcount": lambda *command: self.counter(True, *command),
            "barrier": self.barrier,
            "queue": self.queue,
        }

    def serve(self):
        for line in sys.stdin:
            number, *command = line.split()
            if command == ["quit"]:
                self.say(number, "ok")
                return
            if command[0] in ("mutex", "write", "read", "double"):
                name = command[2]
                if name not in self.threads:
                    self.threads[name] = ThreadPoolExecutor(1)
                self.threads[name].submit(self.answer, number, command)
            else:
                threading.Thread(target=self.answer, args=(number, command), daemon=True).start()

    def answer(self, number, command):
        kind, *rest = command
        try:
            answer = self.kinds[kind](*rest)
        except Violation as violation:
            answer = f"violation {violation}"
        except Exception as error:
            answer = f"error {error!r}".replace("\n", " ")
        self.say(number, answer)

    def say(self, number, answer):
        with self.printing:
            print(number, answer, flush=True)

    # Locks.

    def lock(self, kind, verb, name, path=None, time=None):
        key = (kind, name)
        if verb == "release":
            return got(self.locks.pop(key).release())
        lock = self.locks.setdefault(key, kind(path, name))
        if verb == "acquire":
            return got(lock.acquire())
        if verb != "try":
            raise ValueError(verb)
        try:
            return got(lock.acquire(timeout=seconds(time)))
        except LockTimeout:
            del self.locks[key]
            return "no"

    def double_barrier(self, verb, name, path=None, count=None):
        if verb == "enter":
            barrier = self.double_barriers[name] = self.client.DoubleBarrier(path, int(count), name)
            barrier.enter()
            return got(barrier.participating)
        if verb == "leave":
            self.double_barriers.pop(name).leave()
            return "ok"
        raise ValueError(verb)

    # Full speed.

    def loop(self, kind, path, rounds, place=None):
        if kind in ("counter", "sharedcount"):
            counter = self.client.Counter(path, support_curator=kind == "sharedcount")
            for _ in range(int(rounds)):
                counter += 1
            return "ok"
        make = {"mutex": self.client.Lock, "write": self.client.WriteLock, "read": self.client.ReadLock}[kind]
        company = 0
        lock = make(path)
        for _ in range(int(rounds)):
            with lock:
                company += self.visit(place, kind != "read")
        return f"ok {company}"

    def visit(self, place, alone):
        kind = "/alone-" if alone else "/shared-"
        own = self.client.create(place + kind, ephemeral=True, sequence=True)
        try:
            inside = self.client.get_children(place)
            intruded = any(name.startswith("alone-") for name in inside)
            if len(inside) > 1 if alone else intruded:
                raise Violation(f"{own} among {inside}")
            before = self.client.get(place)[0]
            if alone:
                visits, turns, last = before.decode().split()
                turns = int(turns) + (last != WHO)
                self.client.set(place, f"{int(visits) + 1} {turns} {WHO}".encode())
            else:
                after = self.client.get(place)[0]
                if before != after:
                    raise Violation(f"{own} read {before} and then {after}")
            return len(inside) > 1
        finally:
            self.client.delete(own)

    # Elections.

    def election(self, verb, name, path=None, id=None):
        if verb == "start":
            self.candidates[name] = Candidate(self.client, path, id)
            return "ok"
        candidate = self.candidates[name]
        if verb == "await":
            candidate.leads.wait()
        elif verb == "leads":
            return "yes" if candidate.leads.is_set() else "no"
        elif verb == "participants":
            # The first line of each: herdless has a second, the attempt's number.
            ids = [id.partition("\n")[0] or "-" for id in candidate.election.contenders()]
            return "*" + " ".join(ids) if ids else "none"
        elif verb == "close":
            candidate.close()
        else:
            raise ValueError(verb)
        return "ok"

    # Values.

    def counter(self, as_curator, verb, path, number=None):
        counter = self.client.Counter(path, support_curator=as_curator)
        if verb == "get":
            return str(counter.value)
        if verb == "add":
            counter += int(number)
            return str(counter.post_value)
        raise ValueError(verb)

    # Barriers.

    def barrier(self, verb, path, time=None):
        barrier = self.client.Barrier(path)
        if verb == "set":
            barrier.create()
            return "ok"
        if verb == "remove":
            return got(barrier.remove())
        if verb == "wait":
            return got(barrier.wait(seconds(time) if time else None))
        raise ValueError(verb)

    # Queues.

    def queue(self, verb, path, word, priority="100"):
        queue = self.queues.setdefault(path, self.client.Queue(path))
        if verb == "put":
            queue.put(decoded(word), int(priority))
            return "ok"
        if verb != "take":
            raise ValueError(verb)
        items = []
        while len(items) < int(word):
            item = queue.get()
            if item is None:
                # There is no way to wait for one.
                threading.Event().wait(0.005)
            else:
                items.append(encoded(item))
        return " ".join(items)


def main():
    client = KazooClient(hosts=sys.argv[1], timeout=SESSION)
    client.start(SESSION)
    Peer(client).serve()
    client.stop()
    # Threads that wait for ever do not matter any more.
    os._exit(0)


main()
