"""A decoder of about a given number of parameters, when nothing else is decided yet.

    python -m nanojaxlm.main --config=configs/models/typical.py:params=125M \
        --config.data.stores=DIR --workdir=out/typical
    … --config=configs/models/typical.py:params=47B,active_params=13B,sequence_length=8192

The planner's model where only a size is known (`python -m nanojaxlm.plan --params=…`), so that what
it says of memory can be compiled: its shape, batch and steps are explained in
nanojaxlm/economics/shape.py.
"""

from ml_collections import config_dict

from nanojaxlm.economics.numbers import parse_number
from nanojaxlm.economics.shape import typical_config
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import to_config_dict

NAMES = ("params", "sequence_length", "active_params")


def get_config(size: str = "params=125M") -> config_dict.ConfigDict:
    values = {}
    for part in size.split(","):
        name, equals, number = part.partition("=")
        if name not in NAMES or not equals:
            raise UserError(
                f"{part!r} is no size; give params=125M, and if you like sequence_length=… and "
                "active_params=…"
            )
        values[name] = parse_number(name, number)
    if "params" not in values:
        raise UserError(f"{size!r} lacks params; give params=125M")
    if "sequence_length" in values:
        values["sequence_length"] = int(values["sequence_length"])
    try:
        return to_config_dict(typical_config(**values))
    except ValueError as error:
        raise UserError(str(error)) from None
