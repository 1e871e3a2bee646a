"""Files become documents: what is cut into which tasks, and what a task reads.

    tasks = plan(list_inputs(["corpus"]).files, part_bytes=64 * 2**20, config=ReadConfig())
    for batch in read(tasks[0], ReadConfig()): ...      # document.READ

Nothing that an input holds stops the reading: what cannot become a document is a row with an
error, "reason: what, where, how to mend".
"""

from data_pipeline.readers.config import ReadConfig
from data_pipeline.readers.plan import ReadTask, Span, plan
from data_pipeline.readers.reading import Reading, read
from data_pipeline.readers.records import Unreadable

__all__ = ["ReadConfig", "ReadTask", "Reading", "Span", "Unreadable", "plan", "read"]
