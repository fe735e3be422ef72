"""Twenty scenarios that both worlds play: every kind of schedule, and every kind of death, with scripted times.

The seeds were found by `python -m tests.end_to_end.twin`: with them, what an actor decides does not hang on the time
that a message takes.
"""

from tests.end_to_end.twin import SLOT_S, Kill, Scenario

WHOLE = {"partial": False, "install": "drain"}
AT_REST = {"restarts": {"backoff_s": 3.0}, "schedule": {"eta": 0, "versions": 2}}
"""After a death all that can go on comes to rest before the actor is back: when it is back depends on the machine."""

SCENARIOS = (
    Scenario("synchronous", 8, {"schedule": {"eta": 0, "versions": 2, **WHOLE}}),
    Scenario("one step off", 5, {"schedule": {"eta": 1, **WHOLE}}),
    Scenario("k steps", 5, {"schedule": {"eta": 2, **WHOLE}}),
    Scenario("asynchronous, in segments", 6, {"schedule": {"eta": 1}}),
    Scenario("installs in flight", 5, {"schedule": {"eta": 2, "segment_tokens": 12}}),
    Scenario("installs after a drain", 5, {"schedule": {"eta": 1, "install": "drain"}}),
    Scenario("oversampled", 4, {"schedule": {"eta": 0, "oversample": 2.0}}),
    Scenario("reused", 7, {"schedule": {"eta": 1, "reuse": 2}}),
    Scenario("failed scorings", 8, {"standins": {"fail_score_every": 3}}),
    Scenario("failed jobs", 4, {"standins": {"fail_job_every": 4}}),
    Scenario("failed groups", 8, {"standins": {"fail_score_every": 4}, "buffer": {"max_attempts": 1}}),
    Scenario("groups without signal", 10, {"standins": {"flat_every": 3}, "buffer": {"no_signal": "evict"}}),
    Scenario("checkpoints of every other version", 6, {"schedule": {"checkpoint_every": 2}}),
    Scenario("windows of one", 8, {"schedule": {"batch": 4, "updates_per_version": 2, "versions": 2}}, window=1),
    Scenario(
        "an evaluator",
        7,
        {
            "roster": {"evaluator": "evaluator", "recorder": "recorder"},
            "evaluator": {"every": 1, "samples": 1, "max_response_tokens": 2},
            "own": {"evaluator": {"standins": {"slots": 16, "token_s": 0.02, "score_s": 0.01, "tick_s": 0.0}}},
        },
    ),
    Scenario(
        "one card in turns",
        1,
        {"card": {"by": "time"}, "schedule": {"eta": 2}, "roster": {"generators": ["g0"]}},
    ),
    Scenario("a slow generator", 7, {"own": {"g1": {"standins": {"token_s": 4.1 * SLOT_S}}}}),
    Scenario(
        "two rewarders",
        8,
        {
            "roster": {"rewarders": ["r0", "r1"]},
            "standins": {"tick_s": 8 * SLOT_S},
            "own": {"r1": {"standins": {"phase_s": 7 * SLOT_S}}},
        },
    ),
    Scenario(
        "a generator dies",
        3,
        {
            **AT_REST,
            "pace": {"heartbeat_s": 0.4},
            "own": {
                "g0": {"standins": {"token_s": 3.1 * SLOT_S}},
                "g1": {"standins": {"install_s": 6 * SLOT_S}},
            },
        },
        (Kill("g1", "dispatch", 2),),
    ),
    Scenario("the rewarder dies", 7, AT_REST, (Kill("r0", "score", 1),)),
    Scenario(
        "the learner dies",
        8,
        {
            "restarts": {"backoff_s": 5.0},
            "schedule": {"eta": 0, "versions": 2, "checkpoint_every": 2},
        },  # scores are late
        (Kill("learner", "publish", 2),),
    ),
    Scenario(
        "replay dies", 7, {**AT_REST, "pace": {"ask_timeout_s": 7 * 7 * SLOT_S}}, (Kill("replay", "dispatch", 2),)
    ),
    Scenario(
        "the controller dies",
        8,
        {
            "restarts": {"backoff_s": 0.1},
            "schedule": {"eta": 0, "versions": 1, "segment_tokens": 4, "max_response_tokens": 4},
            "standins": {"mean_tokens": 1000, "token_s": 8.1 * SLOT_S},
        },
        (Kill("controller", "dispatch", 2),),
    ),
)
