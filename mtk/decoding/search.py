"""Beam search over any function that scores the next token."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

# Called with the last token of k sequences of each of B sentences, int32 (B, k); its position, a
# scalar counted from 0; the index of each sequence's token among the k of each position, (B, k,
# max_length), -1 for future positions; and a state, any structure of tensors, in which the entries
# of sequence i stay at i, whichever sequences continue it. Returns the logits of the next token,
# (B, k, vocabulary), and the new state.
Step = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, Any], tuple[tf.Tensor, Any]]


class Hypotheses(NamedTuple):
    """The best sequence found for each of B sentences.

    Attributes:
        ids: int32 `(B, max_length)`, padded with 0.
        scores: float32 `(B,)`.
    """

    ids: tf.Tensor
    scores: tf.Tensor


class _Beams(NamedTuple):
    """The variables of the loop.

    Attributes:
        position: Number of tokens chosen so far, scalar.
        ids: Unfinished sequences, `(B, k, 1 + max_length)`, with the start token.
        ancestors: Index of the sequence in which each of their tokens was chosen,
            `(B, k, max_length)`; -1 for future ones.
        log_probs: Log-probabilities of these sequences, `(B, k)`, in descending order; minus
            infinity if there is none.
        best: The best finished sequence.
        ended: Number of finished sequences, `(B,)`.
        state: State of the step function.
    """

    position: tf.Tensor
    ids: tf.Tensor
    ancestors: tf.Tensor
    log_probs: tf.Tensor
    best: Hypotheses
    ended: tf.Tensor
    state: Any


@dataclasses.dataclass(frozen=True)
class Search:
    """Beam search in one `tf.while_loop` with static shapes.

    A hypothesis is a sequence that ends with the end token, or has `max_length` tokens without it.
    Its score is its log-probability divided by `((5 + tokens) / 6) ** length_penalty`, where the
    end token is counted. Padding and the start token are never chosen.

    Of the `beam` best continuations of a sentence's sequences, those that end are hypotheses. The
    `beam` best continuations that do not end are continued. A sentence is finished when `beam`
    hypotheses have ended, or no sequence can exceed the best one, even if all its further tokens
    had probability one.

    Args:
        max_length: Largest number of tokens, including the end token.
        beam: Beam size; 1 is greedy search.
        length_penalty: Alpha of the length penalty; 0 compares plain log-probabilities.
        start: Id of the start token.
        end: Id of the end token.

    Raises:
        ValueError: If an argument is out of range.

    Reference:
        Wu et al., *Google's neural machine translation system* (2016), section 7 and equation 14
        without the coverage penalty. There the beam is also pruned by score, which would save
        nothing here with static shapes.
    """

    max_length: int
    beam: int = 4
    length_penalty: float = 0.6
    start: int = 1
    end: int = 2

    def __post_init__(self) -> None:
        if self.max_length < 1 or self.beam < 1:
            raise ValueError(
                "`max_length` (tokens) and `beam` (sequences) must be 1 or more. Received: "
                f"max_length={self.max_length}, beam={self.beam}"
            )
        if not self.length_penalty >= 0:
            raise ValueError(
                "`length_penalty` must be 0 or more: a negative one would favour sequences "
                f"that end immediately. Received: length_penalty={self.length_penalty}"
            )
        if self.start < 0 or self.end < 1 or self.start == self.end:
            raise ValueError(
                "`start` and `end` must be different ids, and not 0, which is padding. "
                f"Received: start={self.start}, end={self.end}"
            )

    def run(self, step: Step, state: Any, sentences: tf.Tensor | int) -> Hypotheses:
        """Runs the search.

        Args:
            step: Scores the next token; see `Step`.
            state: The initial state.
            sentences: B.
        """
        beams = tf.while_loop(
            lambda beams: tf.reduce_any(self._live(beams)),
            lambda beams: (self._advance(step, beams),),
            (self._begin(state, sentences),),
            maximum_iterations=self.max_length,
        )[0]
        # Live sequences now have `max_length` tokens, and their bound equals their score.
        live = self._live(beams)
        return Hypotheses(
            tf.where(live[:, None], beams.ids[:, 0, 1:], beams.best.ids),
            tf.where(live, self._bound(beams), beams.best.scores),
        )

    def _begin(self, state: Any, sentences: tf.Tensor | int) -> _Beams:
        shape = (sentences, self.beam, self.max_length)
        first = tf.fill((*shape[:2], 1), self.start)
        one = tf.where(tf.range(self.beam) == 0, 0.0, -float("inf"))
        best = Hypotheses(
            tf.zeros((sentences, self.max_length), tf.int32),
            tf.fill((sentences,), -float("inf")),
        )
        return _Beams(
            tf.constant(0),
            tf.concat([first, tf.zeros(shape, tf.int32)], axis=2),
            tf.fill(shape, -1),
            tf.tile(one[None], (sentences, 1)),
            best,
            tf.zeros((sentences,), tf.int32),
            state,
        )

    def _advance(self, step: Step, beams: _Beams) -> _Beams:
        last = tf.gather(beams.ids, beams.position, axis=2)
        here = tf.range(self.max_length) == beams.position
        ancestors = tf.where(here, tf.range(self.beam)[:, None], beams.ancestors)
        logits, state = step(last, beams.position, ancestors, beams.state)
        log_probs, parents, tokens = self._continuations(logits, beams.log_probs)
        ends = tokens == self.end
        best, ended = self._finished(beams, log_probs, parents, ends)
        # At most `beam` of the 2 beam continuations end: one per sequence.
        log_probs, kept = tf.math.top_k(tf.where(ends, -float("inf"), log_probs), self.beam)
        parents = tf.gather(parents, kept, batch_dims=1)
        ids = self._extended(beams, parents, tf.gather(tokens, kept, batch_dims=1))
        ancestors = tf.gather(ancestors, parents, batch_dims=1)
        return _Beams(beams.position + 1, ids, ancestors, log_probs, best, ended, state)

    def _continuations(self, logits: tf.Tensor, log_probs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns log-probability, sequence and token of the 2 beam best, each `(B, 2 beam)`."""
        vocabulary = tf.shape(logits)[2]
        ids = tf.range(vocabulary)
        barred = tf.where((ids == 0) | (ids == self.start), -float("inf"), 0.0)
        all_of_them = tf.nn.log_softmax(logits) + barred + log_probs[..., None]
        flat = tf.reshape(all_of_them, (-1, self.beam * vocabulary))
        values, indices = tf.math.top_k(flat, 2 * self.beam)
        return values, indices // vocabulary, indices % vocabulary

    def _finished(
        self, beams: _Beams, log_probs: tf.Tensor, parents: tf.Tensor, ends: tf.Tensor
    ) -> tuple[Hypotheses, tf.Tensor]:
        """Returns the best hypotheses including those that end now, and the number ended."""
        among_best = tf.range(2 * self.beam) < self.beam
        found = ends & among_best & (log_probs > -float("inf")) & self._live(beams)[:, None]
        scores = tf.where(found, log_probs / self._penalty(beams.position + 1), -float("inf"))
        chosen = tf.argmax(scores, axis=1, output_type=tf.int32)[:, None]
        parent = tf.gather(parents, chosen, batch_dims=1)
        ids = self._extended(beams, parent, tf.fill(tf.shape(parent), self.end))[:, 0, 1:]
        score = tf.gather(scores, chosen, batch_dims=1)[:, 0]
        better = score > beams.best.scores
        best = Hypotheses(
            tf.where(better[:, None], ids, beams.best.ids),
            tf.where(better, score, beams.best.scores),
        )
        return best, beams.ended + tf.reduce_sum(tf.cast(found, tf.int32), axis=1)

    def _extended(self, beams: _Beams, parents: tf.Tensor, tokens: tf.Tensor) -> tf.Tensor:
        """Returns sequences `(B, n, 1 + max_length)`: those of `parents` extended by a token."""
        here = tf.range(1 + self.max_length) == beams.position + 1
        return tf.where(here, tokens[..., None], tf.gather(beams.ids, parents, batch_dims=1))

    def _live(self, beams: _Beams) -> tf.Tensor:
        """Returns which sentences are unfinished, `(B,)`."""
        return (beams.ended < self.beam) & (self._bound(beams) > beams.best.scores)

    def _bound(self, beams: _Beams) -> tf.Tensor:
        """Returns the best sequence's score if its further tokens had probability one."""
        return beams.log_probs[:, 0] / self._penalty(self.max_length)

    def _penalty(self, tokens: tf.Tensor | int) -> tf.Tensor:
        return ((5.0 + tf.cast(tokens, tf.float32)) / 6.0) ** self.length_penalty
