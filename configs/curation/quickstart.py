"""Curation for the quickstart: any Python installation's own text, or the user's files."""

from data_pipeline.config import CurationConfig
from nanojaxlm.typed_config import to_config_dict


def get_config():
    return to_config_dict(CurationConfig())
