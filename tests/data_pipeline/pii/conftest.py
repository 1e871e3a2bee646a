"""What every test of the privacy stage needs: one text, scrubbed."""

from collections.abc import Callable

import pytest

from data_pipeline.document import batch_of
from data_pipeline.pii import Pii, PiiConfig


@pytest.fixture(scope="session")
def scrub() -> Callable[..., str]:
    """scrub(text, **config): the text as the stage leaves it."""

    def scrubbed(text: str, **config) -> str:
        judged = Pii(PiiConfig(**config)).judge(batch_of([text]))
        return text if judged.texts is None else judged.texts[0].as_py()

    return scrubbed
