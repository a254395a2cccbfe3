"""A text cut into any pieces is told as it is when whole: up to the stop string."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from nlp_lstm.text.until_stop import UntilStop

TEXTS = st.text("ab\n", max_size=30)


@given(TEXTS, st.text("ab\n", max_size=4), st.lists(st.integers(0, 30)))
def test_pieces_tell_what_the_whole_tells(text, stop, cuts):
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    until, told = UntilStop(stop), ""
    for start, end in itertools.pairwise(bounds):
        told += until.take(text[start:end])
        # Nothing is told too early, and no more is held back than could begin the stop string.
        assert text.startswith(told) and (not stop or stop not in told)
        assert until.ended or end - len(told) <= max(0, len(stop) - 1)
    assert until.ended == (stop != "" and stop in text)
    assert told + until.rest() == (text.partition(stop)[0] if stop else text)
