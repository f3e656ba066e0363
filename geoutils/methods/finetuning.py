"""Fine-tune a network on a sample: one visible loop, the same on a CPU, one GPU, several, or several machines."""

import dataclasses
import math
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate.utils import gather_object
from torch import nn
from tqdm.auto import tqdm

from geoutils.artifacts import atomic_path, content_key, provenance, read_json, write_json
from geoutils.features import photos_key
from geoutils.methods.predictions import write_scores
from geoutils.methods.recipe import TrainingConfig, learning_rate, loss_of, parameter_groups
from geoutils.networks import backbones, weights
from geoutils.networks.batches import PhotoDataset, make_accelerator, photo_loader, run_network
from geoutils.networks.preprocessing import Preprocessing
from geoutils.tables import ledger_row, origin, read_table, split_of, split_rows


def finetune(config: TrainingConfig) -> dict[str, Any]:
    """Fine-tune a network, keep the epoch that validates best, and return the model's description.

    Goes on from the last checkpoint of a killed run, on a CPU to the bit, and ends at once if this very run (settings,
    weights, photos, labels) is finished, on whatever number of processes.
    `config.folder` gets `model.safetensors`, `model.json` (what is returned), `log.csv` (one row an epoch) and, while
    it runs, `checkpoint-KEY.pt`.

    Raises:
        ValueError: if the sample lacks photos for the protocol, or the loss diverges.
    """
    folder, sample = Path(config.folder), read_table(Path(config.sample), "sample")
    train, val = (split_rows(sample, config.protocol, split) for split in ("train", "val"))
    classes = sorted(train["city_id"].unique().tolist())
    engine = make_accelerator(config.precision)
    val = _with_classes(val, classes, tell=engine.is_main_process)
    backbone = backbones.load(
        config.backbone, weights_from=config.weights, size=config.size, num_classes=len(classes), seed=config.seed
    )
    labelled = [(photos_key(rows), rows["city_id"].tolist()) for rows in (train, val)]
    key = content_key([config.deciding(), backbone.describe(), labelled])
    if (folder / "model.json").exists() and (done := read_json(folder / "model.json"))["key"] == key:
        return done
    train_set, val_set = (
        PhotoDataset(rows["path"], backbone.preprocessing, rows["city_id"].map(classes.index)) for rows in (train, val)
    )
    train_set.augment, train_set.seed = config.augment, config.seed
    run = _Run(config, engine, backbone, train_set, val_set, folder, key)
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):  # on a GPU too the same algorithms every time
        run.fit(folder / "log.csv")
    description = {
        "key": key,
        "config": dataclasses.asdict(config),
        **backbone.describe(),
        "classes": classes,
        "cities": [sample.loc[sample["city_id"] == c, "city"].iloc[0] for c in classes],
        "origin": origin(train),
        "best_epoch": max(run.log, key=_rank)["epoch"],
        "log": run.log,
        "provenance": provenance(),
    }
    if engine.is_main_process:
        _write_model(folder, run.best, backbone, description)
        run.checkpoint.unlink(missing_ok=True)
    engine.wait_for_everyone()
    return description


def _with_classes(val: pd.DataFrame, classes: list[int], *, tell: bool) -> pd.DataFrame:
    """Return the validation photos of cities that are trained on; say how many are left out."""
    kept = val[val["city_id"].isin(classes)]
    if kept.empty:
        raise ValueError(f"none of the {len(val):,} validation photos is of a city with training photos: sample anew")
    if tell and len(kept) < len(val):
        ledger_row("validation photos", len(val), len(kept), "the others' cities have no training photos")
    return kept


def _write_model(
    folder: Path, state: dict[str, torch.Tensor], backbone: backbones.Backbone, description: dict[str, Any]
) -> None:
    """Write the weights, then the description, which says that the rest is whole and is away in between."""
    from safetensors.torch import save_file

    (folder / "model.json").unlink(missing_ok=True)
    with atomic_path(folder / "model.safetensors") as temporary:
        save_file({name: value.contiguous() for name, value in state.items()}, temporary)
    with atomic_path(folder / "mean.npy") as temporary:
        np.save(temporary, np.asarray(backbone.preprocessing.mean, dtype=np.float32))
    write_json(folder / "model.json", description)


