"""The page of an answer is whole, needs nothing from elsewhere, and says what the JSON says."""

import html.parser
import re

import pytest

from nanojaxlm.economics.numbers import amount, money
from nanojaxlm.economics.page import render
from nanojaxlm.economics.verdict import quantity
from nanojaxlm.reporting.markup import sentence

VOID = frozenset({"meta", "br", "hr", "img", "link", "line", "path", "rect", "circle"})
HIDDEN = frozenset({"style", "title"})


class Reader(html.parser.HTMLParser):
    """Collects tags and what is shown, and checks that what is opened is closed."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not HIDDEN & set(self.open):
            self.text += " ".join(data.split()) + " "


@pytest.fixture(scope="module")
def page(found) -> Reader:
    return Reader(render(found))


def test_the_page_is_well_formed(page):
    assert page.open == []


def test_it_needs_nothing_from_elsewhere(page):
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "image", "use"}
    for _, attributes in page.tags:
        for name in ("src", "href", "action", "xlink:href"):
            assert (attributes.get(name) or "#").startswith("#")
        assert not any(name.startswith("on") for name in attributes)


def test_links_lead_to_sections(page):
    there = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(there) == len(set(there))
    links = {attributes["href"] for tag, attributes in page.tags if tag == "a"}
    assert links == {f"#{name}" for name in there}


def test_no_figure_is_missing(page):
    assert not re.search(r"\b(nan|inf|None|infinity)\b", page.text)
    for _, attributes in page.tags:
        for value in attributes.values():
            assert not re.search(r"\b(nan|inf)\b", value or "")


def test_the_verdict_comes_first_and_whole(page, found):
    verdict = found.verdict
    assert page.text.index(verdict.headline) < 400
    for words in (*verdict.reasons, *verdict.flips, *verdict.caveats):
        assert sentence(words) in page.text


def test_what_is_out_is_said_to_be(page, found):
    for one in found.alternatives:
        assert (f"out: {one.excluded}" in page.text) == (one.excluded is not None)


def test_its_figures_are_those_of_the_json(page, found):
    values = found.plain()
    hours, mfu = values["accelerator_hours"], values["mfu"]
    shown = [
        *(amount(hours[end]) for end in ("low", "central", "high")),
        *(f"{100 * mfu[end]:.3g}%" for end in ("low", "central", "high")),
        amount(values["model"]["params"]),
        amount(values["model"]["tokens"]),
        f"{values['flops']['six_nd']:.2e}".replace("e+", "e"),
        f"{values['chips']:,} x {values['accelerator']}",
        money(values["cloud_dollars"]["central"]),
        f"{values['loss']['central']:.3f}",
        f"{values['memory']['peak_bytes'] / 2**30:,.2f} GiB",
        values["memory"]["smallest_mesh"],
    ]
    for one in values["alternatives"]:
        shown += [money(total[end]) for total in one["totals"] for end in ("low", "central")]
        shown += [money(dollars) for dollars in one["parts"].values()]
    shown += [quantity(flip["at"], flip["unit"]) for flip in values["flips"]]
    shown += [amount(one["params"]) for one in values["choices"]]
    for figure in shown:
        assert figure in page.text


def test_every_assumption_is_there_with_its_source(page, found):
    for row in found.constants:
        assert row.name in page.text
        assert quantity(row.value, row.unit) in page.text
        assert " ".join(row.source.split()) in page.text


def test_charts_stay_within_their_frames(page):
    width, height, drawn = 0.0, 0.0, 0
    for tag, attributes in page.tags:
        if tag == "svg" and "viewbox" in attributes:
            *_, width, height = map(float, (attributes["viewbox"] or "").split())
        for name, value in attributes.items():
            if value is None or tag not in ("line", "circle", "rect", "text", "polyline"):
                continue
            if value.endswith("%") and name in ("x", "x1", "x2", "width"):
                assert 0 <= float(value[:-1]) <= 100
            elif name in ("x", "x1", "x2", "cx"):
                assert 0 <= float(value) <= width
            elif name == "points":
                for x, y in (pair.split(",") for pair in value.split()):
                    drawn += 1
                    assert 0 <= float(x) <= width
                    assert 0 <= float(y) <= height
    assert drawn > 40


def test_hostile_names_are_shown_not_run(answered):
    for name in ("measured", "dear"):
        assert "<script>alert('x')</script>" in Reader(render(answered(name))).text


def test_where_buying_never_pays_it_says_so(answered):
    assert "Buying pays never" in Reader(render(answered("dear"))).text
    assert "v5e is not for sale" in Reader(render(answered("toy"))).text


def test_break_even_and_the_asked_volume_are_marked(llama):
    marks = re.findall(r'class="mark-words"[^>]*>([^<]+)<', render(llama))
    assert "yours: 1M" in marks
    for even in llama.break_evens:
        assert any(words.endswith(f": {amount(even.queries_per_month)}") for words in marks)


def test_the_line_where_the_verdict_flips_is_drawn(llama):
    assert '<line class="limit"' in render(llama).split('class="bars tornado"')[1].split("</ul>")[0]


def test_the_command_asks_the_same_again(answered):
    text = Reader(render(answered("llama"))).text
    command = text[text.index("python -m nanojaxlm.plan") :]
    for flag in ("--accelerator=a100-80gb", "--params=6.74e9", "--tokens=2e12", "--queries=1e6"):
        assert flag in command
    assert "--years" not in command
    text = Reader(render(answered("mixture"))).text
    assert "--domain_specific" in text
    assert "--active_params=3.7e10" in text
