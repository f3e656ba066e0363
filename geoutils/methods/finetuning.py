"""Fine-tune a network on a sample: one visible loop, the same on a CPU, one GPU, several, or several machines."""

from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import SGD, Optimizer
from tqdm.auto import tqdm

from geoutils.artifacts import atomic_path, content_key, provenance, read_json
from geoutils.features import photos_key
from geoutils.methods.models import load_model, write_model
from geoutils.methods.predictions import rows_to_score, write_scores
from geoutils.methods.recipe import TrainingConfig, learning_rate, loss_of, parameter_groups
from geoutils.networks import backbones
from geoutils.networks.batches import PhotoDataset, make_accelerator, photo_loader, run_network
from geoutils.tables import ledger_row, origin, read_table, split_rows

CHECK_STEPS = 50  # a look at the loss waits for the device: not at every step


@dataclass
class State:
    """How far a fine-tuning is: with the weights and the optimizer's state, what a checkpoint holds.

    sums: of loss, right answers and photos over the epoch so far, of this process; on the device, float32 (MPS has no
    float64). epoch: epochs behind it. batch: batches of the present epoch behind it. log: a row an epoch. best: the
    weights of the epoch that validates best, on the CPU.
    """

    sums: torch.Tensor
    epoch: int = 0
    batch: int = 0
    log: list[dict[str, float]] = field(default_factory=list)
    best: dict[str, torch.Tensor] = field(default_factory=dict)


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
    if (folder / "model.json").exists() and (model := read_json(folder / "model.json"))["key"] == key:
        return model
    train_set, val_set = (
        PhotoDataset(rows["path"], backbone.preprocessing, rows["city_id"].map(classes.index)) for rows in (train, val)
    )
    train_set.augment, train_set.seed = config.augment, config.seed
    # the number of processes decides the shuffle and the steps of an epoch; another run's checkpoint lies apart
    checkpoint = folder / f"checkpoint-{content_key([key, engine.num_processes])}.pt"
    with torch.backends.cudnn.flags(enabled=True, deterministic=True):  # on a GPU too the same algorithms every time
        state = train_network(config, engine, backbone, train_set, val_set, checkpoint)
    description = {
        "key": key,
        "config": config.model_dump(),
        **backbone.describe(),
        "classes": classes,
        "cities": [sample.loc[sample["city_id"] == c, "city"].iloc[0] for c in classes],
        "origin": origin(train),
        "best_epoch": max(state.log, key=_rank)["epoch"],
        "log": state.log,
        "provenance": provenance(),
    }
    if engine.is_main_process:
        write_model(folder, state.best, backbone, description)
        checkpoint.unlink(missing_ok=True)
    engine.wait_for_everyone()
    return description


def train_network(
    config: TrainingConfig,
    engine: Accelerator,
    backbone: backbones.Backbone,
    train_set: PhotoDataset,
    val_set: PhotoDataset,
    checkpoint: Path,
) -> State:
    """Train to the last epoch, from the checkpoint if there is one; log.csv beside it gets a row an epoch.

    Raises:
        ValueError: if the loss or a weight is no longer finite.
    """
    torch.manual_seed(config.seed)  # Accelerate's shuffle starts from it
    network = backbone.network.to(memory_format=torch.channels_last)
    groups = parameter_groups(network, config, backbone.new_layers())
    optimizer = SGD(groups, lr=config.learning_rate, momentum=config.momentum)
    loader = photo_loader(train_set, batch_size=config.batch_size, workers=config.workers, shuffle=True)
    network, optimizer, loader = engine.prepare(network, optimizer, loader)
    state, steps = resume(checkpoint, engine, network, optimizer), len(loader)

    while state.epoch < config.epochs:
        start, title = perf_counter(), f"{config.backbone} epoch {state.epoch + 1}/{config.epochs}"
        # shuffle and augmentation follow (seed, epoch), not what was drawn before
        train_set.epoch = state.epoch
        loader.set_epoch(state.epoch)
        network.train()
        batches = engine.skip_first_batches(loader, state.batch) if state.batch else loader
        for batch in tqdm(batches, title, steps, initial=state.batch, disable=not engine.is_local_main_process):
            step = state.epoch * steps + state.batch
            # dropout follows (seed, step, process)
            torch.manual_seed(hash((config.seed, step, engine.process_index)) % 2**63)
            # set each group's learning rate
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, step, steps) * group["rate"]
            # forward
            pixels, labels = batch["pixels"].contiguous(memory_format=torch.channels_last), batch["label"]
            with engine.autocast():
                outputs = network(pixels)
                loss = loss_of(outputs, labels)
            # backward and update
            optimizer.zero_grad()
            engine.backward(loss)
            optimizer.step()
            # count, without waiting for the device
            logits = outputs if isinstance(outputs, torch.Tensor) else outputs[0]
            state.sums[0] += loss.detach() * len(labels)
            state.sums[1] += (logits.argmax(1) == labels).sum()
            state.sums[2] += len(labels)
            state.batch += 1
            # now and then wait, and look whether training diverged
            if state.batch % CHECK_STEPS == 0:
                demand_finite(config, state, "loss", add_up(engine, state)[0])
            if state.batch % config.checkpoint_steps == 0:
                save_checkpoint(checkpoint, config, engine, network, optimizer, state)
        # log the epoch
        (loss, right, photos), seconds = add_up(engine, state), perf_counter() - start
        demand_finite(config, state, "loss", loss)
        row = {"epoch": state.epoch + 1, "train_loss": loss / photos, "train_accuracy": right / photos}
        row |= validate(engine, network, val_set, config.batch_size) | {"seconds": round(seconds, 1)}
        demand_finite(config, state, "validation loss", row["val_loss"])
        state.log.append(row)
        # keep the weights if no epoch was better
        if row is max(state.log, key=_rank):
            model = engine.unwrap_model(network).state_dict()
            state.best = {name: value.detach().cpu().clone() for name, value in model.items()}
        state.epoch, state.batch = state.epoch + 1, 0
        state.sums.zero_()
        save_checkpoint(checkpoint, config, engine, network, optimizer, state)
        if engine.is_main_process:
            with atomic_path(checkpoint.with_name("log.csv")) as temporary:
                pd.DataFrame(state.log).to_csv(temporary, index=False)
    return state


