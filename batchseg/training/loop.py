"""What each training worker does: learn, validate, report; and go on where an earlier attempt stopped.

What was learnt is kept after every epoch: whether a worker died or the whole job was killed, the next attempt
repeats nothing but the epoch it was in, with the same batches in the same order.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from time import monotonic
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from batchseg.config.train import NewModel
from batchseg.engine.heap import keep_freed_memory
from batchseg.errors import OutputError
from batchseg.results.learning import Learning
from batchseg.segmentors.llm.lora import add_lora
from batchseg.storage.location import locate
from batchseg.training.augment import Augment
from batchseg.training.auxiliary import Taught, auxiliary_loss
from batchseg.training.data import Batch, Batches, Samples, TrainingSet
from batchseg.training.job import State, TrainingJob
from batchseg.training.judging import CannotGoOn, Judge, figures_of_classes, pixels_of_classes, row_of
from batchseg.training.kept import Kept, writing
from batchseg.training.objective import segmentation_loss
from batchseg.training.optimiser import make_optimiser
from batchseg.training.pace import TooShortError
from batchseg.training.parallel import freeze_unused, gathered, of_the_first, summed
from batchseg.training.prompted import PromptedSet, loss_of
from batchseg.training.prompts import PromptStates

TELL_S = 0.5


def train_worker(settings: dict[str, Any]) -> None:
    """The function Ray Train calls on every worker."""
    keep_freed_memory()
    Learner(settings["job"]).run()


class Learner:
    """One worker's network, optimiser and data."""

    def __init__(self, job: TrainingJob) -> None:
        import ray.train
        import ray.train.torch

        context = ray.train.get_context()
        self.job, self.config = job, job.config
        self.rank, self.world = context.get_world_rank(), context.get_world_size()
        torch.set_num_threads(job.threads)
        torch.manual_seed(job.config.seed)
        self.model = job.start.load(job.device, job.precision)
        self.network: nn.Module = self.model.network
        if isinstance(self.config.model, NewModel) and self.config.model.mode == "lora":
            add_lora(self.network, self.config.model.lora_rank)
        self.network.to(memory_format=torch.channels_last)
        self.state, self.kept = State(), Kept(job.state)
        self.prompts = PromptStates.of(job.state)
        crops = self._crops(job.samples(job.train))
        weights = [self.config.class_weights.get(name, 1.0) for name in job.label_map.names]
        self.weights_C = torch.tensor(weights, device=self.model.device)
        self.learner = copy.copy(self.model)
        freeze_unused(self.network, lambda: self._loss(crops.collate([])))
        self.taught = self.learner.network = Taught.of(self.model, self.config.auxiliary, crops.collate([]))
        batches = self._batches(crops)
        self.pace = job.pace(batches)
        self.progress, self.judged = 0.0, 0.0
        self.learnt_C = np.zeros(job.label_map.num_classes, np.int64)
        self.optimiser = make_optimiser(self.taught, self.config)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimiser, self._share_of_rate)
        self._resume()
        self.batches = replace(batches, first=self.state.step)
        self.train_loader: Any = DataLoader(
            crops,
            batch_sampler=self.batches,
            collate_fn=crops.collate,
            **job.loading,
        )
        self.judge = Judge(job, self.model, self.prompts, (self.rank, self.world))
        self.learner.network = ray.train.torch.prepare_model(self.taught, move_to_device=False)
        self.told = monotonic()

    def run(self) -> None:
        """Every epoch that is left, or as many as there is time for."""
        batches = iter(self.train_loader)
        try:
            while self.state.epoch < self.config.epochs and not self._stale() and self._has_time():
                self._learn(batches)
                self._finish_epoch(self._is_due())
            if self.state.epoch and [row["epoch"] for row in self.state.history[-1:]] != [self.state.epoch]:
                self._finish_epoch(True)
        except CannotGoOn as reason:
            self._tell(failure=str(reason))
        except OutputError as reason:  # told rather than raised: another attempt would fail as well
            self._tell(unkept=str(reason))

    def _finish_epoch(self, is_due: bool) -> None:
        if self.state.epoch == 1 and not self.state.learnt_pixels:
            self.state.learnt_pixels = summed(self.learnt_C, self.model.device).tolist()
        row = self._judge() if is_due else None
        self._note(gathered(self.state.faults))
        self._keep(row)

    def _has_time(self) -> bool:
        """To be asked once before each step. Raises CannotGoOn."""
        try:
            told: float | str = self.pace.progress(self.state.step)
        except TooShortError as exc:
            told = str(exc)
        if self.config.minutes is not None:
            told = of_the_first(told)
        if isinstance(told, str):
            raise CannotGoOn(told)
        self.progress = told
        return self.progress < 1

    def _learn(self, batches: Iterator[Batch]) -> None:
        """One epoch, the last of which may end early. Raises CannotGoOn."""
        self.network.train()
        if self.prompts is not None:  # the noise on their words is that of the epoch, wherever it began
            torch.manual_seed(self.config.seed + self.state.epoch)
        begun = monotonic()
        for number in range(self.batches.steps_an_epoch):
            if number and not self._has_time():
                break
            loss = self._step([self._next(batches) for _ in range(self.config.accumulate)])
            self.state.losses.append(loss)
            self.state.step += 1
            self._tell_now_and_then(loss=loss)
        self.state.epoch += 1
        self.state.learnt_s += monotonic() - begun

    def _next(self, batches: Iterator[Batch]) -> Batch:
        begun = monotonic()
        batch = next(batches)
        self.state.waited_s += monotonic() - begun
        return batch

    def _is_due(self) -> bool:
        if self.state.epoch == self.config.epochs:
            return True
        is_turn = self.state.epoch % self.config.validate_every == 0
        return is_turn and self.pace.is_worth_judging(self.progress, self.judged)

    def _step(self, batches: list[Batch]) -> float:
        """One step of the optimiser; its loss. Raises CannotGoOn, on all workers at the same step."""
        total = 0.0
        for batch in batches:
            self._note([asdict(fault) for fault in batch.faults])
            if not self.state.epoch:
                self.learnt_C += pixels_of_classes(batch.labels_BHW, len(self.learnt_C))
            loss = self._loss(batch)
            (loss / len(batches)).backward()  # type: ignore[no-untyped-call]
            total += loss.item() / len(batches)
        # a loss that is not finite on one worker is none in the gradients of all
        norm = nn.utils.clip_grad_norm_(self.taught.parameters(), self.config.clip_norm)
        if not (math.isfinite(total) and torch.isfinite(norm)):
            what = "gradient" if math.isfinite(total) else "loss"
            raise CannotGoOn(f"the {what} is not a finite number at step {self.state.step + 1}")
        self.optimiser.step()
        self.schedule.step()
        self.optimiser.zero_grad(set_to_none=True)
        return total

    def _loss(self, batch: Batch) -> Tensor:
        if self.prompts is not None:
            return loss_of(self.learner, batch, self.prompts, self.weights_C)
        outputs = self.learner.outputs(batch.pixels_BHWC)
        labels_BHW = batch.labels_BHW.to(self.model.device)
        loss = segmentation_loss(self.learner.logits_of(outputs), labels_BHW, self.weights_C)
        return loss + auxiliary_loss(outputs, labels_BHW, self.job.label_map.void, self.config.auxiliary)

    def _judge(self) -> dict[str, Any]:
        """Validate; the row of the history. Raises CannotGoOn."""
        begun = monotonic()
        found = self.judge.validate(self.state.step, self._note, self._tell_now_and_then)
        self.pace.validation_s, self.judged = monotonic() - begun, self.progress
        row = row_of(
            self.state,
            found,
            rate=float(self.schedule.get_last_lr()[0]),
            a_step=self.batches.a_step,
            validation_s=self.pace.validation_s,
            with_prompts=self.prompts is not None,
        )
        self.state.losses, self.state.learnt_s, self.state.waited_s = [], 0.0, 0.0
        self.state.history.append(row)
        self.state.class_history.append(figures_of_classes(self.state.epoch, found))
        figure = row["mean_iou"] if self.prompts is None else row["giou"]
        if figure > self.state.best_mean_iou:
            self.state.best_mean_iou, self.state.best_epoch = figure, self.state.epoch
            self.state.pictures = self.judge.pictures(self.state.epoch, found)
        return row

    def _keep(self, row: dict[str, Any] | None) -> None:
        """Finish the epoch, and only then tell of it. Raises OutputError, on all workers."""
        self.state.spent_s, self.state.learning_since_s = self.pace.spent, self.pace.learning_since
        problem = None
        if self.rank == 0:
            try:
                parts = {name: part.state_dict() for name, part in self._parts().items()}
                self.kept.write(self.state, parts)
                if row is not None:
                    with writing(self.job.root):
                        self._learning.write(locate(str(self.job.root)))
            except OutputError as exc:
                problem = str(exc)
        if (problem := of_the_first(problem)) is not None:
            raise OutputError(problem)
        if row is not None:
            self._tell(epoch=row, classes=self._learning.classes[-self.job.label_map.num_classes :])

    @property
    def _learning(self) -> Learning:
        return self.state.learning(self.job.label_map.names)

    def _resume(self) -> None:
        saved = self.kept.last(self.model.device)
        if saved is not None:
            for name, part in self._parts().items():
                part.load_state_dict(saved[name])
            self.state = State(**saved["state"])
            self.pace.learning_since = self.state.learning_since_s

    def _parts(self) -> dict[str, Any]:
        heads = {"heads": self.taught.heads} if isinstance(self.taught, Taught) else {}
        return {"network": self.network, "optimiser": self.optimiser, "schedule": self.schedule, **heads}

    def _crops(self, samples: Samples) -> TrainingSet | PromptedSet:
        void = samples.reading.label_map.void
        augment = Augment(self.config.augmentation, self.job.crop, void, self.job.band_means)
        return (TrainingSet if self.prompts is None else PromptedSet)(samples, augment)

    def _batches(self, crops: TrainingSet | PromptedSet) -> Batches:
        config, rows = self.config, len(crops)
        a_step = config.batch_size * config.accumulate * self.world
        epoch = max(1, rows // a_step)
        return Batches(
            rows,
            a_step,
            config.accumulate,
            self.rank,
            self.world,
            config.seed,
            first=0,
            last=epoch * config.epochs,
            balance=crops.balance,
        )

    def _share_of_rate(self, step: int) -> float:
        return self.pace.share_of_rate(step, self.progress, self.config.warmup_steps)

    def _stale(self) -> bool:
        later = [row for row in self.state.history if row["epoch"] > self.state.best_epoch]
        return len(later) >= self.config.patience

    def _note(self, faults: list[dict[str, str]]) -> None:
        """Remember images that could not be read, each once."""
        known = {fault["id"] for fault in self.state.faults}
        for fault in faults:
            if fault["id"] not in known:
                known.add(fault["id"])
                self.state.faults.append(fault)
                self._tell(fault=fault)

    def _tell_now_and_then(self, **news: Any) -> None:
        if monotonic() - self.told >= TELL_S:
            self._tell(**news)

    def _tell(self, **news: Any) -> None:
        self.told = monotonic()
        if self.rank == 0:
            steps = self.pace.expected(self.state.step, self.progress)
            self.job.events.put({"step": self.state.step, "steps": steps, **news})
