"""A finished run's own figures in place of the table's."""

import dataclasses
import json
import math

import pytest

from nanojaxlm.config import TrainingConfig
from nanojaxlm.economics.answer import answer
from nanojaxlm.economics.compute import exact_per_token
from nanojaxlm.economics.fitting import SCALING_LAW, Point, fit
from nanojaxlm.economics.measured import on_measured, read_run
from nanojaxlm.economics.question import Question
from nanojaxlm.economics.scaling import CHINCHILLA
from nanojaxlm.economics.shape import count, typical_config
from nanojaxlm.economics.table import ASSUMPTIONS
from nanojaxlm.errors import UserError
from nanojaxlm.typed_config import dump_json

SPEED, MFU, DEVICES = 5e4, 0.4, 2


def write_run(folder, params=1e6, device="cpu", steps=40, peak=SPEED):
    """A workdir as training leaves it: a slow first reading, then SPEED; MFU throughout."""
    folder.mkdir(parents=True)
    config = typical_config(params, 512)
    config = dataclasses.replace(config, training=TrainingConfig(steps=steps, log_every=1))
    (folder / "config.json").write_text(dump_json(config))
    device_figures = {"device_kind": device, "num_devices": DEVICES}
    (folder / "device.json").write_text(json.dumps(device_figures))
    lines = [
        {"step": i, "loss": 5.0, "tokens_per_second": 10.0 if i == 1 else peak, "mfu": MFU}
        for i in range(1, steps + 1)
    ]
    lines[-1] |= {"validation_loss": 4.2, "validation_bits_per_byte": 1.5}
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 41, "lo')  # cut off
    return config


def test_speed_loss_and_bytes_are_read_and_the_start_is_left_out(tmp_path):
    config = write_run(tmp_path / "run")
    found = read_run(str(tmp_path / "run"))
    assert found.tokens_per_second.low == found.tokens_per_second.central == SPEED
    assert found.mfu.central == MFU and found.num_devices == DEVICES
    assert (found.loss, found.bits_per_byte) == (4.2, 1.5)
    assert found.bytes_per_token == pytest.approx(4.2 / (1.5 * math.log(2)))
    assert found.tokens == 40 * config.data.batch_size * 512
    peak = SPEED * exact_per_token(config) / MFU
    assert found.peak_flops_per_second == pytest.approx(peak)


def test_hours_of_the_same_run_are_those_that_it_took(tmp_path):
    """Planned on what it measured, a run takes its tokens over its speed, on all its devices."""
    config = write_run(tmp_path / "run")
    measured = read_run(str(tmp_path / "run"))
    a = on_measured(ASSUMPTIONS, measured, "cpu")
    planned = answer(Question(config=config, accelerator="cpu", chips=DEVICES), a, measured)
    seconds = measured.tokens / SPEED * DEVICES
    assert planned.accelerator_hours.central * 3600 == pytest.approx(seconds)
    ten_times = typical_config(1e7, 512)
    larger = answer(Question(config=ten_times, accelerator="cpu", tokens=1e9), a, measured)
    exact = exact_per_token(ten_times) * 1e9
    by_hand = exact / (SPEED / DEVICES * exact_per_token(config)) / 3600
    assert larger.accelerator_hours.central == pytest.approx(by_hand)


def test_a_run_on_other_chips_says_nothing_of_their_speed(tmp_path):
    write_run(tmp_path / "run")
    measured = read_run(str(tmp_path / "run"))
    a = on_measured(ASSUMPTIONS, measured, None)
    changed = {row.name for row in a.rows if row.overridden}
    assert changed == {"token.bytes"}


def test_a_ladder_gives_its_law_and_its_largest_run(tmp_path):
    for name, params in (("small", 2e5), ("large", 2e6), ("middle", 1e6)):
        write_run(tmp_path / "runs" / name, params)
    points = [
        Point(params=n, tokens=d, loss=CHINCHILLA.loss(n, d))
        for n in (1e5, 1e6, 1e7) for d in (1e7, 1e8, 1e9)
    ]  # fmt: skip
    made = fit(points, num_bootstrap=5)
    (tmp_path / SCALING_LAW).write_text(json.dumps(made.plain()))
    found = read_run(str(tmp_path))
    assert found.workdir.endswith("runs/large") and found.params == pytest.approx(2e6, rel=0.02)
    assert found.fit == made
    a = on_measured(ASSUMPTIONS, found, "cpu")
    planned = answer(Question(params=1e8, tokens=1e10, accelerator="cpu"), a, found)
    assert planned.law == made.law
    assert planned.loss.central == pytest.approx(made.law.loss(1e8, 1e10))
    assert "resampled" not in planned.plain()["measured"]["fit"]
    assert any("fitted to your own runs" in words for words in planned.verdict.caveats)


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(UserError, match="holds no run"):
        read_run(str(tmp_path))
    write_run(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 1, "loss": 3.0}\n')
    with pytest.raises(UserError, match="states no speed"):
        read_run(str(tmp_path / "run"))
    (tmp_path / "run" / "config.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_run(str(tmp_path / "run"))


def test_a_run_before_devices_were_written_counts_as_one_cpu(tmp_path):
    config = write_run(tmp_path / "run")
    (tmp_path / "run" / "device.json").unlink()
    found = read_run(str(tmp_path / "run"))
    assert (found.num_devices, found.device) == (1, "unknown")
    assert found.params == count(config)[0]
