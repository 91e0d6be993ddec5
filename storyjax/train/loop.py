"""The one training loop: `run(config, workdir)` trains an experiment, evaluates it and writes its results.

What a step does is in step.py, and where a run starts from in start.py; here is the order of things around them. After
a step come the log, the checkpoint and the evaluation, in this order. A run killed at any moment goes on from its
latest checkpoint and redoes what came after it, bit for bit, because batches and keys are functions of (seed, step)
alone.
"""

import contextlib
import math
import pathlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from storyjax.core.buckets import place
from storyjax.core.config import choose
from storyjax.core.errors import StoryjaxError
from storyjax.train import mesh as mesh_lib
from storyjax.train.batches import TaskBatches
from storyjax.train.checkpoint import Checkpoints, set_aside
from storyjax.train.distributed import check_shared, peers, start_distributed
from storyjax.train.evaluation import Evaluation
from storyjax.train.experiment import BatchPrediction, Evaluator, Experiment, Params, build_experiment
from storyjax.train.initial_state import InitialState, restore_or_init
from storyjax.train.logging import RunLog, Sink, progress_bar
from storyjax.train.optim import make_optimizer, make_schedule
from storyjax.train.prediction import FOLDER, Predictions, fingerprint
from storyjax.train.profile import LeastSeconds, Profiler, counted
from storyjax.train.settings import Settings, complete, read_settings
from storyjax.train.step import StepMetrics, TrainState, make_step, new_state
from storyjax.train.termination import Stopped, Termination
from storyjax.train.workdir import (
    check_same_run,
    make_workdir,
    plain,
    storage_errors,
    training_lock,
    write_config,
    write_results,
)

MODES = ("train", "eval", "predict")


def run(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    mode: str = "train",
    *,
    experiment: Experiment | None = None,
    progress: bool = True,
    resume_from: int | None = None,
    sinks: Sequence[Sink] = (),
    profile: tuple[int, int] | None = None,
    least_seconds: LeastSeconds | None = None,
) -> dict[str, float]:
    """Trains (mode "train") and evaluates, only evaluates (mode "eval"), or writes predictions (mode "predict").

    An experiment without tasks has nothing to train: both modes evaluate it, and `config.train` and `config.optim` are
    not read.

    Args:
        config: as `configs/*.py` give it; keys of the loop that it leaves out have their defaults.
        workdir: the run's folder, made if need be. A run that is there already is gone on with.
        mode: "eval" evaluates the latest checkpoint in workdir if there is one, else what a new run would start from.
        experiment: what to run, instead of what `config.experiment` names.
        progress: whether to show a progress bar on standard error.
        resume_from: the step of the checkpoint to go on from, instead of the latest; later ones are set aside.
        sinks: are given what metrics.jsonl is given.
        profile: the first and the last step that are traced (profile.py).
        least_seconds: for the metric "mfu" (plan/utilisation.py).

    Returns:
        {"dataset/metric": number}, sorted by name, which is also written to results.json; of "predict" the number of
        predictions of each data set.

    Raises:
        StoryjaxError: an error in the config or the data, another model's checkpoint, a full disk, a loss that is not a
            number.
        Stopped: after SIGTERM, when the state has been saved: a SystemExit with code 0 and a message for the caller to
            show.
    """
    config = complete(config)
    settings = read_settings(config)
    choose(mode, MODES, "mode")
    workdir = place(workdir).absolute()
    start_distributed(settings.distributed)
    if resume_from is not None and mode != "train":
        raise StoryjaxError("--resume-from says where to go on training from; --mode=eval takes the latest checkpoint.")
    if profile is not None and mode != "train":
        raise StoryjaxError(f"--profile traces steps of training, and --mode={mode} takes none.")
    with contextlib.ExitStack() as stack:
        stack.enter_context(peers())
        stack.enter_context(storage_errors(workdir))
        termination = stack.enter_context(Termination())
        make_workdir(workdir)
        if mode == "train":
            stack.enter_context(training_lock(workdir))
            if resume_from is not None and jax.process_index() == 0:
                set_aside(workdir, resume_from)
        check_shared(workdir)
        experiment = experiment or build_experiment(config)
        mesh = mesh_lib.make_mesh(settings.mesh)
        with jax.set_mesh(mesh), mesh_lib.memory_errors():
            shown = progress, tuple(sinks), profile, least_seconds
            one = _Run(config, settings, experiment, workdir, mesh, termination, *shown)
            results = {"train": one.train, "eval": one.evaluate, "predict": one.predict}[mode]()
        if jax.process_index() == 0 and mode != "predict":
            write_results(workdir, results)
    return results


