"""The recipe is Caffe's, and settings that make no sense are named."""

import pytest
import torch

from geoutils.methods import finetuning, recipe
from geoutils.networks import backbones


def test_groups_follow_caffe_s_recipe(config):
    network = backbones.load("torchvision/alexnet", weights_from="random", num_classes=5).network
    group_of = {}
    for group in recipe.parameter_groups(network, config, network.new_layers()):
        for parameter in group["params"]:
            group_of[id(parameter)] = group["rate"], group["weight_decay"]
    rates = {name: group_of[id(parameter)] for name, parameter in network.named_parameters()}
    assert len(rates) == len(group_of)
    assert rates["trunk.features.0.weight"] == (1.0, 5e-4)
    assert rates["trunk.features.0.bias"] == (2.0, 0.0)
    assert rates["classifier.weight"] == (10.0, 5e-4)
    assert rates["classifier.bias"] == (20.0, 0.0)


def test_from_scratch_all_layers_learn_alike(config, monkeypatch):
    groups = []
    monkeypatch.setattr(finetuning, "resume", lambda *a: groups.extend(a[-1].param_groups) or {}["stop"])
    with pytest.raises(KeyError, match="stop"):
        finetuning.finetune(config)
    assert {group["rate"] for group in groups} == {1.0, 2.0}  # weights, biases


def test_schedules_at_their_corners(config):
    step = config.model_copy(update={"schedule": "step", "step_epochs": 2, "gamma": 0.1, "learning_rate": 1.0})
    rates = [recipe.learning_rate(step, s, steps_per_epoch=5) for s in (0, 9, 10, 20)]
    assert rates == pytest.approx([1, 1, 0.1, 0.01])
    cosine = config.model_copy(update={"epochs": 4, "learning_rate": 1.0})
    assert [recipe.learning_rate(cosine, s, steps_per_epoch=5) for s in (0, 10, 20)] == pytest.approx([1, 0.5, 0])


def test_auxiliary_losses_count_three_tenths_each():
    labels = torch.tensor([0, 1])
    logits = [torch.randn(2, 3) for _ in range(3)]
    a, b, c = (recipe.loss_of(one, labels) for one in logits)
    torch.testing.assert_close(recipe.loss_of(tuple(logits), labels), a + 0.3 * b + 0.3 * c)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sample: s\nfolder: f\nlerning_rate: 1\n", "lerning_rate"),
        ("sample: s\n", "folder"),
        ("sample: s\nfolder: f\nepochs: 0\n", "epochs"),
        ("", "NoneType"),
        ("- sample\n- folder\n", "list"),
    ],
)
def test_config_file_that_makes_no_sense_is_refused_with_its_name(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ValueError, match=rf"(?s)c\.yaml: .*{words}"):
        recipe.read_config(tmp_path / "c.yaml")


def test_number_that_yaml_takes_for_text_is_a_number(tmp_path):
    (tmp_path / "c.yaml").write_text("sample: s\nfolder: f\nlearning_rate: 1e-3\n")
    assert recipe.read_config(tmp_path / "c.yaml").learning_rate == 0.001


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("learning_rate", "fast", "number"),
        ("learning_rate", -1, "greater than 0"),
        ("gamma", None, "number"),
        ("epochs", 0, "greater than or equal to 1"),
        ("epochs", True, "integer"),
        ("batch_size", 2.5, "integer"),
        ("schedule", "linear", "'cosine' or 'step'"),
        ("augment", "flip", "None, 'resized_crop' or 'crop'"),
        ("lerning_rate", 1, "not permitted"),
    ],
)
def test_setting_that_makes_no_sense_is_named_with_what_is_allowed(field, value, allowed):
    with pytest.raises(ValueError, match=rf"\n{field}\n.*{allowed}.*input_value={value!r}"):
        recipe.TrainingConfig(sample="s", folder="f", **{field: value})


def test_config_does_not_change(config):
    with pytest.raises(ValueError, match="frozen"):
        config.epochs = 4
