"""Traffic by kind of message: counted per kind, told once a second and at the end."""

from actors.eventlog import EventLogWriter, Traffic, read_events
from actors.kernel.backend import Envelope
from actors.live.traffic import PERIOD_NS
from actors.live.traffic import Traffic as Counter


def sent(counter, message, size):
    return counter.counted(lambda envelope: bytes(size), Envelope("b", "a", 1, 0, 0, 0, message))


def test_traffic_is_told_by_kind_once_a_second_and_each_message_once(tmp_path):
    log, counter = EventLogWriter(tmp_path / "a.events", "live", 7), Counter(0)
    assert sent(counter, 1, 10) == bytes(10)
    sent(counter, 2, 20)
    sent(counter, "a", 5)
    counter.tell(log, PERIOD_NS - 1, "p")  # too early
    counter.tell(log, PERIOD_NS, "p")
    sent(counter, "b", 7)
    counter.tell(log, 2 * PERIOD_NS - 1, "p")  # too early again
    counter.tell(log, 2 * PERIOD_NS - 1, "p", at_once=True)
    log.close()
    assert read_events([tmp_path]) == [
        Traffic(PERIOD_NS, "p", "int", 2, 30),
        Traffic(PERIOD_NS, "p", "str", 1, 5),
        Traffic(2 * PERIOD_NS - 1, "p", "str", 1, 7),
    ]
