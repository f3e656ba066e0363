"""Fine-tuning learns, resumes to the bit, follows Caffe's recipe, and says what is wrong."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from accelerate import Accelerator

from geoutils import features
from geoutils.artifacts import read_json
from geoutils.methods import finetuning
from geoutils.methods.recipe import TrainingConfig
from geoutils.networks import backbones
from geoutils.networks.weights import read


def weights(folder) -> dict[str, torch.Tensor]:
    return read(folder / "model.safetensors")


def changed(config: TrainingConfig, **settings) -> TrainingConfig:
    return TrainingConfig(**config.model_dump() | settings)


def dies(*args):
    raise KeyboardInterrupt


def killed(config: TrainingConfig) -> None:
    """Train until something dies."""
    with pytest.raises(KeyboardInterrupt):
        finetuning.finetune(config)


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_network_overfits_32_photos(sample, tmp_path, config):
    """Labels that say nothing can only be learnt by heart."""
    city = sample["city_id"].sample(frac=1.0, random_state=0).to_numpy()
    sample.assign(city_id=city, split_photo=["train"] * 32 + ["val"] * 8).to_parquet(config.sample)
    config = changed(
        config,
        backbone="efficientnet_lite0",
        weights="default",
        size=64,
        epochs=12,
        batch_size=16,
        learning_rate=0.03,
        new_layer_rate=1.0,
        augment=None,
    )
    log = pd.DataFrame(finetuning.finetune(config)["log"])
    assert log["train_accuracy"].iloc[-1] >= 31 / 32


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_run_ends_with_the_very_weights_of_an_unbroken_one(config, tmp_path, monkeypatch, workers):
    config = changed(config, workers=workers, checkpoint_steps=2)
    finetuning.finetune(config)
    broken = changed(config, folder=str(tmp_path / "broken"))
    calls, loss_of = [], finetuning.loss_of

    def dies_once(*args):
        calls.append(1)
        if len(calls) == 6:  # the last batch of epoch 2: one step after a checkpoint in mid-epoch
            raise KeyboardInterrupt
        return loss_of(*args)

    monkeypatch.setattr(finetuning, "loss_of", dies_once)
    killed(broken)
    resumed = finetuning.finetune(broken)
    assert len(calls) == 6 + 4  # steps 6 to 9 were left of 9, the sixth for the second time
    assert equal(weights(tmp_path / "model"), weights(tmp_path / "broken"))
    for a, b in zip(resumed["log"], read_json(tmp_path / "model" / "model.json")["log"], strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_equal_seeds_give_equal_weights_and_others_do_not(config, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        finetuning.finetune(changed(config, folder=str(tmp_path / name), seed=seed, epochs=1))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert equal(a, b)
    assert not equal(a, c)


def test_saved_model_validates_as_its_best_epoch_did(config, sample, tmp_path):
    told = finetuning.finetune(config)
    backbone, description = finetuning.load_model(tmp_path / "model")
    val = sample[sample["split_photo"] == "val"]
    logits = finetuning.predict_logits(backbone, val["path"])
    accuracy = (np.array(description["classes"])[logits.argmax(1)] == val["city_id"]).mean()
    row = told["log"][told["best_epoch"] - 1]
    assert accuracy == pytest.approx(row["val_accuracy"])
    labels = torch.tensor([description["classes"].index(city) for city in val["city_id"]])
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), labels).item()
    assert loss == pytest.approx(row["val_loss"], abs=1e-6)  # to the bit but for the batches' sizes
    best = max(told["log"], key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert told["best_epoch"] == best["epoch"]


@pytest.mark.parametrize("name", ["places205_alexnet", "places205_googlenet"])
def test_saved_network_gives_the_very_logits_that_it_gave_in_memory(config, sample, tmp_path, monkeypatch, name):
    networks, load = [], backbones.load
    monkeypatch.setattr(backbones, "load", lambda *a, **k: networks.append(load(*a, **k)) or networks[-1])
    finetuning.finetune(changed(config, backbone=name, size=64, epochs=1, learning_rate=0.001))
    loaded, _ = finetuning.load_model(tmp_path / "model")
    in_memory, saved = (finetuning.predict_logits(b, sample["path"].tail(8)) for b in (networks[0], loaded))
    assert np.array_equal(in_memory, saved)
    assert np.ptp(in_memory, axis=0).max() > 0  # the photos are told apart


def test_other_weights_or_labels_are_another_run(config, sample, tmp_path, monkeypatch):
    """Weights that came since, and photos that were labelled anew, under the same settings."""
    config, load = changed(config, epochs=1), backbones.load
    first = finetuning.finetune(config)
    assert finetuning.finetune(config)["provenance"] == first["provenance"]
    city = sample["city_id"].sample(frac=1.0, random_state=0).to_numpy()
    sample.assign(city_id=city).to_parquet(config.sample)
    relabelled = finetuning.finetune(config)
    monkeypatch.setattr(backbones, "load", lambda *a, **k: dataclasses.replace(load(*a, **k), weights_sha256="feed"))
    fetched = finetuning.finetune(config)
    assert len({told["key"] for told in (first, relabelled, fetched)}) == 3


def test_finished_run_is_not_run_again_and_other_settings_are(config, tmp_path):
    finetuning.finetune(config)
    stamp = (tmp_path / "model" / "model.json").stat().st_mtime_ns
    finetuning.finetune(config)
    assert (tmp_path / "model" / "model.json").stat().st_mtime_ns == stamp
    finetuning.finetune(changed(config, epochs=1))
    assert (tmp_path / "model" / "model.json").stat().st_mtime_ns != stamp


@pytest.mark.parametrize("what", ["settings", "processes"])
def test_checkpoint_of_another_run_is_neither_taken_nor_lost(config, monkeypatch, what):
    config = changed(config, checkpoint_steps=1)
    with monkeypatch.context() as patch:
        patch.setattr(finetuning, "validate", dies)
        killed(config)
    (left,) = Path(config.folder).glob("checkpoint-*.pt")
    if what == "settings":
        config = changed(config, learning_rate=0.002)
    else:
        monkeypatch.setattr(Accelerator, "num_processes", 2)
    states, resume = [], finetuning.resume
    monkeypatch.setattr(finetuning, "resume", lambda *a: states.append(resume(*a)) or dies())
    killed(config)
    assert (states[0].epoch, states[0].batch) == (0, 0)
    assert left.exists()


@pytest.mark.parametrize("settings", [{}, {"batch_size": 24, "epochs": 1}], ids=["at once", "in the last step"])
def test_diverging_loss_says_what_to_lower(config, settings):
    with pytest.raises(ValueError, match=r"loss is (nan|inf).* of epoch 1: lower learning_rate"):
        finetuning.finetune(changed(config, learning_rate=1e30, **settings))


@pytest.mark.parametrize(("check_steps", "batch"), [(2, 2), (50, 3)], ids=["now and then", "at the epoch's end"])
def test_loss_is_looked_at(config, monkeypatch, check_steps, batch):
    monkeypatch.setattr(finetuning, "CHECK_STEPS", check_steps)
    monkeypatch.setattr(finetuning, "loss_of", lambda outputs, labels: outputs.sum() * torch.nan)
    with pytest.raises(ValueError, match=f"the loss is nan by batch {batch} of epoch 1"):
        finetuning.finetune(config)


@pytest.mark.parametrize(("name", "rates"), [("loss", (1e30, 0.01)), ("largest weight", (0.01, torch.inf))])
def test_no_checkpoint_holds_what_is_not_finite(config, monkeypatch, name, rates):
    """The first step goes so far that the second's loss is not finite, or the second goes nowhere."""
    monkeypatch.setattr(finetuning, "learning_rate", lambda config, step, steps: rates[step])
    with pytest.raises(ValueError, match=f"the {name} is (nan|inf) by batch 2"):
        finetuning.finetune(changed(config, checkpoint_steps=1))
    (path,) = Path(config.folder).glob("checkpoint-*.pt")
    content = torch.load(path, weights_only=True)
    assert content["batch"] == 1
    assert all(value.isfinite().all() for value in (content["sums"], *content["model"].values()))


