"""ml_collections at the surface, frozen dataclasses inside: the one way between them.

A config file's get_config() returns `to_config_dict(Config(...))`; a program turns the ConfigDict,
overrides
included, back with `parse_flags`. A field whose type is a union of dataclasses, or an item of a
tuple of such, carries its class name under the key "kind".
"""

import dataclasses
import difflib
import json
import runpy
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from absl import flags
from ml_collections import config_dict

from nanojaxlm.errors import UserError

T = TypeVar("T")
KIND = "kind"


def to_plain(value: Any) -> Any:
    """A dataclass as dicts and lists of JSON values; unions keep their class name as "kind"."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        hints = typing.get_type_hints(type(value))
        plain = {}
        for field in dataclasses.fields(value):
            plain[field.name] = _with_kind(hints[field.name], getattr(value, field.name))
        return plain
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    return value


def _with_kind(hint: Any, value: Any) -> Any:
    """to_plain(value), its class named where `hint` leaves a choice."""
    if isinstance(value, (tuple, list)):
        for option in _options(hint):
            if typing.get_origin(option) is tuple:
                return [_with_kind(typing.get_args(option)[0], item) for item in value]
    plain = to_plain(value)
    if len(_dataclasses_in(hint)) > 1 and dataclasses.is_dataclass(value):
        return {KIND: type(value).__name__} | plain
    return plain


def to_config_dict(value: Any) -> config_dict.ConfigDict:
    """The same tree as a locked ConfigDict; None fields accept an override of their type."""
    tree = config_dict.ConfigDict()
    hints = typing.get_type_hints(type(value))
    for field in dataclasses.fields(value):
        item, hint = getattr(value, field.name), hints[field.name]
        if dataclasses.is_dataclass(item):
            child = to_config_dict(item)
            if len(_dataclasses_in(hint)) > 1:
                with child.unlocked():
                    child[KIND] = type(item).__name__
            tree[field.name] = child
        elif item is None and (scalar := _scalar_in(hint)) is not None:
            tree[field.name] = config_dict.placeholder(scalar)
        else:
            tree[field.name] = item
    return tree.lock()


def from_config_dict(cls: type[T], tree: Mapping[str, Any], path: str = "config") -> T:
    """Builds `cls` from a ConfigDict or from plain JSON values, validating every field.

    Raises:
        UserError: an unknown field (with the nearest valid names), a value of another type, or a
        relation that the
            dataclass refuses; the message starts with the field's path.
    """
    if isinstance(tree, config_dict.ConfigDict):
        tree = tree.to_dict()
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    for name in tree:
        if name not in fields and name != KIND:
            raise UserError(f"{path} has no field {name!r}; {_nearest(name, fields)}")
    values = {}
    for name, field in fields.items():
        if name in tree:
            values[name] = _convert(hints[name], tree[name], f"{path}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise UserError(f"{path}.{name} is missing; it is a {_name(hints[name])}")
    try:
        return cls(**values)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{path}: {error}") from None


def flatten(tree: Any, path: str = "config") -> dict[str, Any]:
    """{"config.model.d_model": 256, ...}: the keys that --config.… may override."""
    if isinstance(tree, Mapping):
        flat = {}
        for name, item in tree.items():
            flat |= flatten(item, f"{path}.{name}")
        return flat
    return {path: tree}


def dump_json(value: Any) -> str:
    """The dataclass as indented JSON; `from_config_dict(cls, json.loads(text))` is its inverse."""
    return json.dumps(to_plain(value), indent=2) + "\n"


def parse_flags(
    argv: Sequence[str], cls: type[T], flag_values: flags.FlagValues = flags.FLAGS
) -> T | None:
    """Parses the command line: `--config=FILE.py`, overrides; None where --config is absent.

    The entry point has defined the flag with `config_flags.DEFINE_config_file("config")`.

    Raises:
        UserError: any mistake on the command line; a misspelt override with the nearest names.
    """
    file = config_file(argv)
    override = next((a for a in argv if a.lstrip("-").startswith("config.")), None)
    if file is None and override is not None:
        raise UserError(
            f"{override} overrides a field, but --config=FILE is missing; a run's own config is "
            "--config=configs/saved.py:WORKDIR/config.json"
        )
    words: dict[str, str] = {}
    if file is not None:
        tree = _load(file)
        argv, words = _take_words(argv, tree.to_dict())
        _check_overrides(argv, tree)
    parse_command_line(argv, flag_values)
    if file is None:
        return None
    overridden: Any = flag_values["config"].value
    return from_config_dict(cls, overridden.to_dict() | words)


def parse_command_line(argv: Sequence[str], flag_values: flags.FlagValues = flags.FLAGS) -> None:
    """Parses the flags of an entry point; --help prints its docstring and flags, and ends it.

    Raises:
        UserError: an unknown flag, a value of another type, an argument that is no flag.
    """
    if "--help" in argv or "-h" in argv:
        print(f"{(sys.modules['__main__'].__doc__ or '').strip()}\n")
        print(flag_values.main_module_help())
        sys.exit(0)
    try:
        rest = flag_values(list(argv))
    except (flags.Error, AttributeError, KeyError, OSError, TypeError, ValueError) as error:
        raise UserError(" ".join(str(error).split())) from None
    if len(rest) > 1:
        raise UserError(f"unexpected argument {rest[1]!r}; every option starts with --, see --help")


def config_file(argv: Sequence[str]) -> str | None:
    """What --config names on a command line; None where it is absent."""
    for i, argument in enumerate(argv):
        name, _, value = argument.partition("=")
        if name in ("--config", "-config"):
            if value or i + 1 == len(argv):
                return value
            return argv[i + 1]
    return None


def _load(file: str) -> config_dict.ConfigDict:
    """Runs the config file's get_config(), with every failure told in one line."""
    path, *argument = file.split(":", 1)
    if not Path(path).is_file():
        raise UserError(f"--config={file}: there is no such file; the shipped ones are in configs/")
    try:
        tree = runpy.run_path(path)["get_config"](*argument)
    except UserError:
        raise
    except Exception as error:  # a config file is the user's program: anything may come out of it
        last_line = str(error).strip().splitlines()[-1] if str(error).strip() else ""
        raise UserError(
            f"--config={file}: get_config() failed with {type(error).__name__}: {last_line}"
        ) from error
    if not isinstance(tree, config_dict.ConfigDict):
        raise UserError(
            f"--config={file}: get_config() must return a ConfigDict, got {type(tree).__name__}"
        )
    return tree


