"""The steps and evaluations of a run, from wherever it stands."""

from collections.abc import Sequence

import keras

from mtk import callbacks
from mtk.callbacks.base import StepCallback
from mtk.experiment.checkpointing import Checkpointing, Position
from mtk.experiment.plan import Plan
from mtk.experiment.supply import Supply
from mtk.trainer import MultiTaskModel
from mtk.workloads import Workload


class Fitting:
    """Fits a model by a plan.

    One of Keras' epochs is the time between two evaluations. Where a run is taken up inside one, a
    short `fit` completes it, and another does the rest.

    Args:
        model: The compiled model.
        data: The workload.
        plan: Steps and evaluations.
        watchers: The callbacks that watch the run.
        checkpointing: What saves it.
        profile: What records steps for the profiler, if anything does.
        further: Callbacks of the user's.

    Attributes:
        throughput: What measures the speed.
    """

    def __init__(
        self,
        model: MultiTaskModel,
        data: Workload,
        plan: Plan,
        watchers: Sequence[StepCallback],
        checkpointing: Checkpointing,
        profile: callbacks.Profile | None = None,
        further: Sequence[keras.callbacks.Callback] = (),
    ):
        self.model = model
        self.data = data
        self.plan = plan
        self.checkpointing = checkpointing
        is_chief = checkpointing.interruption.workers.is_chief
        selection = next(w for w in watchers if isinstance(w, callbacks.Selection))
        shown = [callbacks.Progress(plan.steps, selection=selection)] if is_chief else []
        ends = [callbacks.StepLimit(plan.steps), *shown]
        # Behind the checkpoints, so that it does not take their time for an evaluation's.
        self.throughput = callbacks.Throughput(plan.batch_size)
        self.supply = Supply(data.name, plan)
        first = [] if profile is None else [profile]
        own = [self.supply, *first, *watchers, *ends, checkpointing, self.throughput]
        self.callbacks = [*own, *further]
        for callback in self.callbacks:
            callback.set_model(model)  # A run that only lacks its end takes no step that would.

    def go_on(self, position: Position) -> None:
        """Takes the steps and makes the evaluations that are missing.

        Args:
            position: Where the run stands; model and callbacks are as they were there.

        Raises:
            ExhaustedDataError: If the training data end before they are due.
        """
        step, every = position.step, self.plan.evaluate_every
        self.model.stop_training = position.stopped
        due = position.stopped or step % every == 0 or step == self.plan.steps
        if due and not position.evaluated:
            self._evaluate(step)
        if self._is_done(step):
            # What Keras' `fit` does at its end: an optimizer may average the weights.
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        while not self._is_done(step):
            missing = -step % every
            end = min(step + missing, self.plan.steps) if missing else self.plan.steps
            self._fit(step, end)
            step = end
            if not self._is_done(step):
                self.checkpointing.reassign()  # As before the end of that `fit`.

    def _is_done(self, step: int) -> bool:
        return bool(self.model.stop_training) or step >= self.plan.steps

    def _fit(self, first: int, end: int) -> None:
        """Goes from one step to another; `first` may lie between two evaluations, `end` not."""
        plan, done = self.plan, first % self.plan.evaluate_every
        self._start_at(first)
        if done:
            self.checkpointing.refill_metrics()
        batches = self.data.train(plan.batch_size, plan.steps, plan.seed, first)
        self.supply.expect(batches, first)
        self.model.fit(
            batches,
            validation_data=self.data.validation(plan.batch_size),
            # StepLimit ends the run's last epoch, which may be shorter.
            initial_epoch=first // plan.evaluate_every,
            epochs=-(-end // plan.evaluate_every),
            steps_per_epoch=plan.evaluate_every - done,
            callbacks=self.callbacks,
            shuffle=False,  # The data set has its order; Keras warns if it is not told.
            verbose=0,
        )

    def _evaluate(self, step: int) -> None:
        """Makes up for an evaluation that was cut off, as `fit` would have made it."""
        self._start_at(step)
        notified = keras.callbacks.CallbackList(self.callbacks, model=self.model)
        notified.on_train_begin()
        logs = dict(self.model.get_metrics_result())
        found = self.model.evaluate(
            self.data.validation(self.plan.batch_size),
            callbacks=notified,
            verbose=0,
            return_dict=True,
        )
        logs.update({f"val_{name}": value for name, value in found.items()})
        notified.on_epoch_end((step - 1) // self.plan.evaluate_every, logs)
        notified.on_train_end()

    def _start_at(self, step: int) -> None:
        for callback in self.callbacks:
            callback.start = step
