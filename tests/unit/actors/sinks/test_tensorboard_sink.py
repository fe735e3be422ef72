from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from actors.sinks.tensorboard_sink import TensorBoard


def test_scalars_are_grouped_by_actor_and_stand_at_the_published_version(tmp_path):
    sink = TensorBoard({"run_dir": str(tmp_path)}, None, None)
    sink.write("learner", (("version", 10**9, 4), ("loss", 2 * 10**9, 0.5)))
    sink.write("generator-0", (("busy_s", 3 * 10**9, 0.75),))
    sink.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert set(events.Tags()["scalars"]) == {"learner/version", "learner/loss", "generator-0/busy_s"}
    (loss,) = events.Scalars("learner/loss")
    assert (loss.step, loss.value, loss.wall_time) == (4, 0.5, 2.0)
