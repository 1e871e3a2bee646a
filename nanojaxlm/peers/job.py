"""The processes of one job watch each other: who is dead, silent or stuck ends the job, by name.

Process 0 listens; every other process keeps a connection to it, and says four times a second where
its main thread is. A collective waits forever for a process that is gone, so the watch ends the
whole job: each process prints one line that names the culprit, and exits with 75 (worth retrying).

    dead     its connection closes                              at once
    silent   no word, though the connection stands              silence_seconds
    stuck    behind all others, and its main thread stands      stall_seconds; patience_seconds in
             still                                              the first step and beside steps

The same connections serve to call the roll, to compare clocks and to gather small values, before
any device is asked, and to agree after which step to stop. Lines of JSON over TCP, unencrypted and
unauthenticated, as is jax's own coordinator: the network between the hosts has to be a private one.
"""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn

from nanojaxlm.errors import EXIT_MISTAKE, EXIT_RETRY, RetryableError, UserError
from nanojaxlm.peers.ledger import Ledger, Limits, Whereabouts, Who
from nanojaxlm.peers.line import Line
from nanojaxlm.peers.stopping import Agreement, Stopping

_PROTOCOL = "nanojaxlm peers 1"
_BEAT_SECONDS = 0.25
_EXIT_SECONDS = 3.0
_OWN_SECONDS = 0.5
AGAIN = "run the same command again to go on from the last checkpoint"


class Peers:
    """This process's tie to the others of its job; alone, every call is a no-op.

    Made by `meet`, or `ALONE`. All methods are for the main thread.
    """

    def __init__(self, index: int, count: int, limits: Limits):
        self.index, self.count = index, count
        self.who = {index: Who(index, socket.gethostname(), os.getpid())}
        self.clock_skew = 0.0  # seconds that this host's clock is ahead of process 0's
        self._limits = limits
        self._me = Whereabouts(limit=limits.patience, since=time.monotonic())
        self._steps = 0
        self._lines: dict[int, Line] = {}  # to all others from 0, to 0 from the others
        self._gathering: dict[int, Any] = {}  # what came for the round under way, by process
        self._gathered: list[Any] | None = None
        self._stopping = Stopping()
        self._changed = threading.Condition()
        self._ending = threading.Lock()
        self._closing = False

    def step(self, number: int) -> None:
        """To be called right before each training step."""
        self._steps += 1
        first = self._steps == 1  # it compiles
        self.at(f"step {number}", self._limits.patience if first else self._limits.stall)

    def at(self, place: str, seconds: float | None = None) -> None:
        """To be called before other work that may take long: "validation", "a checkpoint", ….

        seconds: how long it may take at most; None = the limits' patience.
        """
        limit = self._limits.patience if seconds is None else seconds
        self._me = Whereabouts(self._me.mark + 1, place, limit, time.monotonic())

    def stop(self, step: int, reason: str | None) -> str | None:
        """To be called after each step: why all processes stop after it; None while they go on.

        reason: why this one was asked to, or None. All stop after the same step, perhaps later.
        """
        if reason and self.count > 1:
            self._ask_to_stop(reason)
        return reason if self.count == 1 else self._stopping.reached(step)

    def gather(self, value: Any) -> list[Any]:
        """One JSON value of each process, by index, in all processes; so a barrier too."""
        return self._exchange(value, last=False)

    def fail(self, error: str, code: int) -> NoReturn:
        """Ends all processes, this one with its own error; the others say whose it was."""
        told = f"{self.who[self.index]} failed: {error}; all {self.count} processes end"
        self._end(error, code, told)

    def close(self) -> None:
        """Waits until every process is at its end, so that none takes another's end for death."""
        if self.count > 1:
            self.at("the end")
            self._exchange(None, last=True)

    # the threads

    def _ask_to_stop(self, reason: str) -> None:
        self._lines[0].send({"stop": reason})

    def _exchange(self, value: Any, last: bool) -> list[Any]:
        if self.count == 1:
            return [value]
        if self.index == 0:
            self._arrive(0, value, last)
        else:
            self._lines[0].send({"gather": value, "last": last})
        with self._changed:
            self._changed.wait_for(lambda: self._gathered is not None)
            values, self._gathered = self._gathered, None
        assert values is not None
        return values

    def _arrive(self, index: int, value: Any, last: bool) -> None:
        """In process 0: a value for the round under way; the last one to come closes it."""
        with self._changed:
            self._gathering[index] = value
            if len(self._gathering) < self.count:
                return
            values = [self._gathering.pop(i) for i in range(self.count)]
            self._closing = last
            for line in self._lines.values():
                line.send({"gathered": values, "last": last})
            self._gathered = values
            self._changed.notify_all()

    def _end(self, error: str, code: int, told: str | None = None) -> NoReturn:
        """Ends this process; from process 0, or where `told` is given, the others too."""
        if not self._ending.acquire(blocking=False):
            threading.Event().wait()  # another thread is ending the process
        if told or self.index == 0:
            self._tell(told or error, code)
        threading.Timer(_EXIT_SECONDS, os._exit, [code]).start()  # should a stream be blocked
        with contextlib.suppress(OSError, ValueError):
            os.write(2, f"error: {error}\n".encode())
            sys.stdout.flush()
        os._exit(code)

    def _told(self, message: dict[str, Any]) -> NoReturn:
        """Ends this process as another says; its own error, where all have the same, goes first."""
        time.sleep(_OWN_SECONDS)
        self._end(message["end"], message["code"])

    def _tell(self, error: str, code: int) -> None:
        """That the job ends: from process 0 to all, from another to process 0."""
        for line in list(self._lines.values()):
            line.send({"end": error, "code": code})
        time.sleep(0.2)  # for it to leave before the process does

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        threading.Thread(target=target, args=arguments, name="peers", daemon=True).start()


