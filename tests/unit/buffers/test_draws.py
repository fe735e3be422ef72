import pytest

from buffers.draws import mix, permutation, uniform


def test_numbers_are_a_function_of_their_arguments_on_every_machine() -> None:
    # splitmix64 of state 0 and of 1234567, as published with the generator
    assert mix(0) == 0xE220A8397B1DCDAF
    assert mix(1234567) == 6457827717110365317
    assert uniform(1, 2, 3) == uniform(1, 2, 3)
    assert len({uniform(1, 2, 3), uniform(0, 2, 3), uniform(1, 1, 3), uniform(1, 2, 4), uniform(-1, 2, 3)}) == 5


def test_numbers_are_spread_evenly() -> None:
    numbers = [uniform(5, 1, counter) for counter in range(10_000)]
    assert all(0.0 <= number < 1.0 for number in numbers)
    assert sum(numbers) / 10_000 == pytest.approx(0.5, abs=0.01)
    assert sum(number < 0.1 for number in numbers) == pytest.approx(1000, abs=100)


def test_a_permutation_holds_each_number_once_and_depends_on_its_stream() -> None:
    assert sorted(permutation(50, 1, 1)) == list(range(50))
    assert permutation(50, 1, 1) != permutation(50, 1, 2)
    assert permutation(0, 1, 1) == []