def load_model(folder: Path) -> tuple[backbones.Backbone, dict[str, Any]]:
    """Load a fine-tuned network and its description.

    Raises:
        FileNotFoundError: if no finished model lies in the folder.
    """
    if not (Path(folder) / "model.json").exists():
        raise FileNotFoundError(f"{folder} holds no finished model; notebook 06_finetune or `train` makes one")
    description = read_json(Path(folder) / "model.json")
    config, classes = description["config"], description["classes"]
    network = {"size": config["size"], "num_classes": len(classes), "seed": config["seed"]}
    backbone = backbones.load(config["backbone"], weights_from="random", **network)
    mean = np.load(Path(folder) / "mean.npy")
    preprocessing = Preprocessing(**{**description["preprocessing"], "mean": mean})
    backbone.network.load_state_dict(weights.read(Path(folder) / "model.safetensors"))
    return dataclasses.replace(backbone, weights=description["weights"], preprocessing=preprocessing), description


def predict_logits(backbone: backbones.Backbone, paths: pd.Series, *, precision: str = "auto") -> np.ndarray:
    """Return the logits of photos, float32 (n, classes), in their order."""
    engine = make_accelerator(precision)
    network = backbone.network.to(engine.device, memory_format=torch.channels_last).eval()
    return run_network(engine, network, PhotoDataset(paths, backbone.preprocessing)).numpy()


def predict_sample(folder: Path, sample: pd.DataFrame, predictions: Path) -> pd.DataFrame:
    """Predict a sample's validation and test photos with a finished model, and write the predictions.

    Args:
        folder: the model's. predictions: the folder of predictions files.
    """
    backbone, described = load_model(folder)
    config = described["config"]
    asked = sample[split_of(sample, config["protocol"]).isin(["val", "test"])]
    logits = predict_logits(backbone, asked["path"], precision=config["precision"])
    sidecar = {name: described[name] for name in ("backbone", "weights", "provenance")}
    sidecar |= {"method": "finetune", "title": "fine-tuned", "kind": "network"}
    sidecar |= {"seed": config["seed"], "settings": config}
    return write_scores(predictions, sample, config["protocol"], logits, described["classes"], sidecar)