def test_scaler_of_half_precision_is_resumed(config, monkeypatch):
    """Its scale grows every second step here; Accelerate's own needs a GPU."""
    scales, accelerator, save, resume = [], finetuning.make_accelerator, finetuning.save_checkpoint, finetuning.resume

    def scaled(precision):
        engine = accelerator(precision)
        engine.scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=2)
        return engine

    def dies_after(step):
        def call(*args):
            step(*args)
            scales.append(next(a for a in args if isinstance(a, Accelerator)).scaler.get_scale())
            raise KeyboardInterrupt

        return call

    monkeypatch.setattr(finetuning, "make_accelerator", scaled)
    monkeypatch.setattr(finetuning, "save_checkpoint", dies_after(save))
    killed(config)
    monkeypatch.setattr(finetuning, "resume", dies_after(resume))
    killed(config)
    assert scales[0] > 2.0
    assert scales[1] == scales[0]


def test_a_protocol_that_was_not_drawn_is_refused_before_any_work(config):
    with pytest.raises(ValueError, match=r"no split by protocol 'photos'; it was drawn under \['photo'\]"):
        finetuning.finetune(changed(config, protocol="photos"))


def test_cudnn_is_deterministic_only_while_training(config, monkeypatch):
    cudnn, flags = torch.backends.cudnn, []

    def note(*_) -> None:
        flags.append((cudnn.enabled, cudnn.deterministic, cudnn.benchmark))
        raise KeyboardInterrupt

    monkeypatch.setattr(finetuning, "train_network", note)
    with cudnn.flags(enabled=True, benchmark=True):
        killed(config)
        assert (cudnn.deterministic, cudnn.benchmark) == (False, True)
    assert flags == [(True, True, False)]


