"""Where an imported workdir came from, so that an export gives the same file back."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from nanojaxlm.errors import UserError
from nanojaxlm.interop.family import Tensor
from nanojaxlm.interop.folder import Folder, read_json
from nanojaxlm.writers import replace_text

ORIGIN = "imported.json"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """folder: where it was read. model_type, max_position_embeddings: of its config.json.
    dtype: of most tensors; other_dtypes: of the rest, by name."""

    folder: str
    model_type: str
    max_position_embeddings: int | None
    dtype: str
    other_dtypes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, folder: Folder, tensors: Sequence[Tensor]) -> "Origin":
        dtypes = folder.dtypes(tensors)
        most = Counter(dtypes.values()).most_common(1)[0][0]
        others = {name: dtype for name, dtype in dtypes.items() if dtype != most}
        return cls(
            folder=str(folder.path),
            model_type=folder.config["model_type"],
            max_position_embeddings=folder.config.get("max_position_embeddings"),
            dtype=most,
            other_dtypes=others,
        )


def write_origin(workdir: Path, origin: Origin) -> None:
    replace_text(workdir / ORIGIN, json.dumps(asdict(origin), indent=2) + "\n")


def read_origin(workdir: Path) -> Origin | None:
    """None for a workdir that was not imported."""
    path = workdir / ORIGIN
    if not path.exists():
        return None
    try:
        return Origin(**read_json(path, "what an import leaves"))
    except TypeError as error:
        raise UserError(f"{path} is not what an import leaves ({error}); import again") from None
