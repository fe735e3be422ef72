"""One rule changed in `actors/schedules` or `buffers/admission` changes what both worlds decide, and equally."""

import msgspec
import pytest

import buffers.buffer
from actors.cast import cast_of
from tests.end_to_end.scenarios import SCENARIOS
from tests.end_to_end.twin import differences, log_of, merged, play_live, play_virtual

ORIGINAL = next(scenario for scenario in SCENARIOS if scenario.name == "one step off")
MUTATIONS = {
    "a schedule that prefers the last generator": {"rule": "tests.end_to_end.mutants:LastFirst"},
    "an admission that opens one group more": {"builders": {"replay": "tests.end_to_end.mutants:generous_replay"}},
}


def mutant(name):
    changes = merged(ORIGINAL.changes, MUTATIONS[name])
    return msgspec.structs.replace(ORIGINAL, name=name, changes=changes)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory):
    """The logs of the original and of each mutant, in both worlds: {name: (virtual, live)}."""

    def with_builders(config, ports):
        builders = config.get("builders", {})
        specs = cast_of(config, ports)
        return tuple(msgspec.structs.replace(one, builder=builders.get(one.name, one.builder)) for one in specs)

    scenarios = [ORIGINAL, *map(mutant, MUTATIONS)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sim.cluster.cast_of", with_builders)
        patch.setattr("actors.live.cluster.cast_of", with_builders)
        live = play_live(scenarios, tmp_path_factory.mktemp("mutants"))
        virtual = {}
        for one in scenarios:
            with pytest.MonkeyPatch.context() as building:  # what a mutant's builder changes in this process
                building.setattr(buffers.buffer, "admissible_groups", buffers.buffer.admissible_groups)
                virtual[one.name] = play_virtual(one)
    return {one.name: (log_of(virtual[one.name]), log_of(live[one.name])) for one in scenarios}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_changed_rule_changes_both_worlds(name, worlds):
    virtual, live = worlds[ORIGINAL.name]
    changed_virtual, changed_live = worlds[name]
    assert differences(virtual, changed_virtual)
    assert differences(live, changed_live)


@pytest.mark.parametrize("name", [ORIGINAL.name, *MUTATIONS])
def test_both_worlds_go_by_the_same_rule(name, worlds):
    assert differences(*worlds[name]) == []


def test_more_groups_are_open_at_a_time_where_admission_is_generous(worlds):
    for one, other in zip(*(worlds[name] for name in (ORIGINAL.name, list(MUTATIONS)[1])), strict=True):
        first, mutated = ([line for line in log.before["replay"] if line[2] == "admit"] for log in (one, other))
        assert len(mutated) > len(first)
