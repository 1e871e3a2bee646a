"""The measure by hand, and the promise on the marked pages."""

import pytest

from data_pipeline.accuracy.extraction import measure, scores, shingle_counts


@pytest.mark.parametrize(
    ("true", "predicted", "counts"),
    [
        ("a b c d e", "a b c d e", (2, 0, 0)),
        ("a b c d e", "a, b. c d!", (1, 0, 1)),
        ("a b c d", "x a b c d", (1, 1, 0)),
        ("a b c d a b c d", "a b c d", (1, 0, 4)),
        ("a b c", "a b c", (1, 0, 0)),
        ("a b c", "a b", (0, 1, 1)),
        ("", "a b c d e", (0, 2, 0)),
        ("", "", (0, 0, 0)),
    ],
)
def test_shingles_by_hand(true, predicted, counts):
    assert shingle_counts(true, predicted) == counts


def test_pages_weigh_the_same():
    # precision: (1/1 + 1/4) / 2, the empty prediction has none; recall: (1/2 + 1/1 + 0) / 3
    found = scores([(1, 0, 1), (100, 300, 0), (0, 0, 5)])
    assert found["precision"] == pytest.approx(0.625)
    assert found["recall"] == pytest.approx(0.5)
    assert found["F1"] == pytest.approx(2 * 0.625 * 0.5 / 1.125)


@pytest.mark.slow
def test_marked_pages(shared_data):
    if not (shared_data / "html").is_dir():
        pytest.skip(f"{shared_data}/html is not there")
    found = measure(shared_data)
    assert found["pages"] == 120
    assert found["F1"] >= 0.975 and found["F1 held out"] >= 0.97
    assert found["F1"] > found["trafilatura F1"] + 0.01
    assert found["MB/s"] > found["trafilatura MB/s"]