def test_validation_photos_of_untrained_cities_are_counted_out(config, sample, capsys):
    lone = sample.index[sample["split_photo"] == "val"][:3]
    sample.loc[lone, "city_id"] = 33
    sample.to_parquet(config.sample)
    finetuning.finetune(changed(config, epochs=1))
    assert "8 in, 5 out" in capsys.readouterr().out
    sample.loc[sample["split_photo"] == "val", "city_id"] = 33
    sample.to_parquet(config.sample)
    with pytest.raises(ValueError, match="none of the 8 validation photos"):
        finetuning.finetune(changed(config, epochs=1))


def test_killed_while_writing_leaves_no_old_description_of_new_weights(config, tmp_path, monkeypatch):
    import safetensors.torch

    finetuning.finetune(config)
    monkeypatch.setattr(safetensors.torch, "save_file", dies)
    killed(changed(config, epochs=1))
    assert not (tmp_path / "model" / "model.json").exists()


TWO_PROCESSES = """
import sys, time, torch.distributed
from geoutils import features, tables
from geoutils.methods import finetuning, recipe
from geoutils.networks import backbones
from geoutils.__main__ import main
from geoutils.networks.batches import make_accelerator
assert make_accelerator().num_processes == 2
sample, config, store = tables.read_table(sys.argv[1], "sample"), sys.argv[2], sys.argv[3]
opened, loss_of, sums = features._rows_on_disk, finetuning.loss_of, []
def late(*args):  # the second process looks at what is missing when the first has long begun
    rows = opened(*args)
    time.sleep(3 * args[-1].process_index)
    return rows
features._rows_on_disk = late
features.extract(sample, backbones.load("efficientnet_lite0", size=64), store, batch_size=4, workers=0)
def dies(*args):
    sums.append(1)
    if len(sums) == 3:
        raise KeyboardInterrupt
    return loss_of(*args)
finetuning.finetune(recipe.read_config(config).model_copy(update={"folder": sys.argv[4]}))
finetuning.loss_of = dies
try:
    finetuning.finetune(recipe.read_config(config))
except KeyboardInterrupt:
    torch.distributed.barrier()
finetuning.loss_of = loss_of
main(["train", config])
"""


def test_two_processes_share_the_work_and_count_every_photo(config, sample, tmp_path):
    """`torchrun` on two CPU processes: rows are all filled; killed after two steps it ends as if it had not been."""
    config = changed(config, epochs=1, batch_size=4, checkpoint_steps=2, augment=None)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config.model_dump()))
    (tmp_path / "both.py").write_text(TWO_PROCESSES)
    script = [tmp_path / "both.py", config.sample, tmp_path / "c.yaml", tmp_path / "store", tmp_path / "whole"]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *map(str, script)]
    result = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    backbone, description = finetuning.load_model(tmp_path / "model")
    val = sample[sample["split_photo"] == "val"]
    predicted = np.array(description["classes"])[finetuning.predict_logits(backbone, val["path"]).argmax(1)]
    row, whole = description["log"][0], read_json(tmp_path / "whole" / "model.json")["log"][0]
    assert (predicted == val["city_id"]).mean() == pytest.approx(row["val_accuracy"])
    assert {**row, "seconds": 0} == {**whole, "seconds": 0}
    assert equal(weights(tmp_path / "model"), weights(tmp_path / "whole"))
    (folder,) = (tmp_path / "store").iterdir()
    alone = features.extract(sample, backbones.load("efficientnet_lite0", size=64), tmp_path / "alone").rows
    np.testing.assert_allclose(features.open_store(folder, sample).rows, alone, rtol=1e-3, atol=1e-4)
    stamp = (tmp_path / "model" / "model.json").stat().st_mtime_ns
    finetuning.finetune(config)  # a finished model is finished, whatever the number of processes that made it
    assert (tmp_path / "model" / "model.json").stat().st_mtime_ns == stamp
