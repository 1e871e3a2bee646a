"""From dataclasses to ConfigDict and JSON and back, and what a wrong value is told."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import (
    dump_json,
    flatten,
    from_config_dict,
    parse_flags,
    to_config_dict,
    to_plain,
)

# ml_collections loads config files by importlib's load_module, which Python 3.15 takes away.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")


@dataclass(frozen=True, kw_only=True)
class Circle:
    radius: float

    def __post_init__(self) -> None:
        if self.radius <= 0:
            raise ValueError(f"radius must be > 0, got {self.radius}")


@dataclass(frozen=True, kw_only=True)
class Square:
    side: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Paint:
    coats: int = 2
    glossy: bool = False
    colour: str = "red"


@dataclass(frozen=True, kw_only=True)
class Picture:
    shape: Circle | Square
    paint: Paint = field(default_factory=Paint)
    frame: Paint | None = None
    width: int | None = None
    scale: float | None = None
    title: str | None = None
    tags: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    others: tuple[Circle | Square, ...] = ()
    coats: tuple[Paint, ...] = ()
    border: Paint | str = field(default_factory=Paint)


PICTURE = Picture(shape=Circle(radius=2.5), width=7, tags=("a", "b"), weights=(0.5, 2.0))


# --- There and back


@pytest.mark.parametrize(
    "picture",
    [
        PICTURE,
        Picture(shape=Square(), frame=Paint(glossy=True), title="t", scale=0.25),
        Picture(
            shape=Square(),
            others=(Circle(radius=0.5), Square(side=2.0), Square()),
            coats=(Paint(), Paint(coats=3)),
        ),
    ],
    ids=["circle", "square", "tuples"],
)
def test_round_trips_through_config_dict_and_json(picture: Picture):
    assert from_config_dict(Picture, to_config_dict(picture)) == picture
    assert from_config_dict(Picture, json.loads(dump_json(picture))) == picture
    again = from_config_dict(Picture, to_config_dict(picture))
    assert type(again.tags) is tuple and type(again.weights) is tuple


def test_a_union_says_its_kind():
    assert to_plain(PICTURE)["shape"] == {"kind": "Circle", "radius": 2.5}
    assert "kind" not in to_plain(PICTURE)["paint"]
    square = from_config_dict(Picture, {"shape": {"kind": "Square", "side": 3.0}})
    assert square.shape == Square(side=3.0)
    several = to_plain(Picture(shape=Square(), others=(Circle(radius=1.0),), coats=(Paint(),)))
    assert several["others"] == [{"kind": "Circle", "radius": 1.0}]
    assert "kind" not in several["coats"][0]


def test_an_item_of_a_tuple_that_is_wrong_names_its_place():
    plain = to_plain(Picture(shape=Square(), others=(Square(), Circle(radius=1.0))))
    plain["others"][1]["radius"] = -1.0
    assert told(plain) == "config.others[1]: radius must be > 0, got -1.0"
    del plain["others"][1]["kind"]
    assert told(plain) == "config.others[1].kind must be one of Circle, Square, got None"


def test_flatten_lists_what_may_be_overridden():
    flat = flatten(to_config_dict(PICTURE).to_dict())
    assert flat["config.paint.coats"] == 2
    assert flat["config.tags"] == ("a", "b")
    assert "config.width" in flat and "config.paint" not in flat


# --- What is refused, and how


def told(tree: object) -> str:
    with pytest.raises(UserError) as caught:
        from_config_dict(Picture, tree)  # type: ignore[arg-type]
    return str(caught.value)


def test_an_unknown_field_names_the_nearest():
    plain = to_plain(PICTURE)
    plain["paint"]["colur"] = "blue"
    message = told(plain)
    assert message.startswith("config.paint has no field 'colur'") and "colour" in message


@pytest.mark.parametrize(
    ("path", "value", "wanted"),
    [
        ("paint.coats", 2.5, "config.paint.coats must be a int"),
        ("paint.coats", True, "config.paint.coats must be a int"),
        ("paint.coats", None, "config.paint.coats must be a int"),
        ("paint.glossy", 1, "config.paint.glossy must be a bool"),
        ("paint.colour", 3, "config.paint.colour must be a str"),
        ("shape.radius", "2", "config.shape.radius must be a float"),
        ("weights", [1.0, "x"], "config.weights[1] must be a float"),
        ("tags", "a", "config.tags must be a"),
        ("width", {"a": 1}, "config.width must be a"),
        ("paint", 3, "config.paint must be a Paint"),
    ],
)
def test_a_value_of_another_type_names_its_field(path: str, value: object, wanted: str):
    plain = to_plain(PICTURE)
    *groups, name = path.split(".")
    group = plain
    for part in groups:
        group = group[part]
    group[name] = value
    message = told(plain)
    assert message.startswith(wanted)
    assert repr(value) in message or "'x'" in message or "group of fields" in message


def test_an_integer_serves_as_a_float_and_becomes_one():
    picture = from_config_dict(Picture, {"shape": {"kind": "Circle", "radius": 3}})
    assert isinstance(picture.shape, Circle)
    assert picture.shape.radius == 3.0 and type(picture.shape.radius) is float


def test_a_relation_that_the_dataclass_refuses_names_its_path():
    message = told({"shape": {"kind": "Circle", "radius": -1.0}})
    assert message == "config.shape: radius must be > 0, got -1.0"


def test_a_missing_field_and_an_unknown_kind_are_named():
    assert told({}) == "config.shape is missing; it is a Circle or Square"
    assert told({"shape": {"kind": "Oval"}}) == (
        "config.shape.kind must be one of Circle, Square, got 'Oval'"
    )


def test_fields_cannot_be_added_to_a_config_dict():
    with pytest.raises((AttributeError, KeyError)):
        to_config_dict(PICTURE).paint.colur = "blue"


# --- The command line


@pytest.fixture
def parse(tmp_path: Path, monkeypatch):
    """parse(*overrides) of a file that makes PICTURE's ConfigDict from JSON."""
    file = tmp_path / "picture.py"
    tree = json.dumps(to_plain(Picture(shape=Circle(radius=2.5), tags=("a",))))
    file.write_text(
        f"import json, sys\n"
        f"def get_config():\n"
        f"    typed_config, module = sys.modules['nanojaxlm.typed_config'], sys._test_pictures\n"
        f"    tree = json.loads('''{tree}''')\n"
        f"    picture = typed_config.from_config_dict(module, tree)\n"
        f"    return typed_config.to_config_dict(picture)\n"
    )

    def run(*overrides: str, config: str | None = None) -> Picture | None:
        values = flags.FlagValues()
        config_flags.DEFINE_config_file("config", None, "A file.", flag_values=values)
        argv = ["program", f"--config={config or file}", *overrides]
        monkeypatch.setattr("sys.argv", argv)  # where ml_collections looks for overrides
        return parse_flags(argv, Picture, flag_values=values)

    return run


