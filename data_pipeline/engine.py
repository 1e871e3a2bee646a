"""Daft, silent and offline: the only module that imports daft, so that its switches come first.

Daft reports its import and its runner to two servers unless told not to (daft/scarf_telemetry.py),
and draws a progress bar over our own; both are switched off here, before its import.

`Tasks` spreads functions over worker processes by a Daft plan, which runs in this machine's
processes or, unchanged, on a Ray cluster; `evaluate` runs Daft's expressions on Arrow data.
"""

import os
import pickle
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
os.environ["SCARF_NO_ANALYTICS"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DAFT_PROGRESS_BAR"] = "0"

import daft
import pyarrow as pa
from daft import DataFrame, DataType, Expression, Series, col, lit
from daft.exceptions import DaftCoreException, DaftTransientError
from daft.recordbatch import MicroPartition

__all__ = [
    "DaftCoreException",
    "DaftTransientError",
    "DataFrame",
    "DataType",
    "Expression",
    "Series",
    "Tasks",
    "col",
    "daft",
    "evaluate",
    "lit",
]

Item, Result = TypeVar("Item"), TypeVar("Result")


def evaluate(table: pa.RecordBatch | pa.Table, *expressions: Expression) -> pa.Table:
    """A table of the expressions' values, a column each, computed by Daft in this thread."""
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    found = MicroPartition.from_arrow(table).eval_expression_list(list(expressions))
    return found.to_arrow()


def _attempt(function: Callable[[Any], Any], item: bytes) -> bytes:
    try:
        return pickle.dumps((True, function(pickle.loads(item))))
    except Exception as error:
        error.add_note("in a worker process:\n" + traceback.format_exc())
        try:
            failure = pickle.dumps((False, error))
            pickle.loads(failure)  # an exception with arguments of its own may not come back
            return failure
        except Exception:
            return pickle.dumps((False, RuntimeError(traceback.format_exc())))


class Tasks:
    """Where functions run.

    Args:
        workers: processes at work at once; 0 = this one, one item after the other.
        ray: address of a Ray cluster ("auto": the one of this machine); None = this machine's
            processes. Folders that tasks name must be visible to every worker.
    """

    def __init__(self, workers: int = 0, ray: str | None = None):
        self.workers, self.ray = workers, ray
        if ray is not None:
            daft.set_runner_ray(address=ray, noop_if_initialized=True)

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """function(item) of every item, in order.

        Raises:
            Exception: what the function raised for the first item where it did.
        """
        return list(self.imap(function, items))

    def imap(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """As `map`, each result as soon as it and those before it are there."""
        if not self.workers or len(items) <= 1:
            yield from map(function, items)
            return
        yield from self._spread(function, items)

    def _spread(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        workers = min(self.workers, len(items))
        frame = daft.from_pydict({"item": [pickle.dumps(item) for item in items]})
        if self.ray is not None:
            frame = frame.into_partitions(len(items))
        run = _worker(workers)(pickle.dumps(function)).run
        plan = frame.select(run(col("item")).alias("result"))
        for row in plan.iter_rows():
            done, value = pickle.loads(row["result"])
            if not done:
                raise value
            yield value


def _worker(workers: int) -> Any:
    """Daft's class of a worker: a process each, so many of them at once."""

    @daft.cls(use_process=True, max_concurrency=workers)
    class Worker:
        def __init__(self, function: bytes):
            self._function = pickle.loads(function)

        @daft.method.batch(return_dtype=DataType.binary(), batch_size=1)
        def run(self, items: Series) -> Series:
            results = [_attempt(self._function, item) for item in items.to_pylist()]
            return Series.from_pylist(results, dtype=DataType.binary())

    return Worker
