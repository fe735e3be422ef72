"""The index of generators by load against looking at all of them."""

import random

import pytest

from actors.schedules.schedule import JobView, Schedule, ScheduleConfig, Workers, WorkerView


@pytest.mark.parametrize("seed", range(20))
def test_the_least_loaded_and_the_room_are_those_of_a_look_at_all_whatever_changed_in_between(seed):
    drawn = random.Random(seed)
    schedule = Schedule(ScheduleConfig(backlog=1))
    workers = Workers(schedule.room)
    for _ in range(300):
        name = f"generator-{drawn.randrange(4)}"
        if drawn.random() < 0.1:
            workers.pop(name, None)
        elif name not in workers:
            workers[name] = WorkerView(name, -1, 2, 0)
        else:
            view = workers[name]
            view.held = max(0, view.held + drawn.choice((-1, 1)))
            view.version = max(view.version, drawn.randrange(-1, 3))
            view.slots = drawn.choice((2, 2, 2, 3))
        workers.changed(name)
        if drawn.random() < 0.5:
            job = JobView(1, 1, 0, drawn.randrange(3), "")
            found = workers.least_loaded(job.min_version)
            assert (found and found.name) == schedule.choose(job, dict(workers))
            open_to_all = [view for view in workers.values() if view.version >= 0]
            assert workers.total_room == sum(max(0, schedule.room(view)) for view in open_to_all)
