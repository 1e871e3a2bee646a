"""Where every process of a job is, and whom to find at fault for keeping the others waiting."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long the watch waits, in seconds."""

    start: float = 300.0  # for all processes to come together
    silence: float = 30.0  # for a sign of life
    stall: float = 600.0  # for a main thread to move from one step to the next
    patience: float = 3600.0  # the same in the first step, which compiles, and beside steps


@dataclass(frozen=True)
class Who:
    """A process of the job."""

    index: int
    host: str
    pid: int

    def __str__(self) -> str:
        return f"process {self.index} (host {self.host}, pid {self.pid})"


@dataclass
class Whereabouts:
    """Where a main thread is. `mark` counts its moves, the same ones in every process."""

    mark: int = 0
    place: str = "the start"
    limit: float = 3600.0  # seconds that it may stand still here
    since: float = 0.0  # time.monotonic() of the last move
    heard: float = 0.0  # time.monotonic() of the last word


@dataclass
class Ledger:
    """What process 0 knows of all processes, and whom it finds at fault."""

    limits: Limits
    count: int
    who: dict[int, Who] = field(default_factory=dict)
    where: dict[int, Whereabouts] = field(default_factory=dict)

    def verdict(self, now: float) -> str | None:
        """One line about the process that keeps the others waiting; None while none does."""
        for index, where in self.where.items():
            silent = now - where.heard
            if index and silent > self.limits.silence:
                return (
                    f"{self.who[index]} is silent for {silent:.0f} s, last heard of at "
                    f"{where.place}"
                )
        if len(self.where) < self.count:
            return None
        lowest = min(where.mark for where in self.where.values())
        behind = {i: where for i, where in self.where.items() if where.mark == lowest}
        if any(now - where.since <= where.limit for where in behind.values()):
            return None
        still = min(now - where.since for where in behind.values())
        place = next(iter(behind.values())).place
        if len(behind) == self.count:
            return (
                f"all {self.count} processes stand still at {place} for {still:.0f} s, none of "
                "them behind: a device or the network between them hangs"
            )
        names = " and ".join(str(self.who[index]) for index in sorted(behind))
        ahead = max(self.where.values(), key=lambda where: where.mark).place
        verb = "is" if len(behind) == 1 else "are"
        return f"{names} {verb} stuck: at {place} for {still:.0f} s, while others wait at {ahead}"
