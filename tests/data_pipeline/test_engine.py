"""Daft tells nobody that it runs."""

import subprocess
import sys

from data_pipeline import engine


def test_importing_daft_by_way_of_the_engine_sends_nothing():
    program = (
        "import sys\n"
        "sys.addaudithook(lambda e, a: print(e) if e.startswith(('socket.', 'urllib')) else None)\n"
        "from data_pipeline.engine import daft\n"
        "import threading\n"
        "daft.from_pydict({'x': [1]}).collect()\n"
        "[t.join(5) for t in threading.enumerate() if t is not threading.main_thread()]\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


def test_the_switch_is_one_that_daft_knows():
    from daft import scarf_telemetry

    assert scarf_telemetry._track_on_scarf("daft-import")[0] is None
    assert engine.daft.__name__ == "daft"
