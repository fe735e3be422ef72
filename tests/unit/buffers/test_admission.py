from buffers.admission import admissible_groups, reservation_tokens


def test_groups_are_admitted_up_to_the_bound_and_not_one_more() -> None:
    assert admissible_groups(live=0, k=4, eta=0, batch=16, oversample=1.0) == 4
    assert admissible_groups(live=12, k=4, eta=0, batch=16, oversample=1.0) == 1
    assert admissible_groups(live=13, k=4, eta=0, batch=16, oversample=1.0) == 0
    assert admissible_groups(live=16, k=4, eta=2, batch=16, oversample=1.0) == 8
    assert admissible_groups(live=99, k=4, eta=0, batch=16, oversample=1.0) == 0


def test_oversampling_scales_the_bound_without_rounding_it_away() -> None:
    assert admissible_groups(live=0, k=2, eta=0, batch=20, oversample=1.1) == 11
    assert admissible_groups(live=0, k=2, eta=0, batch=4, oversample=1.4) == 2


def test_a_reservation_is_for_the_longest_answers() -> None:
    assert reservation_tokens(k=8, prompt_tokens=100, max_response_tokens=2000) == 16_800
