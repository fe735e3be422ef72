"""What lies in TensorBoard's files: scalars, histograms, texts, the config, and the five charts of the layout."""

import re

import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from actors.messages import Sample, SamplePart
from actors.sinks.charts import FIRST
from actors.sinks.samples_file import Piece, Text
from actors.sinks.tensorboard_sink import TensorBoard, histogram, markdown
from policies.tokens import character_tokenizer


def read(folder):
    return EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "histograms": 0}).Reload()


def written(folder, *writes, config=None):
    sink = TensorBoard({"run_dir": str(folder), **(config or {})}, None, None)
    for actor, rows in writes:
        sink.write(actor, rows)
    sink.close()
    return read(folder)


def test_scalars_are_grouped_by_actor_and_stand_at_the_published_version(tmp_path):
    events = written(
        tmp_path,
        ("learner", (("version", 10**9, 4), ("loss", 2 * 10**9, 0.5))),
        ("generator-0", (("busy_s", 3 * 10**9, 0.75),)),
    )
    assert set(events.Tags()["scalars"]) == {"learner/version", "learner/loss", "generator-0/busy_s"}
    (loss,) = events.Scalars("learner/loss")
    assert (loss.step, loss.value, loss.wall_time) == (4, 0.5, 2.0)


def test_buckets_become_one_histogram(tmp_path):
    rows = (("length_ended(24,32]", 10**9, 2.0), ("length_ended(192,256]", 10**9, 1.0))
    events = written(tmp_path, ("replay", rows))
    assert events.Tags()["scalars"] == []
    (found,) = events.Histograms("replay/length_ended")
    value = found.histogram_value
    assert (value.min, value.max, value.num) == (24, 256, 3)
    assert dict(zip(value.bucket_limit, value.bucket, strict=True)) == {24: 0, 32: 2, 192: 0, 256: 1}


def test_neighbouring_buckets_have_nothing_between():
    assert list(histogram({(0.0, 1.0): 1.0, (1.0, 2.0): 3.0}).bucket_limit) == [0, 1, 2]


def test_the_layout_holds_the_five_charts_that_matter_first(tmp_path):
    events = written(tmp_path)
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor.tensor_proto.string_val[0])
    charts = {one.title: tuple(one.multiline.tag) for category in layout.category for one in category.chart}
    assert charts == FIRST
    assert len(charts) == 5
    for names in charts.values():
        assert all(re.compile(name) for name in names)


def test_the_config_and_its_hyperparameters_are_there(tmp_path):
    (tmp_path / "config.toml").write_text("seed = 3\n")
    settings = {"seed": 3, "schedule": {"eta": 2, "partial": True, "install": "drain"}}
    events = written(tmp_path, config=settings)
    assert b"seed = 3" in events.Tensors("config")[0].tensor_proto.string_val[0]
    raw = b"".join(path.read_bytes() for path in (tmp_path / "tensorboard").iterdir())
    for name in (b"schedule.eta", b"schedule.partial", b"schedule.install", b"drain"):
        assert name in raw


def test_samples_are_tables_with_a_colour_for_each_segment(tmp_path):
    codec = character_tokenizer()
    codec.save_pretrained(tmp_path / "model")
    ids = np.array(codec.encode("a+b=12"), "<i4")
    sample = Sample(5, 1, 7, ids[:4].tobytes(), (SamplePart(ids[4:].tobytes(), ((6, 1), (7, 1))),), {"outcome": 1.0})
    sink = TensorBoard({"run_dir": str(tmp_path), "model": str(tmp_path / "model")}, None, None)
    sink.show((sample,))
    sink.close()
    (text,) = read(tmp_path).Tensors("samples/slowest")
    shown = text.tensor_proto.string_val[0].decode()
    assert "trajectory 5, trained from version 7: outcome 1" in shown
    assert "| 🟦 0 | 6 | 1 |" in shown
    assert "| 🟦 0 | 7 | 1 |" in shown


def test_text_cannot_leave_its_cell():
    shown = markdown(Text(1, 1, 1, "a|b", (Piece(0, 0, 3, "x\n<i>|"), Piece(1, 0, 1, "y")), {}))
    assert "a&#124;b" in shown
    assert "x⏎&lt;i&gt;&#124;" in shown
    assert "🟩 1" in shown
