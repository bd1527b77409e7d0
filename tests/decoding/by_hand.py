"""Reference implementations of decoding, for one sentence at a time."""

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np

START, END = 1, 2

# Log-probabilities of the next token after a prefix without the start token.
Model = Callable[[tuple[int, ...]], np.ndarray]


def penalty(tokens: int, alpha: float) -> float:
    return ((5 + tokens) / 6) ** alpha


def log_softmax(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits, float)
    return logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)


def score(model: Model, ids: Sequence[int], alpha: float) -> float:
    terms = [model(tuple(ids[:i]))[token] for i, token in enumerate(ids)]
    return sum(terms) / penalty(len(ids), alpha)


def all_hypotheses(vocabulary: int, max_length: int) -> list[tuple[int, ...]]:
    words = range(END + 1, vocabulary)
    ended = [
        (*prefix, END)
        for length in range(max_length)
        for prefix in itertools.product(words, repeat=length)
    ]
    return ended + list(itertools.product(words, repeat=max_length))


def greedy(model: Model, max_length: int) -> tuple[int, ...]:
    ids: tuple[int, ...] = ()
    while len(ids) < max_length and ids[-1:] != (END,):
        log_probs = model(ids).copy()
        log_probs[[0, START]] = -math.inf
        ids = (*ids, int(log_probs.argmax()))
    return ids


def beam_search(model: Model, max_length: int, beam: int, alpha: float) -> tuple[int, ...]:
    """Continues to the maximal length, unless `beam` sequences have ended."""
    alive, ended = [((), 0.0)], []
    for _ in range(max_length):
        every = [
            ((*ids, token), total + log_prob)
            for ids, total in alive
            for token, log_prob in enumerate(model(ids))
            if token not in (0, START)
        ]
        every.sort(key=lambda entry: -entry[1])
        ended += [entry for entry in every[:beam] if entry[0][-1] == END]
        alive = [entry for entry in every if entry[0][-1] != END][:beam]
        if len(ended) >= beam:
            alive = []
    return max(ended + alive, key=lambda entry: entry[1] / penalty(len(entry[0]), alpha))[0]


def padded(ids: Sequence[int], max_length: int) -> list[int]:
    return [*ids, *[0] * (max_length - len(ids))]
