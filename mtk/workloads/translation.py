"""Translation: one model from one language into several, one task each."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

import keras
import numpy as np
import tensorflow as tf

from mtk.data.mixing import mixed_batches, per_task_batches
from mtk.data.sources import Source
from mtk.data.translation.batches import Lengths, fitting_pairs, pair_source, sequential_batches
from mtk.data.translation.bleu import corpus_bleu, tokenizer
from mtk.data.translation.corpus import TEST, TRAIN, VALIDATION, Corpus
from mtk.data.translation.vocabulary import PAD
from mtk.decoding import Decoding, check_vocabulary, served, translator
from mtk.losses import SmoothedCrossentropy
from mtk.metrics import SparseCategoricalError, SparseCrossEntropy
from mtk.models import Transformer
from mtk.ranges import check_count, check_rate
from mtk.ratios import Ratios
from mtk.tasks import Task
from mtk.workloads.base import Scores, Workload

# Pairs of each language to evaluate of the training split, which may have millions.
_TRAIN_EVALUATION = 5_000


class Translation(Workload):
    """Translation into several languages, which are the names of the tasks.

    Each example belongs to one task. Batches are either mixed in given proportions,
    `(x, y, task_ids)`: proportional sampling, for `mtk.combiners.ProportionalSampling`; or they
    hold an equal share for each task, `{task: (x, y)}`, for methods that read per-task gradients.
    For `x` and `y` see `mtk.data.translation.batches.pair_source`.

    Metrics of a task: `loss`, with label smoothing, a mean over tokens, whose mean over the tasks
    is the selection criterion; `cross_entropy`, the same without smoothing; `error`, the percentage
    of wrong next tokens; and, from `scores`, `bleu`. Too long pairs are skipped in training and
    truncated in evaluation. The training split is evaluated on the first 5,000 pairs of each
    language.

    Args:
        corpus: Factory of the corpus.
        sampling_rates: Shares of the tasks in a batch, by language or in the order of the
            languages; None for equal shares.
        lengths: Lengths of rows.
        window: Number of steps among which training pairs are sorted by length, which saves
            padding; 1 for none. See `mtk.data.bucketing`.
        label_smoothing: Label smoothing of the loss.
        num_layers: Number of layers of the Transformer's encoder, and of its decoder.
        width: Width of the Transformer.
        feed_forward_width: Width of its feed-forward blocks.
        num_heads: Number of its attention heads.
        dropout: Rate of its dropout layers.
        beam: Beam size for BLEU.

    Attributes:
        corpus: The corpus.

    Raises:
        ValueError: If an argument is out of range, no training pair is short enough, or a language
            code is unknown.
        ImportError: If SacreBLEU, or a dependency of the corpus, is not installed.

    Reference:
        Xin et al., *Do Current Multi-Task Optimization Methods in Deep Learning Even Help?* (2022),
        appendix A.
    """

    name = "translation"

    def __init__(
        self,
        corpus: Callable[[], Corpus],
        sampling_rates: Annotated[
            Mapping[str, float] | Sequence[float] | None, Ratios(none_is_equal=False)
        ] = None,
        lengths: Lengths | None = None,
        window: int = 1,
        label_smoothing: float = 0.1,
        num_layers: int = 3,
        width: int = 512,
        feed_forward_width: int = 2048,
        num_heads: int = 8,
        dropout: float = 0.1,
        beam: int = 4,
    ):
        check_rate(dropout=dropout, label_smoothing=label_smoothing)
        check_count(window=window, num_layers=num_layers, width=width, num_heads=num_heads)
        check_count(feed_forward_width=feed_forward_width, beam=beam)
        self.corpus = corpus()
        for language in self.corpus.languages:
            tokenizer(language)  # Missing dependencies should be reported before training.
        self.lengths = lengths or Lengths()
        self.sampling_rates = _by_language(sampling_rates, self.corpus.languages)
        self.window = window
        self.num_layers, self.width, self.feed_forward_width = num_layers, width, feed_forward_width
        self.num_heads, self.dropout = num_heads, dropout
        self.decoding = Decoding(self.lengths.longest, self.lengths.longest, beam)
        loss = SmoothedCrossentropy(label_smoothing)
        self.tasks = [_next_token(language, loss) for language in self.corpus.languages]
        self._fitting = {
            language: self._find_fitting(language) for language in self.corpus.languages
        }
        self._train = self._sources(TRAIN, self._fitting)
        self.num_train = sum(map(len, self._fitting.values()))
        self.signatures: dict[str, str] = {}
        self.score_directions = {"bleu": "max"}
        if self.sampling_rates is not None:
            total = sum(self.sampling_rates.values())
            self.shares = {name: rate / total for name, rate in self.sampling_rates.items()}

    def network(self, seed: int | None = None) -> keras.Model:
        network = Transformer(
            len(self.corpus.vocabulary),
            self.num_layers,
            self.width,
            self.feed_forward_width,
            self.num_heads,
            self.dropout,
            seed,
        )
        network.build()
        return network

    def train(self, batch_size: int, steps: int, seed: int, first_step: int = 0) -> tf.data.Dataset:
        if self.sampling_rates is None:
            return per_task_batches(self._train, batch_size, steps, seed, first_step, self.window)
        rates = self.sampling_rates
        return mixed_batches(self._train, rates, batch_size, steps, seed, first_step, self.window)

    def train_evaluation(self, batch_size: int) -> tf.data.Dataset:
        first = {name: kept[:_TRAIN_EVALUATION] for name, kept in self._fitting.items()}
        return sequential_batches(self._sources(TRAIN, first), batch_size)

    def validation(self, batch_size: int) -> tf.data.Dataset:
        return sequential_batches(self._sources(VALIDATION), batch_size)

    def test(self, batch_size: int) -> tf.data.Dataset:
        return sequential_batches(self._sources(TEST), batch_size)

    def fingerprint(self) -> Mapping[str, str]:
        return self.corpus.fingerprint()

    def check(self, network: keras.Model) -> None:
        """Checks that the network has the corpus's vocabulary, as far as it records its own.

        Raises:
            ValueError: If it has another vocabulary.
        """
        check_vocabulary(network, self.corpus.vocabulary)

    def scores(self, network: keras.Model, split: str) -> Scores:
        """Returns the BLEU of beam search for each language, on validation or test.

        There are none for the training split, whose texts are not stored, nor for a network that
        only gives logits, such as one loaded from `saved_model/`.
        """
        translate = translator(network, self.corpus.vocabulary, self.decoding)
        if split == TRAIN or translate is None:
            return {}
        found = {}
        for language in self.corpus.languages:
            sources, references = self.corpus.texts(split, language)
            bleu = corpus_bleu(translate(sources, language).texts, references, language)
            how = f"|beam:{self.decoding.beam}|penalty:{self.decoding.length_penalty}"
            self.signatures[f"{language}/bleu"] = bleu.signature + how
            found[language] = {"bleu": bleu.score}
        return found

    def serving(self, network: keras.Model) -> Mapping[str, tf.Module]:
        if not isinstance(network, Transformer):
            return {}
        return served(network, self.decoding, self.corpus.vocabulary)

    def _find_fitting(self, language: str) -> np.ndarray:
        """Returns the indices of the training pairs that are short enough."""
        longest = self.lengths.longest
        fitting = fitting_pairs(self.corpus.pairs(TRAIN, language), longest)
        if not fitting.size:
            raise ValueError(
                f"No training pair of {language!r} has at most {longest} tokens per side, "
                "including special tokens. Add shorter pairs to the corpus, or increase "
                "lengths.longest."
            )
        return fitting

    def _sources(
        self, split: str, chosen: Mapping[str, np.ndarray] | None = None
    ) -> dict[str, Source]:
        """Returns the pairs of a split, all or the chosen ones, by language."""
        corpus = self.corpus
        return {
            language: pair_source(
                corpus.pairs(split, language),
                corpus.vocabulary.language_id(language),
                self.lengths,
                None if chosen is None else chosen[language],
            )
            for language in corpus.languages
        }


def _next_token(language: str, loss: keras.losses.Loss) -> Task:
    return Task(language, loss, [SparseCrossEntropy(), SparseCategoricalError()], missing=PAD)


def _by_language(
    rates: Mapping[str, float] | Sequence[float] | None, languages: Sequence[str]
) -> dict[str, float] | None:
    if rates is None:
        return None
    names = list(rates) if isinstance(rates, Mapping) else list(languages)
    if len(rates) != len(languages) or set(names) != set(languages):
        raise ValueError(
            f"`sampling_rates` must have one number for each language, {list(languages)}. "
            f"Received: {rates}"
        )
    if isinstance(rates, Mapping):
        return {language: rates[language] for language in languages}
    return dict(zip(languages, rates, strict=True))