ALONE = Peers(0, 1, Limits())


def meet(address: str, index: int, count: int, limits: Limits) -> Peers:
    """Calls the roll: returns once all processes have come to `address`, HOST:PORT of process 0.

    Raises:
        UserError: the name does not resolve, the port is taken, or two processes disagree on how
            many they are or which of them is which.
        RetryableError: process 0 is out of reach, or others did not come within limits.start.
    """
    if count == 1:
        return ALONE
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return (
        _Host(count, limits, host, int(port))
        if index == 0
        else _Guest(index, count, limits, host, int(port))
    )


class _Host(Peers):
    """Process 0: listens, judges and passes on."""

    def __init__(self, count: int, limits: Limits, host: str, port: int):
        super().__init__(0, count, limits)
        self._ledger = Ledger(limits, count, self.who)
        self._agreement = Agreement(count)
        local = host == "localhost" or host.startswith("127.")
        try:
            if local or not socket.has_dualstack_ipv6():
                self._server = socket.create_server(("127.0.0.1" if local else "", port))
            else:
                self._server = socket.create_server(
                    ("", port), family=socket.AF_INET6, dualstack_ipv6=True
                )
        except OSError as error:
            raise UserError(
                f"process 0 cannot listen on port {port} of {self.who[0].host} ({error.strerror}): "
                f"name a coordinator whose port and the one below it are free"
            ) from None
        self._refused: str | None = None
        self._start(self._accept)
        with self._changed:
            came = self._changed.wait_for(
                lambda: len(self._lines) == count - 1 or self._refused, limits.start
            )
        refused, code = self._refused, EXIT_MISTAKE
        if not came:
            missing = sorted(set(range(count)) - set(self.who))
            names = f"process{'es' if len(missing) > 1 else ''} {', '.join(map(str, missing))}"
            refused = (
                f"{names} of {count} did not come to {host}:{port} within {limits.start:.0f} s; "
                "see what they say, and start all again"
            )
            code = EXIT_RETRY
        if refused:
            self._closing = True
            self._tell(refused, code)
            raise (UserError if code == EXIT_MISTAKE else RetryableError)(refused)
        now = time.monotonic()
        self._ledger.where = {i: Whereabouts(since=now, heard=now) for i in range(count)}
        who = [[w.index, w.host, w.pid] for _, w in sorted(self.who.items())]
        for line in self._lines.values():
            line.send({"welcome": who})
        self._start(self._judge)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
                self._start(self._listen, Line(connection, self._limits.silence))
            except OSError:  # it is gone again, or this process has too many files open
                time.sleep(_BEAT_SECONDS)

    def _ask_to_stop(self, reason: str) -> None:
        if self._agreement.begin():
            for line in self._lines.values():
                line.send({"hold": reason})
            self._settle(0, self._stopping.hold(reason))

    def _settle(self, index: int, passed: int) -> None:
        last = self._agreement.last(index, passed)
        if last is not None:
            for line in self._lines.values():
                line.send({"last": last})
            self._stopping.settle(last)

    def _listen(self, line: Line) -> None:
        messages = iter(line)
        match next(messages, None):
            case {"hello": str(protocol), "index": int(index), "count": int(count),
                  "host": str(host), "pid": int(pid)} if protocol == _PROTOCOL:  # fmt: skip
                guest = Who(index, host, pid)
            case _:  # a stranger
                line.close()
                return
        with self._changed:
            if self._ledger.where:  # restarted alone, or of another job
                line.send({"end": f"{guest} comes too late: the job has begun", "code": EXIT_RETRY})
                return
            if count != self.count:
                self._refused = (
                    f"{guest} was started as one of {count} processes, {self.who[0]} as one of "
                    f"{self.count}: give all the same number"
                )
            elif guest.index in self.who:
                self._refused = (
                    f"{guest} and {self.who[guest.index]} are the same process by number: give "
                    "each its own, 0 to the number of processes less one"
                )
            else:
                self.who[guest.index] = guest
            self._lines[guest.index if self._refused is None else -len(self._lines) - 1] = line
            self._changed.notify_all()
        for message in messages:
            self._hear(guest, line, message)
        if not self._closing:
            where = self._ledger.where.get(guest.index, Whereabouts())
            self._end(
                f"{guest} is dead: it left without a word, last heard of at {where.place}; "
                f"all {self.count} processes end; {AGAIN}",
                EXIT_RETRY,
            )

    def _hear(self, guest: Who, line: Line, message: dict[str, Any]) -> None:
        now = time.monotonic()
        where = self._ledger.where.get(guest.index, Whereabouts(since=now))
        if "beat" in message:
            mark, place, limit, still = message["beat"]
            where = Whereabouts(mark, place, limit, now - still)
            line.send({"clock": [message["clock"], time.time()]})
        elif "gather" in message:
            self._arrive(guest.index, message["gather"], message["last"])
        elif "stop" in message:
            self._ask_to_stop(message["stop"])
        elif "passed" in message:
            self._settle(guest.index, message["passed"])
        elif "end" in message:
            self._told(message)
        where.heard = now
        if self._ledger.where:
            self._ledger.where[guest.index] = where

    def _judge(self) -> None:
        beat = min(_BEAT_SECONDS, self._limits.silence / 5)
        last = time.monotonic()
        while not self._closing:
            time.sleep(beat)
            now = time.monotonic()
            slept, last = now - last - beat, now  # a stopped or busy machine hears nothing
            for where in list(self._ledger.where.values()):
                where.heard = min(now, where.heard + slept)
            me = self._me
            self._ledger.where[0] = Whereabouts(me.mark, me.place, me.limit, me.since, now)
            verdict = self._ledger.verdict(now)
            if verdict is not None:
                self._end(f"{verdict}; all {self.count} processes end; {AGAIN}", EXIT_RETRY)