def _take_words(argv: Sequence[str], tree: Mapping[str, Any]) -> tuple[list[str], dict[str, str]]:
    """The command line without `--config.GROUP=WORD`, and those words by their group: a word for a
    whole group of fields (--config.mesh=auto), which ml_collections has no way to say."""
    rest, words = [], {}
    for argument in argv:
        name, _, word = argument.partition("=")
        group = name.lstrip("-").removeprefix("config.")
        if name.lstrip("-").startswith("config.") and isinstance(tree.get(group), Mapping):
            words[group] = word
        else:
            rest.append(argument)
    return rest, words


def _check_overrides(argv: Sequence[str], tree: config_dict.ConfigDict) -> None:
    flat = flatten(tree.to_dict())
    for argument in argv:
        name = argument.split("=", 1)[0].lstrip("-")
        for spelling in (name, name.removeprefix("no")):  # --noconfig.x is how absl says False
            if spelling.startswith("config.") and spelling in flat:
                break
        else:
            if name.startswith(("config.", "noconfig.")):
                raise UserError(f"--{name}: there is no such field; {_nearest(name, flat)}")


def _convert(hint: Any, value: Any, path: str) -> Any:
    """`value` as the type `hint` says, or a UserError that names `path`."""
    options = _options(hint)
    if value is None:
        if type(None) in options:
            return None
        raise UserError(f"{path} must be a {_name(hint)}, got None")
    if isinstance(value, Mapping):
        classes = _dataclasses_in(hint)
        if not classes:
            raise UserError(f"{path} must be a {_name(hint)}, got a group of fields")
        if len(classes) == 1:
            return from_config_dict(classes[0], value, path)
        by_name = {cls.__name__: cls for cls in classes}
        kind = value.get(KIND)
        if kind not in by_name:
            raise UserError(f"{path}.{KIND} must be one of {', '.join(by_name)}, got {kind!r}")
        return from_config_dict(by_name[kind], value, path)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, (tuple, list)):
            item_hint = typing.get_args(option)[0]
            return tuple(_convert(item_hint, item, f"{path}[{i}]") for i, item in enumerate(value))
        if option is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if type(value) is option:
            return value
    raise UserError(f"{path} must be a {_name(hint)}, got {value!r}")


def _options(hint: Any) -> tuple[Any, ...]:
    return (
        typing.get_args(hint)
        if typing.get_origin(hint) in (typing.Union, types.UnionType)
        else (hint,)
    )


def _dataclasses_in(hint: Any) -> list[type]:
    return [
        option
        for option in _options(hint)
        if isinstance(option, type) and dataclasses.is_dataclass(option)
    ]


def _scalar_in(hint: Any) -> type | None:
    return next((option for option in _options(hint) if option in (int, float, str, bool)), None)


def _name(hint: Any) -> str:
    return " or ".join(getattr(option, "__name__", str(option)) for option in _options(hint))


def _nearest(name: str, valid: Sequence[str] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, list(valid), n=3, cutoff=0.5)
    return f"did you mean {' or '.join(near)}?" if near else f"the fields are {', '.join(valid)}"
