"""Personal data: found by form, checksum and the words beside it, and replaced."""

from data_pipeline.pii.config import KINDS, PiiConfig
from data_pipeline.pii.stage import Pii

__all__ = ["KINDS", "Pii", "PiiConfig"]
