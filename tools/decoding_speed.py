"""Compares beam search with a cache of keys and values to recomputing every prefix.

    python tools/decoding_speed.py
    python tools/decoding_speed.py --length=128 --sentences=32 --skip_prefixes

Both run the same search in one graph, take turns in one process, and must find the same sequences.
No sequence ends before `--length` tokens. Prefixes are computed without padding, and both encode
the source once.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

VOCABULARY, SOURCE = 8000, 32


def kept(args: argparse.Namespace, network: Any) -> Callable[[Any], Any]:
    """Returns the search of the library."""
    import tensorflow as tf

    from mtk.decoding import beam_search

    # No logit has the number of this end token.
    return tf.function(
        lambda source: beam_search(network, source, args.length, args.beam, end=VOCABULARY),
        jit_compile=args.jit_compile,
        autograph=False,
    )


def recomputed(args: argparse.Namespace, network: Any) -> Callable[[Any], Any]:
    """Returns the same search, with a pass of the decoder over the whole prefix at every step."""
    import tensorflow as tf

    from mtk.decoding import Search

    @tf.function(autograph=False)
    def search(source: tf.Tensor) -> Any:
        memory = tf.repeat(network.encode(source), args.beam, axis=0)
        sources = tf.repeat(source, args.beam, axis=0)

        def step(
            tokens: tf.Tensor, position: tf.Tensor, ancestors: tf.Tensor, chosen: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor]:
            here = tf.range(args.length) == position
            chosen = tf.where(here[:, None], tokens[:, None], chosen)
            whose = tf.transpose(ancestors[..., : position + 1], (0, 2, 1))
            own = tf.gather(chosen[:, : position + 1], whose, batch_dims=2)
            prefixes = tf.reshape(tf.transpose(own, (0, 2, 1)), (-1, position + 1))
            logits = network.decode(prefixes, memory, sources)[:, -1]
            return tf.reshape(logits, (-1, args.beam, VOCABULARY)), chosen

        nothing = tf.zeros((args.sentences, args.length, args.beam), tf.int32)
        return Search(args.length, args.beam, end=VOCABULARY).run(step, nothing, args.sentences)

    return search


def timed(search: Callable[[Any], Any], source: Any) -> tuple[float, float]:
    """Returns the seconds that a search takes, on the clock and of all cores together."""
    start, worked = time.perf_counter(), time.process_time()
    search(source).ids.numpy()
    return time.perf_counter() - start, time.process_time() - worked


def main() -> None:
    """Parses the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sentences", type=int, default=8)
    parser.add_argument("--length", type=int, default=64)
    parser.add_argument("--beam", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--jit_compile", action="store_true", help="use XLA for the search with a cache"
    )
    parser.add_argument(
        "--skip_prefixes", action="store_true", help="time only the search with a cache"
    )
    args = parser.parse_args()
    import numpy as np
    import tensorflow as tf

    from mtk.models import Transformer

    network = Transformer(VOCABULARY, 3, width=256, feed_forward_width=1024, num_heads=8, seed=0)
    network.build()
    ids = np.random.default_rng(0).integers(3, VOCABULARY, (args.sentences, SOURCE))
    source = tf.constant(ids, tf.int32)
    about = f"{args.sentences} sentences, beam {args.beam}, {args.length} tokens"
    print(f"{about}, {os.cpu_count()} cores")
    own = kept(args, network)
    found = own(source).ids.numpy()
    assert (found > 0).all()
    if args.skip_prefixes:
        clock, work = zip(*(timed(own, source) for _ in range(args.rounds)), strict=True)
        print(f"{statistics.median(clock):.2f} s, {statistics.median(work):.2f} s of the cores")
        return
    other = recomputed(args, network)
    same = (other(source).ids.numpy() == found).all(axis=1).mean()
    print(f"the same sequences: {same:.0%}")
    rounds = [(timed(own, source), timed(other, source)) for _ in range(args.rounds)]
    for index, name in enumerate(("clock", "cores")):
        ratios = [slow[index] / quick[index] for quick, slow in rounds]
        first = f"{rounds[0][0][index]:.2f} s and {rounds[0][1][index]:.2f} s in the first round"
        ratio = f"{statistics.median(ratios):.1f} ({min(ratios):.1f} .. {max(ratios):.1f})"
        print(f"{name}: {ratio}, {first}")


if __name__ == "__main__":
    main()