def total_steps(settings: Settings, experiment: Experiment) -> int:
    """The length of a run: `train.steps`, or else `train.epochs` passes over the data."""
    if settings.train.steps is not None:
        return settings.train.steps
    if settings.train.epochs is None:
        raise StoryjaxError("config.train needs steps or epochs: the length of the run.")
    if experiment.steps_per_epoch is None:
        raise StoryjaxError(f"config.train.epochs: {experiment.name} does not count epochs; set config.train.steps.")
    return math.ceil(settings.train.epochs * experiment.steps_per_epoch())


class _Run:
    """One call of `run`, once its surroundings are known."""

    def __init__(
        self,
        config: ConfigDict,
        settings: Settings,
        experiment: Experiment,
        workdir: pathlib.Path,
        mesh: Mesh,
        termination: Termination,
        progress: bool,
        sinks: tuple[Sink, ...],
        profile: tuple[int, int] | None,
        least_seconds: LeastSeconds | None,
    ) -> None:
        self.config, self.settings, self.experiment = config, settings, experiment
        self.workdir, self.mesh, self.termination = workdir, mesh, termination
        self.progress, self.sinks = progress and jax.process_index() == 0, sinks
        self.profile, self.least_seconds = profile, least_seconds
        self.batch_sizes = [task.batch_size or settings.train.batch_size for task in experiment.tasks]
        for task, size in zip(experiment.tasks, self.batch_sizes, strict=True):
            mesh_lib.check_batch_size(mesh, size, settings.train.accumulate, f"the batch size of task '{task.name}'")
        size = settings.eval.batch_size or settings.train.batch_size
        if any(isinstance(evaluator, Evaluator) for evaluator in experiment.evaluators):
            mesh_lib.check_batch_size(mesh, size, 1, "the batch size of evaluations")
        self.evaluation = Evaluation(experiment.evaluators, size, settings.seed, mesh)

    def evaluate(self) -> dict[str, float]:
        """The results of the parameters that are there."""
        start = restore_or_init(self.settings, self.experiment, self.workdir, self.mesh)
        return self.measure(start.trainable, start.frozen)

    def measure(self, trainable: Params, frozen: Params) -> dict[str, float]:
        """Runs the evaluators; SIGTERM ends them after the batch at hand."""
        with self._after_batch("evaluating", "stopped in an evaluation") as after_batch:
            return self.evaluation(trainable, frozen, after_batch)

    def predict(self) -> dict[str, float]:
        """Writes the predictions of the parameters that are there; how many there are of each data set."""
        if not self.experiment.predictions:
            raise StoryjaxError(
                f"--mode=predict: no challenge has a file for what config.data evaluates of {self.experiment.name};"
                " there are those of EgoSchema, Ego4D LTA, MQ and NLQ, MOT17, MOT20, GMOT-40 and TAO"
            )
        settings = self.settings
        start = restore_or_init(settings, self.experiment, self.workdir, self.mesh)
        size = settings.eval.batch_size or settings.train.batch_size
        if any(isinstance(each, BatchPrediction) for each in self.experiment.predictions):
            mesh_lib.check_batch_size(self.mesh, size, 1, "the batch size of predictions")
        mark, folder = fingerprint(self.config, start.step, size), self.workdir / FOLDER
        predictions = Predictions(self.experiment.predictions, size, settings.seed, self.mesh, folder, mark)
        with self._after_batch("predicting", "stopped; what is predicted is kept") as after_part:
            return predictions(start.trainable, start.frozen, after_part)

    @contextlib.contextmanager
    def _after_batch(self, doing: str, stopped: str) -> Iterator[Callable[[str], None]]:
        """Yields what is to be called after each batch: it shows progress, and heeds SIGTERM."""
        with progress_bar(self.progress, unit=" batches", leave=False, delay=2.0) as bar:

            def after_batch(name: str) -> None:
                bar.set_description_str(f"{doing} {name}", refresh=False)
                bar.update()
                if self.termination.noted():
                    raise Stopped(f"{stopped}; resume with the same command")

            yield after_batch

    def train(self) -> dict[str, float]:
        """The rest of the run's steps, then the results."""
        settings, experiment = self.settings, self.experiment
        if not experiment.tasks:
            if self.profile is not None:
                raise StoryjaxError(f"--profile: {experiment.name} trains nothing, so there are no steps to trace.")
            if jax.process_index() == 0:
                write_config(self.workdir, self.config)
            return self.evaluate()
        with contextlib.ExitStack() as stack:
            checkpoints = stack.enter_context(contextlib.closing(Checkpoints(self.workdir, settings.checkpoint.keep)))
            latest, note = checkpoints.latest(), ""
            if latest is not None:
                note = check_same_run(self.workdir, self.config, checkpoints.meta(latest).get("config"))
            total = total_steps(settings, experiment)
            done = latest or 0
            if done > total:
                raise StoryjaxError(
                    f"the run in {self.workdir} is at step {done} already, past config.train.steps ({total})."
                )
            profiler = stack.enter_context(contextlib.closing(Profiler(self.profile, self.workdir, done, total)))
            start = restore_or_init(settings, experiment, self.workdir, self.mesh)
            shown = settings.log.tensorboard, self.progress, self.sinks
            log = RunLog(self.workdir, done, total, experiment.units, *shown)
            stack.enter_context(contextlib.closing(log))
            if note:
                log.say(note)
            if start.step is not None:
                log.say(f"going on from step {done} of the run in {self.workdir}")
            if jax.process_index() == 0:
                write_config(self.workdir, self.config)
                for name, write in experiment.files.items():
                    if not (self.workdir / name).exists():
                        write(self.workdir / name)
            before = checkpoints.meta(done)["streams"] if start.step is not None else None
            feed = TaskBatches(experiment.tasks, self.batch_sizes, settings.seed, done, total, self.mesh, before)
            stack.enter_context(contextlib.closing(feed))
            return _Training(self, checkpoints, log, feed, start, total, profiler).results()