def validate(engine: Accelerator, network: nn.Module, val_set: PhotoDataset, batch_size: int) -> dict[str, float]:
    """Return val_loss (the mean cross-entropy) and val_accuracy of a network on validation photos."""
    logits = run_network(engine, network.eval(), val_set, batch_size=batch_size)
    labels = torch.tensor(val_set.labels)
    accuracy = (logits.argmax(1) == labels).float().mean().item()
    return {"val_loss": nn.functional.cross_entropy(logits, labels).item(), "val_accuracy": accuracy}


def add_up(engine: Accelerator, state: State) -> list[float]:
    """Return loss, right answers and photos, summed over the epoch's batches so far and over all processes."""
    return engine.gather(state.sums[None]).sum(0).tolist()


def demand_finite(config: TrainingConfig, state: State, name: str, value: float) -> None:
    """Raise a ValueError, which names the number, if it is infinite or NaN: training diverged."""
    if not np.isfinite(value):
        where = f"batch {state.batch} of epoch {state.epoch + 1}"
        raise ValueError(f"the {name} is {value} by {where}: lower learning_rate ({config.learning_rate:.2g})")


def save_checkpoint(
    path: Path, config: TrainingConfig, engine: Accelerator, network: nn.Module, optimizer: Optimizer, state: State
) -> None:
    """Write weights, optimizer and state to one file, whole or not at all; every process calls it.

    Raises:
        ValueError: if the loss or a weight is not finite; the file stays as it was.
    """
    sums, model = engine.gather(state.sums[None]), engine.unwrap_model(network).state_dict()
    demand_finite(config, state, "loss", sums[:, 0].sum().item())
    largest = torch.stack([value.float().abs().max() for value in model.values()]).max()
    demand_finite(config, state, "largest weight", largest.item())
    scaler = engine.scaler.state_dict() if engine.scaler else None  # only with fp16
    content = {"model": model, "optimizer": optimizer.state_dict(), "scaler": scaler}
    if engine.is_main_process:
        with atomic_path(path) as temporary:
            torch.save(content | vars(state) | {"sums": sums.cpu()}, temporary)  # sums: a row a process


def resume(path: Path, engine: Accelerator, network: nn.Module, optimizer: Optimizer) -> State:
    """Load a checkpoint into network and optimizer and return its state, or a new one if there is no such file."""
    if not path.exists():
        return State(torch.zeros(3, device=engine.device))
    content = torch.load(path, map_location="cpu", weights_only=True)
    engine.unwrap_model(network).load_state_dict(content.pop("model"))
    optimizer.load_state_dict(content.pop("optimizer"))
    if scaler := content.pop("scaler"):
        engine.scaler.load_state_dict(scaler)
    content["sums"] = content["sums"][engine.process_index].to(engine.device)
    return State(**content)


def _rank(row: dict[str, float]) -> tuple[float, float]:
    """Tell how good an epoch of the log is: by accuracy, then by loss; of equals `max` takes the first."""
    return row["val_accuracy"], -row["val_loss"]


def _with_classes(val: pd.DataFrame, classes: list[int], *, tell: bool) -> pd.DataFrame:
    """Return the validation photos of cities that are trained on; say how many are left out."""
    rows = val[val["city_id"].isin(classes)]
    if rows.empty:
        raise ValueError(f"none of the {len(val):,} validation photos is of a city with training photos: sample anew")
    if tell and len(rows) < len(val):
        ledger_row("validation photos", len(val), len(rows), "the others' cities have no training photos")
    return rows


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
    rows = rows_to_score(sample, config["protocol"])
    logits = predict_logits(backbone, rows["path"], precision=config["precision"])
    sidecar = {name: described[name] for name in ("backbone", "weights", "provenance")}
    sidecar |= {"method": "finetune", "title": "fine-tuned", "kind": "network"}
    sidecar |= {"seed": config["seed"], "settings": config}
    return write_scores(predictions, sample, config["protocol"], logits, described["classes"], sidecar)
