"""LitClassifier: the single LightningModule. The variant it is given builds the network; everything else is equal."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn

import variants
from lit_cifar.data.batches import Batch, IndexedBatch, as_range
from lit_cifar.data.normalization import Scale
from lit_cifar.evaluation import UNCERTAINTIES, predict, predict_by_mc
from lit_cifar.speed.compiled_step import CompiledGradients, compile_training_step
from lit_cifar.speed.epoch_loop import shorten_epochs
from lit_cifar.speed.fused_nadam import FusedNAdam
from lit_cifar.training import checkpoints
from lit_cifar.training.arguments import MatmulPrecision, check_arguments, check_variant
from lit_cifar.training.checkpoint_checks import (
    check_classes,
    check_fits,
    check_image_shape,
    check_size,
    check_version,
    check_weights,
)
from lit_cifar.training.loss import Loss, check_loss, extra_of, logits_of, loss_and_totals, loss_in, training_loss
from lit_cifar.training.max_norm import MaxNorm
from lit_cifar.training.metrics import LossAndAccuracy, ProbabilityScores
from lit_cifar.training.network import NetworkBuilder, image_shape
from lit_cifar.training.optimization import OptimizerFactory, Scheduler, make_optimizer, make_scheduler
from lit_cifar.training.sparsity import GradualPruning, L1Penalty
from lit_cifar.uncertainty import declare_stochastic
from lit_cifar.utils.errors import UserError
from variants import Variant

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class LitClassifier(LightningModule):
    """Trains, tests and predicts with the network that a variant builds.

    The network takes uint8 images [B, C, H, W] and returns logits [B, classes]; its first layer scales the pixels.
    It is built when the data is known, in `setup`, or from a checkpoint.

    Args:
        variant: The recipe of the network, by class name (`SELU`) or class path (`my_module.MyVariant`). A checkpoint
            knows its own; `fit` must be given one.
        learning_rate: Learning rate; for one-cycle, its peak. Default: the one found for the variant.
        optimizer: Optimizer class; on the command line its options follow, as in
            `--model.optimizer SGD --model.optimizer.momentum 0.9`.
        scheduler: None (a constant learning rate), `one_cycle` (torch's OneCycleLR, stepped every batch; the idea is
            Smith's, 2018, arXiv:1803.09820), or a scheduler class, stepped every epoch: torch's, or
            `lit_cifar.training.schedules.PowerLR`.
        warmup_epochs: Epochs in which the learning rate rises linearly from 0 to what the scheduler says (warm-up;
            Goyal et al. 2017, arXiv:1706.02677, section 2.2). One-cycle has its own.
        loss: What training minimizes, a function or a class of callable objects, by its path, as in
            `--model.loss torch.nn.CrossEntropyLoss --model.loss.label_smoothing 0.1` (label smoothing; Szegedy et al.
            2016, arXiv:1512.00567). It takes logits [B, classes] and labels [B] and returns the mean loss or a
            dictionary of terms to be added up, which are logged as `train/loss_<name>`. Default: the variant's own
            loss, which is cross-entropy unless it says otherwise. Validation and test losses are always cross-entropy.
        l1: Strength of an L1 penalty on the weights, which makes some of them zero: each step moves them towards zero
            by learning rate times this.
        sparsity: Share of each layer's weights to set to zero, the smallest first, in the course of the first epoch
            (magnitude pruning); they stay zero.
        max_norm: The largest Euclidean norm of a unit's incoming weights; longer ones are scaled down after each step
            (max-norm regularization; Srivastava et al. 2014, section 5.1). Default: no limit.
        mc_samples: For `test` and `predict`: forward passes with dropout left on, to be averaged (MC dropout; Gal and
            Ghahramani 2016, arXiv:1506.02142). 0 is the plain network.
        compile: Whether `fit` compiles the training step. That takes up to a minute once; each step is then shorter
            (docs/speed.md). `auto` does so for long trainings, if it can.
        matmul_precision: How precisely float32 matrices are multiplied, as in `torch.set_float32_matmul_precision`:
            `highest` in float32; `high` and `medium` may use TensorFloat32 or bfloat16 where the processor is faster
            with them, as NVIDIA GPUs are since Ampere (docs/speed.md).
    """

    def __init__(
        self,
        variant: Variant | None = None,
        *,
        learning_rate: float | None = None,
        optimizer: OptimizerFactory = FusedNAdam,
        scheduler: Scheduler = None,
        warmup_epochs: int = 0,
        loss: Loss | None = None,
        l1: float = 0.0,
        sparsity: float = 0.0,
        max_norm: float | None = None,
        mc_samples: int = 0,
        compile: bool | Literal["auto"] = "auto",  # noqa: A002 - torch's and Lightning's own word
        matmul_precision: MatmulPrecision = "highest",
    ) -> None:
        super().__init__()
        if variant is None:
            raise UserError(f"Which variant? Give one of {', '.join(variants.available())}.")
        check_variant(variant)
        check_arguments(
            learning_rate=learning_rate,
            warmup_epochs=warmup_epochs,
            l1=l1,
            sparsity=sparsity,
            max_norm=max_norm,
            mc_samples=mc_samples,
            matmul_precision=matmul_precision,
        )
        self.variant = variant
        self.learning_rate = learning_rate or variant.learning_rate
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.warmup_epochs = warmup_epochs
        self.l1 = l1
        self.sparsity = sparsity
        self.max_norm = max_norm
        self.network: nn.Sequential | None = None
        self.class_names: tuple[str, ...] = ()
        self.trained_on: Mapping[str, Any] = {}
        self.mc_samples = mc_samples
        self.loss_function = training_loss(loss, variant)
        self.compile_step = compile
        self.matmul_precision = matmul_precision
        self._compiled: CompiledGradients | None = None
        self._gradients: Sequence[tuple[nn.Parameter, Tensor | None]] = ()
        self.train_metric, self.val_metric = LossAndAccuracy(), LossAndAccuracy()
        self.test_scores, self.mc_test_scores = ProbabilityScores(), ProbabilityScores()

    def configure_callbacks(self) -> list[Callback]:
        """Put this module's own callbacks first; Lightning would put what is returned here last."""
        own: list[Callback] = [NetworkBuilder()]
        own += [L1Penalty(self.l1)] if self.l1 else []
        own += [GradualPruning(self.sparsity)] if self.sparsity else []
        own += [MaxNorm(self.max_norm)] if self.max_norm else []
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        others = [it for it in callbacks if not isinstance(it, (NetworkBuilder, L1Penalty, GradualPruning, MaxNorm))]
        callbacks[:] = [*own, *others]
        return []

    def extra_repr(self) -> str:
        """What `print` shows before the layers."""
        classes = f", classes: {', '.join(self.class_names)}" if self.class_names else ""
        return f"{self.variant!r}, learning_rate={self.learning_rate:g}{classes}"

    def setup(self, stage: str) -> None:
        torch.set_float32_matmul_precision(self.matmul_precision)
        if stage == "fit":
            shorten_epochs(self.trainer)
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            self.trained_on = data.origin
            self.train_metric.name_terms(self._terms_of_loss(data))

    def _terms_of_loss(self, data: Any) -> tuple[str, ...]:
        images = data.example_batch()[0]
        axis = images.dim() - 4  # a stack's batches have an axis more
        two = images.narrow(axis, 0, 1).repeat_interleave(2, axis)  # batch normalization needs two
        extra = extra_of(self.built(), two.to(self.device))
        return check_loss(loss_in(self.loss_function), len(self.class_names), soft=data.mixup > 0, extra=extra)

    def build(self, class_names: Sequence[str], scale: Scale) -> nn.Sequential:
        """Build the network, with fresh weights, for these classes and behind this scaling layer."""
        channels, height, width = scale.mean.shape
        body = self.variant.build((channels, height, width), len(class_names))
        declare_stochastic(self.variant.stochastic_layers(body))
        self.class_names = tuple(class_names)
        self.network = nn.Sequential(OrderedDict(scale=scale, body=body))
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of uint8 images [B, C, H, W], at least in single precision."""
        return logits_of(self.built(), images)

    def built(self) -> nn.Sequential:
        """The network.

        Raises:
            UserError: if there is none yet: nothing has been trained or loaded.
        """
        if self.network is None:
            raise UserError("There are no trained weights yet: fit first, or load a checkpoint.")
        return self.network

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """The batch's loss, and its totals [3 + terms] for callbacks; of a stack of replicas, see `loss_and_totals`."""
        if self._compiled is not None and self._compiled.can_take(batch, self.trainer):
            loss, found, self._gradients = self._compiled(batch)
        else:
            loss, found = self.loss_function(self.built(), batch)
        self.train_metric.update(found)
        return {"loss": loss, "totals": found}

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Set the gradients that the compiled step has computed with the loss, or let autograd compute them."""
        if not self._gradients:
            super().backward(loss, *args, **kwargs)
        for parameter, gradient in self._gradients:
            parameter.grad = gradient
        self._gradients = ()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        _, found = loss_and_totals(self.built(), batch)
        self.val_metric.update(found)

    def test_step(self, batch: IndexedBatch, batch_idx: int) -> dict[str, Tensor]:
        """What is found of each image: its index in the test set [B], its label [B], and what `predict` and, with MC
        samples, `predict_by_mc` return."""
        images, labels, indices = batch
        found = predict(self, images)
        self.test_scores.update(found["probabilities"], labels)
        if self.mc_samples:
            found |= self._predict_by_mc(images, indices)
            self.mc_test_scores.update(found["mc_probabilities"], labels)
        return {"indices": indices, "labels": labels, **found}

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """What is found of each image: its index in the prediction set [B], class probabilities [B, classes], and with
        MC dropout four uncertainties [B]."""
        images, indices = batch
        if not self.mc_samples:
            return {"indices": indices, **predict(self, images)}
        found = self._predict_by_mc(images, indices)
        uncertainties = {name: found[name] for name in UNCERTAINTIES}
        return {"indices": indices, "probabilities": found["mc_probabilities"], **uncertainties}

    def _predict_by_mc(self, images: Tensor, indices: Tensor) -> dict[str, Tensor]:
        return predict_by_mc(self.built(), images, samples=self.mc_samples, indices=as_range(indices))

    def on_train_epoch_end(self) -> None:
        self._log_epoch("train")

    def on_validation_epoch_end(self) -> None:
        self._log_epoch("val")

    def on_test_epoch_end(self) -> None:
        """Log the scores of the plain network, and of MC dropout beside them as `test/mc_…`."""
        scores = {f"test/{name}": value for name, value in self.test_scores.compute().items()}
        scores["test/loss"] = scores["test/nll"]  # the same number under its name in training
        if self.mc_samples:
            scores |= {f"test/mc_{name}": value for name, value in self.mc_test_scores.compute().items()}
        self.test_scores.reset()
        self.mc_test_scores.reset()
        self.log_dict(scores)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = make_optimizer(self.optimizer, self.parameters(), self.learning_rate)
        return make_scheduler(self.scheduler, optimizer, self.trainer, self.warmup_epochs)

    def on_train_start(self) -> None:
        single = self.trainer.datamodule.batch_size == 1  # type: ignore[attr-defined]
        if single and any(isinstance(layer, BATCH_NORMS) for layer in self.modules()):
            raise UserError("batch_size=1 is too small for batch normalization: use at least 2.")
        loss = loss_in(self.loss_function)
        if isinstance(loss, nn.Module):  # not a submodule, so that checkpoints don't need it
            loss.to(self.device)
        self.compile_training_step()

    def compile_training_step(self) -> None:
        """Compile the training step, if that is wanted and pays; again when the network's shapes have changed."""
        self._compiled = compile_training_step(self, self.built(), self.loss_function, self.compile_step)

    def on_train_end(self) -> None:
        self._compiled = None  # it can't be pickled

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        if self.network is not None:
            checkpoint[checkpoints.KEY] = checkpoints.describe(
                self.variant, self.class_names, self.learning_rate, self.trained_on
            )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        described, weights = checkpoints.description(checkpoint), checkpoint["state_dict"]
        self.trained_on = described.get("data", {})
        check_weights(weights)
        if self.network is None:
            self._build_for(weights, described["class_names"])
        else:
            check_classes(described["class_names"], self.class_names)
        check_fits(self, weights, repr(self.variant))

    def _build_for(self, weights: Mapping[str, Tensor], class_names: Sequence[str]) -> None:
        """Build the network of a checkpoint's weights."""
        mean = weights.get("network.scale.mean", torch.empty(0))
        if mean.dim() != 3:
            raise UserError("The checkpoint is damaged: network.scale.mean is not [C, H, W].")
        scale = Scale.empty(tuple(mean.shape))
        size, classes = (mean.shape[0], mean.shape[1], mean.shape[2]), len(class_names)
        check_size(lambda: self.variant.build(size, classes), weights, repr(self.variant))
        self.build(class_names, scale)

    def on_validation_start(self) -> None:
        self._check_data()

    def on_test_start(self) -> None:
        self._check_data()

    def on_predict_start(self) -> None:
        self._check_data()

    def _check_data(self) -> None:
        """Check that the data has the classes and the image size of the network; a DataLoader alone doesn't tell."""
        shape = image_shape(self.built())
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is not None and not getattr(data, "pictures", None):
            check_classes(self.class_names, data.class_names)
        if data is not None:
            check_image_shape(shape, data.image_shape)

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls, checkpoint_path: str | Path, *, variant: Variant | None = None, **kwargs: Any
    ) -> LitClassifier:
        """Rebuild a trained classifier from its file alone; only plain data is read from it.

        Raises:
            UserError: if the file isn't a checkpoint of this project.
            variants.VariantError: if its variant isn't registered here and none is given.
        """
        content = checkpoints.read(checkpoint_path)
        described = checkpoints.description(content)
        check_version(content, Path(checkpoint_path))
        variant = variant or variants.from_spec(described["variant"])
        kwargs.setdefault("learning_rate", described["learning_rate"])
        return super().load_from_checkpoint(checkpoint_path, weights_only=True, variant=variant, **kwargs)

    def _metric(self, stage: str) -> LossAndAccuracy:
        metric: LossAndAccuracy = getattr(self, f"{stage}_metric")
        return metric

    def _log_epoch(self, stage: str) -> None:
        metric = self._metric(stage)
        # The mean is over the replicas of a stack; a single network's value stays what it is.
        values = {f"{stage}/{name}": value.mean() for name, value in metric.compute().items()}
        metric.reset()
        # The metric has already summed over processes, so every process logs the same value.
        self.log_dict(values, prog_bar=True, sync_dist=False, rank_zero_only=False)