@pytest.fixture(autouse=True)
def _pictures(monkeypatch):
    """A config file is run on its own: it finds the test's class where both can see it."""
    monkeypatch.setattr("sys._test_pictures", Picture, raising=False)


def test_overrides_reach_fields_of_every_kind(parse):
    picture = parse(
        "--config.shape.radius=4", "--config.paint.glossy", "--config.paint.colour=blue",
        "--config.paint.coats=5",
    )  # fmt: skip
    assert picture.shape == Circle(radius=4.0)
    assert picture.paint == Paint(coats=5, glossy=True, colour="blue")
    assert parse("--noconfig.paint.glossy").paint.glossy is False
    assert parse() == Picture(shape=Circle(radius=2.5), tags=("a",))


def test_fields_that_are_none_can_be_overridden(parse):
    picture = parse("--config.width=9", "--config.scale=0.5", "--config.title=dawn")
    assert (picture.width, picture.scale, picture.title) == (9, 0.5, "dawn")


def test_a_word_can_stand_for_a_whole_group_where_its_type_says_so(parse):
    assert parse("--config.border=auto", "--config.width=9") == Picture(
        shape=Circle(radius=2.5), tags=("a",), width=9, border="auto"
    )
    with pytest.raises(UserError, match=r"config\.paint must be a Paint, got 'auto'"):
        parse("--config.paint=auto")


def test_a_tuple_can_be_overridden(parse):
    assert parse("--config.tags=('x','y')").tags == ("x", "y")
    assert parse("--config.tags=x").tags == ("x",)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.paint.colur=blue"], ["--config.paint.colur", "config.paint.colour"]),
        (["--config.pant.coats=3"], ["config.paint.coats"]),
        (["--noconfig.paint.glosy"], ["config.paint.glossy"]),
        (["--config.paint.coats=many"], ["coats", "many"]),
        (["--config.width=wide"], ["width"]),
        (["--workdri=x"], ["workdri"]),
        (["leftover"], ["'leftover'"]),
        (["--config.shape.radius=-1"], ["config.shape", "radius must be > 0"]),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(parse, arguments, words):
    with pytest.raises(UserError) as caught:
        parse(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_missing_config_file_is_named(parse, tmp_path: Path):
    with pytest.raises(UserError, match=r"nowhere\.py: there is no such file"):
        parse(config=str(tmp_path / "nowhere.py"))


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def get_config():\n    return 1 / 0\n", ["ZeroDivisionError"]),
        ("def get_config():\n    return {}\n", ["must return a ConfigDict, got dict"]),
        ("def get_conf():\n    return {}\n", ["KeyError", "get_config"]),
        ("def get_config(:\n", ["SyntaxError"]),
    ],
)
def test_a_broken_config_file_is_told_in_one_line(parse, tmp_path: Path, source, words):
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(UserError) as caught:
        parse(config=str(file))
    message = str(caught.value)
    assert "broken.py" in message and "\n" not in message
    for word in words:
        assert word in message


def test_no_config_flag_gives_none():
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", None, "A file.", flag_values=values)
    assert parse_flags(["program"], Picture, flag_values=values) is None


def test_an_override_without_a_config_names_what_is_missing():
    values = flags.FlagValues()
    config_flags.DEFINE_config_file("config", flag_values=values)
    with pytest.raises(UserError, match=r"--config\.width=3 .*--config=FILE is missing"):
        parse_flags(["program", "--config.width=3"], Picture, values)
