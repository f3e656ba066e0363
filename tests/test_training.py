"""Fine-tuning learns, resumes to the bit, follows Caffe's recipe, and says what is wrong."""

import dataclasses
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from geoutils import backbones, recipe, training
from geoutils.artifacts import read_json
from geoutils.recipe import TrainingConfig
from geoutils.weights import read_state


@pytest.fixture
def config(sample, tmp_path) -> TrainingConfig:
    return TrainingConfig(
        sample=str(tmp_path / "sample.parquet"),
        folder=str(tmp_path / "model"),
        backbone="torchvision/mobilenet_v3_small",  # has dropout and batch norm, and is fast
        weights="random",
        size=32,
        epochs=3,
        batch_size=8,
        learning_rate=0.01,
        workers=0,
    )


def weights(folder) -> dict[str, torch.Tensor]:
    return read_state(folder / "model.safetensors")


def equal(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_network_overfits_32_photos(sample, tmp_path, config):
    """Labels that say nothing can only be learnt by heart."""
    city = sample["city_id"].sample(frac=1.0, random_state=0).to_numpy()
    sample.assign(city_id=city, split_photo=["train"] * 32 + ["val"] * 8).to_parquet(config.sample)
    config = dataclasses.replace(
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
    log = pd.DataFrame(training.finetune(config)["log"])
    assert log["train_accuracy"].iloc[-1] >= 31 / 32


@pytest.mark.parametrize("workers", [0, 2])
def test_killed_run_ends_with_the_very_weights_of_an_unbroken_one(config, tmp_path, monkeypatch, workers):
    config = dataclasses.replace(config, workers=workers, checkpoint_steps=2)
    training.finetune(config)
    broken = dataclasses.replace(config, folder=str(tmp_path / "broken"))
    calls, loss_of = [], training.loss_of

    def dies(*args):
        calls.append(1)
        if len(calls) == 6:  # the last batch of epoch 2: one step after a checkpoint in mid-epoch
            raise KeyboardInterrupt
        return loss_of(*args)

    monkeypatch.setattr(training, "loss_of", dies)
    with pytest.raises(KeyboardInterrupt):
        training.finetune(broken)
    resumed = training.finetune(broken)
    assert len(calls) == 6 + 4  # steps 6 to 9 were left of 9, the sixth for the second time
    assert equal(weights(tmp_path / "model"), weights(tmp_path / "broken"))
    for a, b in zip(resumed["log"], read_json(tmp_path / "model" / "model.json")["log"], strict=True):
        assert {**a, "seconds": 0} == {**b, "seconds": 0}


def test_equal_seeds_give_equal_weights_and_others_do_not(config, tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        training.finetune(dataclasses.replace(config, folder=str(tmp_path / name), seed=seed, epochs=1))
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert equal(a, b)
    assert not equal(a, c)


def test_saved_model_gives_the_very_logits_of_its_best_epoch(config, sample, tmp_path):
    told = training.finetune(config)
    backbone, description = training.load_model(tmp_path / "model")
    val = sample[sample["split_photo"] == "val"]
    logits = training.predict_logits(backbone, val["path"])
    assert np.array_equal(logits, training.predict_logits(backbone, val["path"]))
    accuracy = (np.array(description["classes"])[logits.argmax(1)] == val["city_id"]).mean()
    row = told["log"][told["best_epoch"] - 1]
    assert accuracy == pytest.approx(row["val_accuracy"])
    labels = torch.tensor([description["classes"].index(city) for city in val["city_id"]])
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), labels).item()
    assert loss == pytest.approx(row["val_loss"], abs=1e-6)  # to the bit but for the batches' sizes
    best = max(told["log"], key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert told["best_epoch"] == best["epoch"]


def test_finished_run_is_not_run_again_and_other_settings_are(config, tmp_path):
    training.finetune(config)
    stamp = (tmp_path / "model" / "model.json").stat().st_mtime_ns
    training.finetune(config)
    assert (tmp_path / "model" / "model.json").stat().st_mtime_ns == stamp
    training.finetune(dataclasses.replace(config, epochs=1))
    assert (tmp_path / "model" / "model.json").stat().st_mtime_ns != stamp


def test_groups_follow_caffe_s_recipe(config):
    network = backbones.load("torchvision/alexnet", weights_from="random", num_classes=5).network
    found = {}
    for group in recipe.parameter_groups(network, config):
        for parameter in group["params"]:
            found[id(parameter)] = group["rate"], group["weight_decay"]
    rates = {name: found[id(parameter)] for name, parameter in network.named_parameters()}
    assert len(rates) == len(found)
    assert rates["trunk.features.0.weight"] == (1.0, 5e-4)
    assert rates["trunk.features.0.bias"] == (2.0, 0.0)
    assert rates["classifier.weight"] == (10.0, 5e-4)
    assert rates["classifier.bias"] == (20.0, 0.0)


def test_schedules_at_their_corners(config):
    step = dataclasses.replace(config, schedule="step", step_epochs=2, gamma=0.1, learning_rate=1.0)
    rates = [recipe.learning_rate(step, s, steps_per_epoch=5) for s in (0, 9, 10, 20)]
    assert rates == pytest.approx([1, 1, 0.1, 0.01])
    cosine = dataclasses.replace(config, epochs=4, learning_rate=1.0)
    assert [recipe.learning_rate(cosine, s, steps_per_epoch=5) for s in (0, 10, 20)] == pytest.approx([1, 0.5, 0])


def test_auxiliary_losses_count_three_tenths_each():
    labels = torch.tensor([0, 1])
    logits = [torch.randn(2, 3) for _ in range(3)]
    a, b, c = (recipe.loss_of(one, labels) for one in logits)
    torch.testing.assert_close(recipe.loss_of(tuple(logits), labels), a + 0.3 * b + 0.3 * c)


def test_checkpoint_of_other_settings_is_refused(config, monkeypatch):
    def dies(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(training._Run, "end_epoch", dies)
    config = dataclasses.replace(config, checkpoint_steps=1)
    with pytest.raises(KeyboardInterrupt):
        training.finetune(config)
    with pytest.raises(ValueError, match="other settings"):
        training.finetune(dataclasses.replace(config, learning_rate=0.5))


def test_diverging_loss_says_what_to_lower(config):
    with pytest.raises(ValueError, match="lower learning_rate"):
        training.finetune(dataclasses.replace(config, learning_rate=1e30))


def test_config_file_with_a_misspelt_key_is_refused(tmp_path):
    (tmp_path / "c.yaml").write_text("sample: s\nfolder: f\nlerning_rate: 1\n")
    with pytest.raises(ValueError, match="lerning_rate"):
        recipe.read_config(tmp_path / "c.yaml")


def test_two_processes_train_one_model_and_count_every_photo(config, sample, tmp_path):
    """`torchrun` on two CPU processes: the validation set of 8 is counted once, the model is whole."""
    config = dataclasses.replace(config, epochs=1, batch_size=4)
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(dataclasses.asdict(config)))
    command = [
        "-m",
        "torch.distributed.run",
        "--nproc-per-node",
        "2",
        "-m",
        "geoutils",
        "train",
        str(tmp_path / "c.yaml"),
    ]
    subprocess.run([sys.executable, *command], check=True, timeout=300, capture_output=True)
    backbone, description = training.load_model(tmp_path / "model")
    val = sample[sample["split_photo"] == "val"]
    predicted = np.array(description["classes"])[training.predict_logits(backbone, val["path"]).argmax(1)]
    assert (predicted == val["city_id"]).mean() == pytest.approx(description["log"][0]["val_accuracy"])
