"""Lower bounds never pass a row that may still appear, and do move when nothing is in the way."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.eventlog.lower_bounds import LowerBounds, Observation
from tidegate.kernel.ids import new_id

TENANT = new_id()
SLOT = 5


class Server:
    """Just enough of a database: transaction ids, a sequence that logs ahead, a crash."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.next_xid = 100
        self.last_ended = 99
        """Largest id of a transaction that is over."""
        self.running: dict[int, list[int]] = {}
        self.visible: set[int] = set()
        self.last_seq = 0
        self.lsn = self.flushed = 0
        self.logged_up_to = self.durable_up_to = 0
        self.durable_xid = self.next_xid
        self.crashes = 0

    def begin(self) -> None:
        self.running[self.next_xid] = []
        self.next_xid += 1

    def insert(self) -> None:
        if not self.running:
            return
        self.last_seq += 1
        if self.last_seq > self.logged_up_to:
            self.logged_up_to = self.last_seq + 31
        self.lsn += 10
        self.running[self.rng.choice(list(self.running))].append(self.last_seq)

    def commit(self) -> None:
        if self.running:
            self.flush()
            self.visible.update(self._end())

    def abort(self) -> None:
        if self.running:
            self._end()

    def _end(self) -> list[int]:
        xid = self.rng.choice(list(self.running))
        self.last_ended = max(self.last_ended, xid)
        return self.running.pop(xid)

    def flush(self) -> None:
        self.flushed = self.lsn
        self.durable_up_to = self.logged_up_to
        self.durable_xid = self.next_xid

    def crash(self) -> None:
        """Running transactions and processes vanish; the sequence and the ids go on behind what was logged and flushed."""
        self.crashes += 1
        self.running.clear()
        self.next_xid = self.durable_xid
        self.last_ended = self.next_xid - 1
        self.last_seq = max(self.durable_up_to, max(self.visible, default=0))
        self.logged_up_to = self.durable_up_to
        self.lsn = self.flushed

    def observe(self, between: str, lowers: LowerBounds) -> Observation:
        """The two statements of a reader, with something happening between them.

        A snapshot looks no further than the last transaction that ended: those behind it count as running in any case.
        """
        last_seq, inserted = self.last_seq, self.lsn
        if between:
            getattr(self, between)()
        xmin = min((xid for xid in self.running if xid <= self.last_ended), default=self.last_ended + 1)
        later_xid = None
        if lowers.wants_xid(last_seq):
            later_xid = self.last_ended = self.next_xid
            self.next_xid += 1
        backend = 10 * self.crashes + self.rng.randrange(2)
        return Observation("server", backend, last_seq, xmin, later_xid, inserted, self.flushed)


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 2**32), st.integers(20, 200))
def test_no_row_appears_below_a_bound(seed: int, steps: int) -> None:
    rng = random.Random(seed)
    server, lowers = Server(rng), LowerBounds()
    steps_of = ["begin", "insert", "insert", "commit", "commit", "abort", "flush", "observe", "read", "finish"]
    for _ in range(steps):
        step = rng.choice(steps_of) if rng.random() > 0.02 else "crash"
        if step == "observe":
            lowers.observe(server.observe(rng.choice(["", "begin", "insert", "commit"]), lowers))
        elif step == "read":
            settled = lowers.settled
            lower = lowers.lower(TENANT, [SLOT])[0]
            assert all(seq > lower for seq in server.visible), "a waiting row is below the bound"
            first = {SLOT: min(server.visible)} if server.visible else {}
            lowers.note_read(TENANT, [SLOT], first, settled, whole=rng.random() < 0.5)
        elif step == "finish":
            if server.visible:
                server.visible.remove(rng.choice(list(server.visible)))
        else:
            getattr(server, step)()


def test_a_bound_moves_up_to_what_is_finished() -> None:
    server, lowers = Server(random.Random(1)), LowerBounds()
    server.begin()
    for _ in range(10):
        server.insert()
    server.commit()
    for _ in range(3):  # two of them by one of the two processes
        lowers.observe(server.observe("", lowers))
    assert lowers.settled == 10

    lowers.note_read(TENANT, [SLOT], {SLOT: 4}, 10, whole=True)
    assert lowers.lower(TENANT, [SLOT, 6]) == [3, 0]
    lowers.note_read(TENANT, [SLOT, 6], {}, 10, whole=False)
    assert lowers.lower(TENANT, [SLOT, 6]) == [3, 0]
    lowers.note_read(TENANT, [SLOT, 6], {}, 10, whole=True)
    assert lowers.lower(TENANT, [SLOT, 6]) == [10, 10]


def test_a_running_transaction_holds_the_bound_back() -> None:
    server, lowers = Server(random.Random(1)), LowerBounds()
    server.begin()
    server.insert()
    for _ in range(5):
        lowers.observe(server.observe("", lowers))
    assert lowers.settled == 0

    server.commit()
    lowers.observe(server.observe("", lowers))
    assert lowers.settled == 1


def test_a_transaction_behind_the_last_one_that_ended_holds_the_bound_back() -> None:
    """Nothing ended since it began: a snapshot names it as its xmin and as its xmax."""
    lowers = LowerBounds()
    for later_xid in (101, 102, 103):
        lowers.observe(Observation("one", 7, last_seq=1, xmin=100, later_xid=later_xid, inserted_lsn=5, flushed_lsn=5))
    assert lowers.settled == 0, "transaction 100 took number 1 and still runs"

    lowers.observe(Observation("one", 7, last_seq=1, xmin=104, later_xid=104, inserted_lsn=5, flushed_lsn=5))
    assert lowers.settled == 1
    assert not lowers.wants_xid(1), "while nothing comes, no transaction ids are used up"


def test_another_server_begins_anew() -> None:
    lowers = LowerBounds()
    for _ in range(2):
        lowers.observe(Observation("one", 7, 50, 10, 10, 5, 5))
    lowers.note_read(TENANT, [SLOT], {}, 50, whole=True)
    assert lowers.lower(TENANT, [SLOT]) == [50]

    lowers.observe(Observation("two", 7, 3, 10, 10, 5, 5))

    assert (lowers.settled, lowers.lower(TENANT, [SLOT])) == (0, [0])


def test_numbers_that_a_crash_hands_out_again_are_not_settled() -> None:
    server, lowers = Server(random.Random(1)), LowerBounds()
    server.begin()
    server.insert()
    server.abort()
    for _ in range(3):
        lowers.observe(server.observe("", lowers))
    assert lowers.settled == 0, "nobody has written down that 1 was used"

    server.crash()
    server.begin()
    server.insert()
    server.commit()
    lowers.note_read(TENANT, [SLOT], {}, lowers.settled, whole=True)

    assert server.visible == {1}
    assert lowers.lower(TENANT, [SLOT]) == [0]


def test_what_was_seen_before_a_crash_settles_nothing_after_it() -> None:
    """The log and the numbers go on from an earlier point, and the server was not started anew: its processes were."""
    lowers = LowerBounds()
    lowers.observe(Observation("one", 7, last_seq=1, xmin=10, later_xid=11, inserted_lsn=10, flushed_lsn=0))

    lowers.observe(Observation("one", 8, last_seq=0, xmin=11, later_xid=12, inserted_lsn=10, flushed_lsn=10))
    assert lowers.settled == 0, "number 1 was lost with the log, and is given out again"

    lowers.observe(Observation("one", 8, last_seq=1, xmin=12, later_xid=13, inserted_lsn=20, flushed_lsn=10))
    assert lowers.settled == 0, "nothing had been given out when this process looked first"
