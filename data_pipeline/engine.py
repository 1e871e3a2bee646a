"""Daft, silent and offline: the only module that imports daft, so that its switches come first.

Daft reports its import and its runner to two servers unless told not to (daft/scarf_telemetry.py),
and draws a progress bar over our own; both are switched off here, before its import.
"""

import os

os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
os.environ["SCARF_NO_ANALYTICS"] = "1"
os.environ["DO_NOT_TRACK"] = "1"
os.environ["DAFT_PROGRESS_BAR"] = "0"

import daft
from daft import DataFrame, DataType, Series, col, lit
from daft.exceptions import DaftCoreException, DaftTransientError

__all__ = [
    "DaftCoreException",
    "DaftTransientError",
    "DataFrame",
    "DataType",
    "Series",
    "col",
    "daft",
    "lit",
]
