"""Daft, silent and offline: the only module that imports daft, so that its switches come first.

Daft reports its import and its runner to two servers unless told not to (daft/scarf_telemetry.py),
and draws a progress bar over our own; both are switched off here, before its import.

`Tasks` spreads functions over processes, of this machine or of a Ray cluster; `evaluate` runs
Daft's expressions on Arrow data.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
os.environ["SCARF_NO_ANALYTICS"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DAFT_PROGRESS_BAR"] = "0"

import daft
import pyarrow as pa
from daft import DataFrame, DataType, Expression, Series, col, lit
from daft.exceptions import DaftCoreException, DaftTransientError
from daft.expressions import ExpressionsProjection
from daft.recordbatch import MicroPartition

from nanojaxlm.errors import RetryableError, UserError

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

Item = TypeVar("Item")
Result = TypeVar("Result")


def evaluate(table: pa.RecordBatch | pa.Table, *expressions: Expression) -> pa.Table:
    """A table of the expressions' values, a column each, computed by Daft in this thread."""
    if isinstance(table, pa.RecordBatch):
        table = pa.Table.from_batches([table])
    found = MicroPartition.from_arrow(table).eval_expression_list(
        ExpressionsProjection(list(expressions))
    )
    return found.to_arrow()


class Tasks:
    """Where functions run: a context manager that keeps its worker processes until it ends.

    On this machine they are processes that stay: Daft starts new ones for every plan, which costs a
    second or more each time, and a curation has two plans a stage. On a cluster a Daft plan gives
    the items to Ray's workers.

    Args:
        workers: processes at work at once; 0 = this one, one item after the other.
        ray: address of a Ray cluster ("auto": the one of this machine); None = this machine's
            processes. Folders that tasks name must be visible to every worker.

    Raises:
        UserError: ray is not installed.
        RetryableError: no cluster answers.
    """

    def __init__(self, workers: int = 0, ray: str | None = None):
        self.workers, self.ray = workers, ray
        self._pool: ProcessPoolExecutor | None = None
        if ray is not None:
            _connect(ray)

    def __enter__(self) -> "Tasks":
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """function(item) of every item, in order.

        Raises:
            Exception: what the function raised for the first item where it did.
            RetryableError: a worker process was killed.
        """
        return list(self.imap(function, items))

    def imap(self, function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """As `map`, each result as soon as it and those before it are there."""
        if self.ray is None and (not self.workers or len(items) <= 1):
            yield from map(function, items)
            return
        packed = [pickle.dumps(item) for item in items]
        spread = self._to_processes if self.ray is None else self._to_cluster
        for result in spread(pickle.dumps(function), packed):
            done, value = pickle.loads(result)
            if not done:
                raise value
            yield value

    def _to_processes(self, function: bytes, items: Sequence[bytes]) -> Iterator[bytes]:
        if self._pool is None:
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["data_pipeline.engine"])
            self._pool = ProcessPoolExecutor(self.workers, context, _begin_worker)
        futures = [self._pool.submit(_attempt, function, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        except BrokenProcessPool as error:
            raise RetryableError(
                "a worker process was killed, perhaps for want of memory; run the same command "
                "again, if need be with fewer --workers"
            ) from error
        finally:
            for future in futures:
                future.cancel()

    def _to_cluster(self, function: bytes, items: Sequence[bytes]) -> Iterator[bytes]:
        if not items:
            return
        frame = daft.from_pydict({"item": list(items)}).into_partitions(len(items))
        run = _worker(self.workers)(function).run
        for row in frame.select(run(col("item")).alias("result")).iter_rows():
            yield row["result"]


def _connect(address: str) -> None:
    try:
        host, _, port = address.rpartition(":")
        if host and "/" not in host:  # Ray itself would look for it for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        daft.set_runner_ray(address=address, noop_if_initialized=True)
    except ImportError as error:
        raise UserError(
            "--ray needs the package ray: pip install 'nanojaxlm[distributed]', here and on every "
            "machine of the cluster"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise RetryableError(
            f"--ray={address}: no Ray cluster answers ({str(error).strip().splitlines()[0]}); "
            "start one (launch/ray_cluster.yaml), then run the same command again"
        ) from error


def _begin_worker() -> None:
    """In a worker: Ctrl-C is the parent's to handle, and without the parent there is no work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def end_with(parent: Any) -> None:
        parent.join()
        os._exit(1)

    parent = multiprocessing.parent_process()
    threading.Thread(target=end_with, args=(parent,), daemon=True).start()


def _attempt(function: bytes, item: bytes) -> bytes:
    """A pickle of (True, result) or (False, what was raised)."""
    try:
        return pickle.dumps((True, pickle.loads(function)(pickle.loads(item))))
    except Exception as error:
        error.add_note("in a worker process:\n" + traceback.format_exc())
        try:
            failure = pickle.dumps((False, error))
            pickle.loads(failure)  # an exception with arguments of its own may not come back
            return failure
        except Exception:
            return pickle.dumps((False, RuntimeError(traceback.format_exc())))


def _worker(workers: int) -> Any:
    """Daft's class of a worker: a process each, so many of them at once."""

    @daft.cls(use_process=True, max_concurrency=max(workers, 1))
    class Worker:
        def __init__(self, function: bytes):
            self._function = function

        @daft.method.batch(return_dtype=DataType.binary(), batch_size=1)
        def run(self, items: Series) -> Series:
            results = [_attempt(self._function, item) for item in items.to_pylist()]
            return Series.from_pylist(results, dtype=DataType.binary())

    return Worker
