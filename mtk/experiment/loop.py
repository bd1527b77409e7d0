"""The training loop of a run: steps and evaluations from its current step, then its end."""

import warnings
from collections.abc import Iterator
from typing import Any

import keras

from mtk import callbacks
from mtk.experiment import (
    branching,
    completion,
    dry_run,
    hparams,
    manifest,
    method,
    per_example,
    rungs,
    sealed,
)
from mtk.experiment.building import Built
from mtk.experiment.callables import called
from mtk.experiment.checkpointing import Checkpointing, Position
from mtk.experiment.options import Checkpoints, Logging
from mtk.experiment.preemption import InterruptedRunError, Preemption
from mtk.experiment.run_folder import RunFolder
from mtk.experiment.supply import Supply
from mtk.trainer import batch

_WATCHED = 4  # Batches on which the use of experts is measured.


class Loop:
    """Trains a run from its newest checkpoint on, and completes the run folder.

    A Keras epoch is the interval between two evaluations. If a run resumes within one, a short
    `fit` completes it, and another one does the rest.

    Args:
        built: Data, model and plan.
        folder: The claimed run folder; nothing is written before `go`.
        preemption: The handler of signals.
        logging: What to log during the run.
        checkpoints: How often to save the run.

    Raises:
        ValueError: If the steps to profile are not in order or exceed those of the run, or the run
            has no evaluation at which it can pause.
    """

    def __init__(
        self,
        built: Built,
        folder: RunFolder,
        preemption: Preemption,
        logging: Logging,
        checkpoints: Checkpoints,
    ):
        self.built, self.folder, self.preemption = built, folder, preemption
        self.model, self.data, self.plan = built.model, built.data, built.plan
        self.watchers = completion.Watchers(
            callbacks.TaskBoard(folder.tensorboard, logging.log_every, logging.measure_every),
            callbacks.MetricsLog(folder.metrics),
            callbacks.BestCheckpoint(
                folder.selected, self.plan.patience, built.monitor, restore=False
            ),
            callbacks.TerminateOnNonFinite(),
        )
        self.checkpointing = Checkpointing(folder, self.watchers, preemption, checkpoints)
        self._pause_at, self._keep_pauses = checkpoints.pause_at, checkpoints.keep_pauses
        self._branch_from = checkpoints.branch_from
        self._until = self.plan.steps
        if self._pause_at is not None:
            self._until = rungs.evaluation_at(self.plan, self._pause_at)
        self._profile = self._profile_of(logging.profile_steps)
        self._supply = Supply(self.data.name, self.plan)
        self._throughput = callbacks.Throughput(self.plan.batch_size)
        self._further = [called("callbacks", make) for make in logging.callbacks]
        self._callbacks: list[keras.callbacks.Callback] = []

    def go(self) -> dict[str, Any]:
        """Does the rest of the run; the folder must be open.

        Returns:
            The contents of `result.json`; or the status "interrupted" if a signal stopped the run,
            or "paused" with the results so far.
        """
        store = self.checkpointing.writer.store
        if self._branch_from is not None and store.newest() is None:
            branching.begin(self.built, self.folder, store, self._branch_from)
        position = self.checkpointing.restore(self.model)
        facts = {
            "variables": dry_run.sharing(self.model),
            "method": branching.described(self.folder, method.describe(self.model, self.data)),
            "data": dict(self.folder.description.data),
        }
        manifest.begin(self.folder.manifest, self.plan.seed, position.step, facts)
        try:
            ended = self.train(position)
            self.checkpointing.complete()
            self._note_speed()
            if not ended:
                return self._paused()
            result = self.folder.close(self._ended())
            self.checkpointing.forget_damaged()
            return result
        except InterruptedRunError:
            self._note_speed()
            return {"status": "interrupted", "steps": self.checkpointing.step}
        except OSError as error:
            raise self.folder.stopped_by(error) from error
        finally:
            self.checkpointing.close()

    def train(self, position: Position) -> bool:
        """Does the remaining steps and evaluations, up to the next pause.

        Args:
            position: The progress of the run, to which model and callbacks are restored.

        Returns:
            Whether the training has ended; False if it pauses.

        Raises:
            ExhaustedDataError: If the training data end too early.
        """
        self._callbacks = self._ordered()
        for callback in self._callbacks:
            callback.set_model(self.model)  # If only the end of the run is left, no step does this.
        step, every = position.step, self.plan.evaluate_every
        self._warn_of_past_profile(step)
        self.model.stop_training = position.stopped
        due = position.stopped or step % every == 0 or step == self.plan.steps
        if due and not position.evaluated:
            self._evaluate(step)
        if self._is_done(step):
            # Keras' `fit` does this at its end: an optimizer may average the weights.
            self.model.optimizer.finalize_variable_values(self.model.trainable_weights)
        while not self._is_done(step) and step < self._until:
            missing = -step % every
            end = min(step + missing, self.plan.steps) if missing else self._until
            self._fit(step, end)
            step = end
            if not self._is_done(step):
                self.checkpointing.reassign()  # As before the end of that `fit`.
        return self._is_done(step)

    def _paused(self) -> dict[str, Any]:
        assert self._pause_at is not None
        if self._keep_pauses:
            kept = self.folder.pause(self._pause_at)
            self.checkpointing.writer.store.keep_as(kept, self._until)
        selection = self.watchers.selection
        return rungs.write(self.folder, self._pause_at, self._until, self.plan, selection)

    def _ordered(self) -> list[keras.callbacks.Callback]:
        """Returns all callbacks in the order in which they must be called."""
        board = self.watchers.board
        pictures = callbacks.Images(board.curves, self.data.draw_images)
        progress = (
            [callbacks.Progress(self.plan.steps, selection=self.watchers.selection)]
            if self.preemption.is_chief
            else []
        )
        return [
            self._supply,
            *([self._profile] if self._profile else []),
            *self.watchers,
            pictures,
            callbacks.Gates(board, self._watched),
            callbacks.MaxSteps(self.plan.steps),
            *progress,
            self.checkpointing,
            # After the checkpoints, so that their time does not count as that of an evaluation.
            self._throughput,
            *self._further,
        ]

    def _watched(self) -> Iterator[Any]:
        """Yields the network's inputs of the first validation batches."""
        for data in self.data.validation(self.plan.batch_size).take(_WATCHED):
            yield from (part.inputs for part in batch.parse(data, self.model.task_names))

    def _is_done(self, step: int) -> bool:
        return bool(self.model.stop_training) or step >= self.plan.steps

    def _fit(self, first: int, end: int) -> None:
        """Trains from one step to another; `first` may lie between evaluations, `end` may not."""
        plan, done = self.plan, first % self.plan.evaluate_every
        self._start_at(first)
        if done:
            self.checkpointing.refill_metrics()
        batches = self.built.batches(first)
        self._supply.expect(batches, first)
        self.model.fit(
            batches,
            validation_data=self.data.validation(plan.batch_size),
            # MaxSteps ends the run's last epoch, which may be shorter.
            initial_epoch=first // plan.evaluate_every,
            epochs=-(-end // plan.evaluate_every),
            steps_per_epoch=plan.evaluate_every - done,
            callbacks=self._callbacks,
            shuffle=False,  # The data set is already ordered; by default Keras warns.
            verbose=0,
        )

    def _evaluate(self, step: int) -> None:
        """Repeats an interrupted evaluation in the same way as `fit`."""
        self._start_at(step)
        notified = keras.callbacks.CallbackList(self._callbacks, model=self.model)
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
        for callback in self._callbacks:
            callback.start = step

    def _ended(self) -> dict[str, Any]:
        """Measures and exports the model, and returns the result."""
        if self.watchers.divergence.found_at is None:
            result = completion.finish(self.built, self.watchers, self.preemption)
            if self.plan.sealed:
                sealed.write(self.built, self.folder, self.preemption)
            else:
                per_example.write(self.built, self.folder, result["test"], self.preemption)
            completion.export_all(self.built, self.folder)
        else:
            result = completion.diverged(self.model, self.watchers)
        hparams.write(self.folder, result)
        return result

    def _note_speed(self) -> None:
        report = self._throughput.report(self.checkpointing.held_up)
        manifest.end(self.folder.manifest, report)

    def _profile_of(self, window: tuple[int, int] | None) -> callbacks.Profile | None:
        """Returns the callback that records steps for the profiler, if requested."""
        if window is None:
            return None
        if window[1] > self.plan.steps:
            raise ValueError(
                f"The steps to profile, {window[0]}:{window[1]}, exceed the {self.plan.steps} "
                "steps of the run. Choose earlier ones: --profile_steps=FIRST:LAST."
            )
        return callbacks.Profile(self.folder.tensorboard, *window)

    def _warn_of_past_profile(self, step: int) -> None:
        profile = self._profile
        if profile is not None and profile.last <= step:
            warnings.warn(
                f"Nothing is profiled: the run resumes after step {step}, and the steps "
                f"{profile.first}:{profile.last} are already done. Choose later ones: "
                "--profile_steps=FIRST:LAST.",
                stacklevel=4,
            )