class _Guest(Peers):
    """Any other process: says where it is, and watches process 0."""

    def __init__(self, index: int, count: int, limits: Limits, host: str, port: int):
        super().__init__(index, count, limits)
        self._lines[0] = line = Line(self._connect(host, port), limits.silence)
        me = self.who[index]
        line.send(
            {"hello": _PROTOCOL, "index": index, "count": count, "host": me.host, "pid": me.pid}
        )
        self._heard = time.monotonic()
        self._best = float("inf")  # the shortest round trip so far, whose clock is the truest
        self._welcome = False
        self._start(self._listen, line)
        with self._changed:  # process 0 says so if others do not come in time
            self._changed.wait_for(lambda: self._welcome, limits.start + limits.silence)
        if not self._welcome:
            raise RetryableError(f"{me}: process 0 at {host}:{port} took no notice; {AGAIN}")
        self._start(self._beat, line)

    def _connect(self, host: str, port: int) -> socket.socket:
        """A connection to process 0, which may start later than this process."""
        me, deadline = self.who[self.index], time.monotonic() + self._limits.start
        while True:
            try:
                return socket.create_connection((host, port), timeout=self._limits.silence)
            except OSError as error:
                reason = error
            if time.monotonic() > deadline:
                break
            time.sleep(0.2)
        waited = f"for {self._limits.start:.0f} s ({reason.strerror or reason})"
        if isinstance(reason, socket.gaierror):
            raise UserError(
                f"{me}: the coordinator's name {host!r} did not resolve {waited}: name process "
                "0's host as this host knows it"
            )
        raise RetryableError(
            f"{me}: the coordinator at {host}:{port} was out of reach {waited}: is process 0 "
            "running, and is the port open between the hosts?"
        )

    def _listen(self, line: Line) -> None:
        for message in line:
            self._heard = time.monotonic()
            if "clock" in message:
                (sent, theirs), now = message["clock"], time.time()
                if now - sent < self._best:
                    self._best, self.clock_skew = now - sent, (sent + now) / 2 - theirs
            elif "gathered" in message:
                with self._changed:
                    self._closing = message["last"]
                    self._gathered = message["gathered"]
                    self._changed.notify_all()
            elif "welcome" in message:
                with self._changed:
                    self.who = {index: Who(index, *rest) for index, *rest in message["welcome"]}
                    self._welcome = True
                    self._changed.notify_all()
            elif "hold" in message:
                line.send({"passed": self._stopping.hold(message["hold"])})
            elif "last" in message:
                self._stopping.settle(message["last"])
            elif "end" in message:
                self._told(message)
        if not self._closing:
            self._lost("is dead: it left without a word")

    def _beat(self, line: Line) -> None:
        beat = min(_BEAT_SECONDS, self._limits.silence / 5)
        last = time.monotonic() - beat
        while not self._closing:
            me, now = self._me, time.monotonic()
            slept, last = now - last - beat, now  # a stopped or busy machine hears nothing
            self._heard = min(now, self._heard + slept)
            still = now - me.since
            line.send({"beat": [me.mark, me.place, me.limit, still], "clock": time.time()})
            if now - self._heard > self._limits.silence and not self._closing:
                self._lost(f"is silent for {now - self._heard:.0f} s")
            time.sleep(beat)

    def _lost(self, how: str) -> NoReturn:
        host = self.who.get(0, "process 0")
        self._end(f"{host} {how}; this process ends at {self._me.place}; {AGAIN}", EXIT_RETRY)
