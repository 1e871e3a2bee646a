"""After which step all processes of a job stop, when one of them is asked to.

The step has to be one that none has passed and all will reach: a process that saves alone waits
forever for the others' parts. So process 0 bids all to hold at the end of their step and to tell
which step they passed last; the one after the furthest is the last for all. Each tells it from the
thread that listens, since its main thread may be within a step that waits for one that holds.

jax's preemption service agrees in the same way, but its call keeps Python's global lock while it
waits for the others, and so stops the relay (relay.py) by which their word would come.
"""

import threading


class Stopping:
    """One process's part in it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._passed = 0
        self._held = False
        self._last: int | None = None
        self._reason = ""

    def hold(self, reason: str) -> int:
        """From now on `reached` waits for `settle`; returns the step passed last, 0 if none."""
        with self._changed:
            self._held, self._reason = True, reason
            return self._passed

    def settle(self, last: int) -> None:
        """`last` is the step after which all stop."""
        with self._changed:
            self._held, self._last = False, last
            self._changed.notify_all()

    def reached(self, step: int) -> str | None:
        """At the end of a step: the reason to stop after it; None where there is none."""
        with self._changed:
            self._changed.wait_for(lambda: not self._held)
            if self._last is not None and step >= self._last:
                return self._reason
            self._passed = step
            return None


class Agreement:
    """Process 0's part in it: what those that hold have passed."""

    def __init__(self, count: int) -> None:
        self._lock = threading.Lock()
        self._count = count
        self._begun = False
        self._passed: dict[int, int] = {}

    def begin(self) -> bool:
        """Whether this is the first time: a job agrees once, though many be asked to stop."""
        with self._lock:
            begun, self._begun = self._begun, True
            return not begun

    def last(self, index: int, passed: int) -> int | None:
        """Takes down what process `index` passed; the last step, once all have told."""
        with self._lock:
            self._passed[index] = passed
            return max(self._passed.values()) + 1 if len(self._passed) == self._count else None