class _Run:
    """The state of one fine-tuning: what a checkpoint holds, and the loop that moves it on."""

    def __init__(self, config, engine, backbone, train_set, val_set, folder: Path, key: str) -> None:
        self.config, self.engine = config, engine
        # the number of processes decides the shuffle and the steps of an epoch; another run's checkpoint lies apart
        self.checkpoint = folder / f"checkpoint-{content_key([key, engine.num_processes])}.pt"
        self.train_set, self.val_set = train_set, val_set
        torch.manual_seed(config.seed)  # Accelerate's shuffle starts from it
        network = backbone.network.to(memory_format=torch.channels_last)
        groups = parameter_groups(network, config, backbone.new_layers())
        optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum)
        loader = photo_loader(self.train_set, batch_size=config.batch_size, workers=config.workers, shuffle=True)
        self.network, self.optimizer, self.loader = engine.prepare(network, optimizer, loader)
        self.epoch, self.batch, self.sums, self.log = 0, 0, [0.0, 0, 0], []
        self.best: dict[str, torch.Tensor] = {}  # the weights of the epoch that validates best
        self.resume()

    def fit(self, log_path: Path) -> None:
        """Train to the last epoch."""
        while self.epoch < self.config.epochs:
            started = perf_counter()
            self.train_epoch()
            self.end_epoch(perf_counter() - started)
            self.save()
            if self.engine.is_main_process:
                with atomic_path(log_path) as temporary:
                    pd.DataFrame(self.log).to_csv(temporary, index=False)

    def train_epoch(self) -> None:
        self.train_set.epoch = self.epoch  # augmentation and shuffle follow (seed, epoch), not history
        self.loader.set_epoch(self.epoch)
        self.network.train()
        loader = self.engine.skip_first_batches(self.loader, self.batch) if self.batch else self.loader
        steps, title = len(self.loader), f"{self.config.backbone} epoch {self.epoch + 1}/{self.config.epochs}"
        hidden = not self.engine.is_local_main_process
        for batch in tqdm(loader, total=steps, initial=self.batch, desc=title, unit="batch", disable=hidden):
            step = self.epoch * steps + self.batch
            torch.manual_seed(hash((self.config.seed, step, self.engine.process_index)) % 2**63)  # dropout's draw
            rate = learning_rate(self.config, step, steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["rate"]
            # forward and backward
            pixels = batch["pixels"].contiguous(memory_format=torch.channels_last)
            with self.engine.autocast():
                answer = self.network(pixels)
                loss = loss_of(answer, batch["label"])
            self.demand_finite(loss.item(), f"at step {step}")
            self.optimizer.zero_grad()
            self.engine.backward(loss)
            self.optimizer.step()
            # count
            logits = answer if isinstance(answer, torch.Tensor) else answer[0]
            right = (logits.argmax(1) == batch["label"]).sum().item()
            n = len(batch["label"])
            self.sums = [a + b for a, b in zip(self.sums, (loss.item() * n, right, n), strict=True)]
            self.batch += 1
            if self.batch % self.config.checkpoint_steps == 0:
                self.save()

    def end_epoch(self, seconds: float) -> None:
        """Validate, write the log's row, and keep the weights if no epoch was better."""
        logits = run_network(self.engine, self.network.eval(), self.val_set, batch_size=self.config.batch_size)
        labels = torch.tensor(self.val_set.labels)
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        loss = nn.functional.cross_entropy(logits, labels).item()
        self.demand_finite(loss, f"on the validation photos after epoch {self.epoch + 1}")
        total = self.total()
        row = {"epoch": self.epoch + 1, "train_loss": total[0] / total[2], "train_accuracy": total[1] / total[2]}
        self.log.append(row | {"val_loss": loss, "val_accuracy": accuracy, "seconds": round(seconds, 1)})
        if self.log[-1] is max(self.log, key=_rank):
            model = self.engine.unwrap_model(self.network).state_dict()
            self.best = {name: value.detach().cpu().clone() for name, value in model.items()}
        self.epoch, self.batch, self.sums = self.epoch + 1, 0, [0.0, 0, 0]

    def demand_finite(self, loss: float, where: str) -> None:
        """Raise if training diverged."""
        if not math.isfinite(loss):
            raise ValueError(f"the loss is {loss} {where}: lower learning_rate ({self.config.learning_rate:.2g})")

    def total(self) -> list[float]:
        """Add up, over the processes, the epoch's summed loss, right photos and photos so far."""
        return np.sum(gather_object([self.sums]), axis=0).tolist()

    def save(self) -> None:
        """Write the checkpoint atomically; every process calls it."""
        total = self.total()
        if not self.engine.is_main_process:
            return
        state = {name: getattr(self, name) for name in ("epoch", "batch", "log", "best")} | {"sums": total}
        state["scaler"] = self.engine.scaler.state_dict() if self.engine.scaler else None  # only with fp16
        state["model"] = self.engine.unwrap_model(self.network).state_dict()
        state["optimizer"] = self.optimizer.state_dict()
        with atomic_path(self.checkpoint) as temporary:
            torch.save(state, temporary)

    def resume(self) -> None:
        """Take up the state of a killed run of the same settings, weights, photos and processes, if there is one."""
        if not self.checkpoint.exists():
            return
        state = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
        self.engine.unwrap_model(self.network).load_state_dict(state.pop("model"))
        self.optimizer.load_state_dict(state.pop("optimizer"))
        if scaler := state.pop("scaler"):
            self.engine.scaler.load_state_dict(scaler)
        if not self.engine.is_main_process:
            state["sums"] = [0.0, 0, 0]  # the first process has what all had counted
        for name, value in state.items():
            setattr(self, name, value)


def _rank(row: dict[str, float]) -> tuple[float, float]:
    """Tell how good an epoch of the log is: by accuracy, then by loss; of equals `max` takes the first."""
    return row["val_accuracy"], -row["val_loss"]
