"""A saved config as the start of another run: --config=configs/saved.py:out/run/config.json"""

import json
from pathlib import Path

from ml_collections import config_dict

from nanojaxlm.config import Config
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import from_config_dict, to_config_dict


def get_config(path: str = "config.json") -> config_dict.ConfigDict:
    try:
        saved = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the saved config {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"the saved config {path} is no JSON ({error}); name another") from None
    return to_config_dict(from_config_dict(Config, saved))
