"""Beam search over tables of random scores, without a network."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from mtk.decoding import Search
from tests.decoding import by_hand
from tests.quick import some

VOCABULARY, LENGTH = 7, 5


class Table:
    """Logits of the next token by sentence, position and last token."""

    def __init__(self, seed: int, sentences: int = 3, spread: float = 2.0):
        shape = (sentences, LENGTH, VOCABULARY, VOCABULARY)
        self.logits = np.random.default_rng(seed).normal(scale=spread, size=shape)
        self.calls = 0

    def step(self, tokens, position, ancestors, state):
        self.calls += 1
        logits = tf.constant(self.logits, tf.float32)[:, position]
        return tf.gather(logits, tokens, batch_dims=1), state

    def model(self, sentence: int) -> by_hand.Model:
        def next_log_probs(ids):
            last = ids[-1] if ids else by_hand.START
            return by_hand.log_softmax(self.logits[sentence, len(ids), last])

        return next_log_probs

    def search(self, **arguments):
        return Search(LENGTH, **arguments).run(self.step, (), len(self.logits))


SETTINGS = list(itertools.product([1, 2, 4], [0.0, 0.6, 2.0]))


@pytest.mark.parametrize(("beam", "alpha"), some(SETTINGS, SETTINGS[::4]))
def test_equals_the_reference_search(beam, alpha):
    lengths = set()
    for seed in range(8):
        table = Table(seed)
        ids, scores = table.search(beam=beam, length_penalty=alpha)
        for sentence in range(3):
            model = table.model(sentence)
            expected = by_hand.beam_search(model, LENGTH, beam, alpha)
            assert ids[sentence].numpy().tolist() == by_hand.padded(expected, LENGTH)
            expected_score = by_hand.score(model, expected, alpha)
            assert scores[sentence].numpy() == pytest.approx(expected_score, rel=1e-5)
            lengths.add(len(expected))
    assert len(lengths) > 2  # Otherwise the tables would be too uniform for the test.


def test_beam_1_is_greedy():
    for seed in range(12):
        table = Table(seed)
        ids, _ = table.search(beam=1, length_penalty=1.5)
        for sentence in range(3):
            expected = by_hand.greedy(table.model(sentence), LENGTH)
            assert ids[sentence].numpy().tolist() == by_hand.padded(expected, LENGTH)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_wide_beam_finds_the_best_hypothesis(alpha):
    hypotheses = by_hand.all_hypotheses(VOCABULARY, LENGTH)
    for seed in range(4):
        table = Table(seed, sentences=2)
        ids, scores = table.search(beam=len(hypotheses), length_penalty=alpha)
        for sentence in range(2):
            model = table.model(sentence)
            known = {ids: by_hand.score(model, ids, alpha) for ids in hypotheses}
            best = max(known, key=known.__getitem__)
            assert ids[sentence].numpy().tolist() == by_hand.padded(best, LENGTH)
            assert scores[sentence].numpy() == pytest.approx(known[best], rel=1e-5)


def test_length_penalty_favours_long_sequences():
    lengths = []
    for alpha in (0.0, 1.0, 4.0):
        found = [Table(seed).search(length_penalty=alpha).ids.numpy() for seed in range(6)]
        lengths.append(sum(np.count_nonzero(ids) for ids in found))
    assert lengths[0] < lengths[1] < lengths[2]


def test_padding_and_start_are_never_generated():
    table = Table(0)
    table.logits[..., [0, by_hand.START]] += 50.0
    ids = table.search().ids.numpy()
    assert by_hand.START not in ids
    for row in ids:
        words = np.count_nonzero(row)
        assert words > 0
        assert not row[words:].any()


def test_sequence_without_end_token_is_returned():
    table = Table(1)
    table.logits[..., by_hand.END] = -1e9
    ids, scores = table.search()
    assert (ids.numpy() > by_hand.END).all()
    assert np.isfinite(scores).all()


def test_stops_when_no_hypothesis_can_improve():
    table = Table(2)
    table.logits[:, 1, :, by_hand.END] = 30.0  # Almost certain after the first token.
    ids = table.search().ids.numpy()
    assert (ids[:, 1] == by_hand.END).all()
    assert table.calls == 2


def test_continues_while_a_hypothesis_can_improve():
    """The end token is likelier as first token, but the other token's continuation is certain."""
    table = Table(0, sentences=1)
    table.logits[:] = -40.0
    table.logits[0, 0, by_hand.START, [by_hand.END, 3]] = np.log([0.6, 0.4])
    table.logits[0, 1:, :, by_hand.END] = -60.0
    table.logits[0, 1:, 3, 3] = 0.0
    ids, scores = table.search(beam=2, length_penalty=4.0)
    assert ids.numpy().tolist() == [[3] * LENGTH]
    assert scores.numpy() == pytest.approx([np.log(0.4) / (10 / 6) ** 4])
    assert table.search(beam=2, length_penalty=0.0).ids.numpy().tolist() == [[2, 0, 0, 0, 0]]


def test_sentences_are_independent():
    table = Table(3, sentences=6, spread=3.0)
    together = table.search()
    for sentence in range(6):
        single = Table(3, sentences=6, spread=3.0)
        single.logits = table.logits[sentence : sentence + 1]
        alone = single.search()
        assert alone.ids.numpy().tolist() == together.ids[sentence : sentence + 1].numpy().tolist()
        assert alone.scores.numpy() == pytest.approx(together.scores[sentence].numpy())


def test_nan_scores_end_only_their_sentence():
    table = Table(4)
    expected = table.search()
    table.logits[1] = np.nan
    ids, scores = table.search()
    assert not ids[1].numpy().any()
    assert scores[1] == -np.inf
    for sentence in (0, 2):
        assert ids[sentence].numpy().tolist() == expected.ids[sentence].numpy().tolist()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_length": 0}, "max_length=0"),
        ({"beam": 0}, "beam=0"),
        ({"length_penalty": -0.1}, "length_penalty=-0.1"),
        ({"length_penalty": float("nan")}, "length_penalty=nan"),
        ({"end": 1}, "end=1"),
        ({"end": 0}, "not 0, which is padding"),
    ],
)
def test_arguments_out_of_range_raise(arguments, message):
    with pytest.raises(ValueError, match=message):
        Search(**{"max_length": 4, **arguments})
