"""Ranks are the places of the ids in their order, whatever part they are in."""

import numpy as np

from data_pipeline.dedup.exact import ExactConfig, ExactDedup
from data_pipeline.dedup.ranks import Ranks
from data_pipeline.document import batch_of


def test_columns_and_names_are_by_rank(make_parts, tmp_path):
    ids = [f"{i * 7 % 20:02d}" for i in range(20)]
    texts = ["x" * (i + 1) for i in range(20)]
    sources = [f"file{i}" for i in range(20)]
    cut = [slice(0, 3), slice(3, 3), slice(3, 20)]
    stage = ExactDedup(ExactConfig())
    batches = [batch_of(texts[part], sources[part], ids=ids[part]) for part in cut]
    ranks = Ranks.make(make_parts(batches, stage), tmp_path)
    order = np.argsort(ids)
    assert len(ranks) == 20
    assert ranks.columns("size")[0].tolist() == (order + 1).tolist()
    assert [ranks.of_part(i).tolist() for i in range(3)] == [
        [int(i) for i in ids[part]] for part in cut
    ]
    wanted = [0, 7, 19, 12]
    assert ranks.names(wanted) == {
        rank: {"id": f"{rank:02d}", "source": f"file{order[rank]}"} for rank in wanted
    }
    assert ranks.names([]) == {}
