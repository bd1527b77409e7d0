"""What several replicas cannot do is refused when a model is compiled."""

from types import SimpleNamespace

import keras
import pytest

from mtk.trainer.compile_args import check_replicas

SGD = keras.optimizers.SGD


def check(optimizer, replicas=2, device="/GPU:0", jit_compile=False, steps_at_once=1):
    strategy = SimpleNamespace(
        num_replicas_in_sync=replicas, extended=SimpleNamespace(worker_devices=[device] * replicas)
    )
    inputs = keras.Input((2,))
    network = keras.Model(inputs, keras.layers.BatchNormalization(synchronized=True)(inputs))
    check_replicas(strategy, network, optimizer, jit_compile, 2, steps_at_once)


@pytest.mark.parametrize(
    ("optimizer", "given", "culprit"),
    [
        (SGD(clipnorm=1.0), {}, "`clipnorm`.*clip_norm"),
        (SGD(clipvalue=1.0), {}, "`clipvalue`"),
        (keras.optimizers.LossScaleOptimizer(SGD(global_clipnorm=1.0)), {}, "`global_clipnorm`"),
        (SGD(gradient_accumulation_steps=2), {}, "`gradient_accumulation_steps`.*micro_batches"),
        (SGD(use_ema=True, ema_overwrite_frequency=5), {}, "`ema_overwrite_frequency`"),
        (SGD(), {"device": "/CPU:0", "jit_compile": True}, "jit_compile=False"),
        (SGD(), {"device": "/CPU:0", "steps_at_once": 4}, "steps_per_execution=1"),
        (SGD(use_ema=True), {}, "synchronized=False"),
    ],
)
def test_what_replicas_cannot_do_is_named(optimizer, given, culprit):
    with pytest.raises(ValueError, match=rf"(?s){culprit}"):
        check(optimizer, **given)
    check(optimizer, replicas=1, **{"device": "/GPU:0", **given})