@dataclass(frozen=True)
class _Pending:
    """A step that the devices may still be busy with."""

    step: int
    metrics: StepMetrics
    indices: dict[str, np.ndarray]
    reports: dict[str, dict[str, Any]]


class _Training:
    """The steps of a run, from where it starts to its end."""

    def __init__(
        self,
        parent: _Run,
        checkpoints: Checkpoints,
        log: RunLog,
        feed: TaskBatches,
        start: InitialState,
        total: int,
        profiler: Profiler,
    ) -> None:
        self.run, self.checkpoints, self.log, self.feed, self.profiler = parent, checkpoints, log, feed, profiler
        self.settings, self.total, self.start = parent.settings, total, start
        tasks, mesh = parent.experiment.tasks, parent.mesh
        optimizer = make_optimizer(self.settings.optim, total)
        self.schedule = make_schedule(self.settings.optim, total)
        self.state: TrainState = new_state(start.trainable, optimizer, mesh)
        if start.step is not None:
            self.state = checkpoints.restore_state(start.step, self.state)
        self.step_fn = make_step(tasks, optimizer, self.state, start.frozen, mesh, self.settings.train.accumulate)
        self.key = jax.device_put(jax.random.key(self.settings.seed), mesh_lib.replicated(mesh))

    def results(self) -> dict[str, float]:
        """Takes the steps that are left, saves the last state and evaluates it."""
        done = self.start.step or 0
        stops = self.settings.train.stop_metric is not None
        # An earlier attempt was killed between this step's checkpoint and its evaluation, or ended here early.
        if done < self.total and self._due(done, self.settings.eval.every) and (stops or not self.log.evaluated(done)):
            results = self._evaluate(done)
            if self._good_enough(results):
                return results
        pending = None
        for step in range(done + 1, self.total + 1):
            with self.profiler.step(step):
                batches, indices = self.feed.next()
                arguments = self.state, self.start.frozen, batches, self.key
                if step == done + 1 and self.run.least_seconds is not None:
                    self.step_fn, self.log.least_seconds = counted(
                        self.step_fn, arguments, self.run.least_seconds, self.log.say
                    )
                self.state, metrics = self.step_fn(*arguments)
            # The step before is read only now, so that the devices have the next one to go on with meanwhile.
            self._settle(pending)
            pending = _Pending(step, metrics, indices, self.feed.reports())
            last, stop = step == self.total, self.run.termination.agreed(step)
            save = last or stop or self._due(step, self.settings.checkpoint.every)
            evaluate = self._due(step, self.settings.eval.every) and not last and not stop
            traced = self.profiler.is_last(step)
            if save or evaluate or traced or step == done + 1:
                self._settle(pending)
                pending = None
            if traced:
                self.profiler.close()
                self.log.say(f"the profile is in {self.profiler.folder}: tensorboard --logdir {self.run.workdir}")
            if step == done + 1:
                self.log.restart_clock(step, self.feed.waited)
            if save:
                self._save()
            if stop and not last:
                raise Stopped(f"stopped after step {step} of {self.total}, saved; resume with the same command")
            if evaluate:
                results = self._evaluate(step)
                if self._good_enough(results):
                    self._save()
                    return results
        if self.total == 0:
            self._save()
        results = self._measure()
        if not self.log.evaluated(self.total):
            self.log.evaluation(self.total, results)
        return results

    @staticmethod
    def _due(step: int, every: int) -> bool:
        return every > 0 and step > 0 and step % every == 0

    def _settle(self, pending: _Pending | None) -> None:
        """Waits for a step, refuses it if it was not finite, and logs it."""
        if pending is None:
            return
        metrics = {name: float(value) for name, value in jax.device_get(pending.metrics).items()}
        sick = [
            name.removeprefix("finite/") for name, fine in metrics.items() if name.startswith("finite/") and not fine
        ]
        if sick or not math.isfinite(metrics["grad_norm"]):
            self._refuse(pending, metrics, sick)
        if pending.step % self.settings.log.every == 0 or pending.step == self.total:
            self.log.measure_speed(pending.step, self.feed.examples, self.feed.waited)
            rate = float(self.schedule(pending.step - 1))
            logged = {"loss": metrics["loss"], "grad_norm": metrics["grad_norm"], "learning_rate": rate}
            logged |= {name: value for name, value in metrics.items() if not name.startswith("finite/")}
            counters = {
                f"{task}/{name}": float(value)
                for task, report in pending.reports.items()
                for name, value in report.items()
                if isinstance(value, int | float)
            }
            self.log.train(pending.step, logged | counters)
        self.log.advance(pending.step, metrics["loss"])

    def _refuse(self, pending: _Pending, metrics: dict[str, float], sick: list[str]) -> None:
        """The state is still that of the last good step: saves it, and names what made the next one bad."""
        self._save()
        parts = []
        for task in sick or [task.name for task in self.run.experiment.tasks]:
            records = f" on records {pending.indices[task].tolist()}" if task in pending.indices else ""
            parts.append(f"task '{task}' has loss {metrics[f'{task}/loss']:g}{records}")
        raise StoryjaxError(
            f"step {pending.step} is not finite: {'; '.join(parts)}; gradient norm {metrics['grad_norm']:g}. "
            f"The state after step {int(self.state.step)} is saved in {self.run.workdir}. Look at these records, or "
            "lower config.optim.learning_rate in a new run."
        )

    def _save(self) -> None:
        self.log.publish()  # what is logged until a checkpoint must be there when a run goes on from it
        meta: dict[str, Any] = {
            "seed": self.settings.seed,
            "init_gave_frozen": self.start.init_gave_frozen,
            "streams": self.feed.reports(),
            "config": plain(self.run.config),
        }
        self.checkpoints.save(self.state, meta, self.start.drawn)

    def _measure(self) -> dict[str, float]:
        try:
            return self.run.measure(self.state.trainable, self.start.frozen)
        except Stopped:
            self._save()
            raise

    def _evaluate(self, step: int) -> dict[str, float]:
        results = self._measure()
        if not self.log.evaluated(step):
            self.log.evaluation(step, results)
        self.log.restart_clock(step, self.feed.waited)
        return results

    def _good_enough(self, results: dict[str, float]) -> bool:
        """Whether the run may end here (config.train.stop_metric; §4.3.1 stops at a validation accuracy)."""
        train = self.settings.train
        if train.stop_metric is None:
            return False
        value = results[choose(train.stop_metric, results, "config.train.stop_metric")]
        if value < train.stop_value:
            return False
        self.log.say(f"{train.stop_metric} is {value:g}, at least config.train.stop_value: done early")
        return True
