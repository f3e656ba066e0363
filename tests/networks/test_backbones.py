"""Networks by name: preprocessing against timm's and a plain computation, weights in their places, clear refusals."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torchvision import models

from geoutils.networks import backbones, caffe, weights
from geoutils.networks.preprocessing import Preprocessing
from makers import caffe_files


def test_lite0_computes_what_timm_computes_from_the_same_weights(crops):
    backbone = backbones.load("efficientnet_lite0")
    network = timm.create_model("tf_efficientnet_lite0").eval()
    state = torch.load(weights.locate("efficientnet_lite0"), weights_only=True)
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
    with torch.inference_mode():
        expected = network(transform(crops[0])[None])
        found = backbone.network(backbone.preprocessing(crops[0])[None])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_lite0_knows_what_it_sees():
    """The weights sit in the right layers and the colours in the right channels: a palace is called a palace."""
    from sklearn.datasets import load_sample_image

    backbone = backbones.load("efficientnet_lite0")
    photo = Image.fromarray(load_sample_image("china.jpg"))
    with torch.inference_mode():
        top = backbone.network(backbone.preprocessing(photo)[None]).softmax(1).topk(2)
    assert 698 in top.indices[0].tolist()  # ImageNet's class 698 is "palace"


def test_features_lead_to_the_logits():
    backbone = backbones.load("torchvision/resnet18", weights_from="random", num_classes=7, size=64)
    x = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        features = backbone.network.features(x)
        assert features.shape == (2, backbone.width)
        torch.testing.assert_close(backbone.network.classifier(features), backbone.network(x))


def test_headless_vgg_gives_fc7_after_relu():
    network = models.vgg16(weights=None).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        whole, wrapped = network(x), backbones.without_head(network)
        torch.testing.assert_close(wrapped.eval()(x), whole)
        assert wrapped.features(x).min() == 0  # after the ReLU


def test_preprocessing_is_resize_crop_and_normalise(crops):
    """Warp to 50 x 50, crop 40 from (5, 5), BGR, 0 to 255, mean image: written out by hand."""
    mean = np.random.default_rng(0).uniform(90, 130, (3, 50, 50)).astype(np.float32)
    how = Preprocessing(40, 50, warp=True, bgr=True, scale=1.0, mean=mean, std=(1.0, 1.0, 1.0))
    resized = np.asarray(crops[0].resize((50, 50), Image.Resampling.BILINEAR), dtype=np.float32)
    expected = (resized[:, :, ::-1].transpose(2, 0, 1) - mean)[:, 5:45, 5:45]
    np.testing.assert_allclose(how(crops[0]).numpy(), expected, atol=1e-5)


def test_caffe_crop_moves_the_mean_image_with_the_photo(crops):
    """A photo equal to the mean image gives zeros wherever it is cropped."""
    photo = crops[0].resize((50, 50))
    mean = np.asarray(photo, dtype=np.float32).transpose(2, 0, 1)
    how = Preprocessing(40, 50, warp=True, scale=1.0, mean=mean, std=(1.0, 1.0, 1.0))
    for seed in range(8):  # mirrored or not: Caffe subtracts the mean before it mirrors
        assert (how(photo, augment="crop", rng=np.random.default_rng(seed)) == 0).all()


def test_augmented_crops_vary_by_seed_and_not_by_chance(crops):
    how = backbones.load("efficientnet_lite0", weights_from="random", size=64).preprocessing
    a, b, c = (how(crops[0], augment="resized_crop", rng=np.random.default_rng(s)) for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert a.shape == (3, 64, 64)


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (40, 40), (641, 427)])
def test_any_shape_of_photo_becomes_a_square(size):
    how = Preprocessing(40, 46)
    assert how(Image.new("RGB", size)).shape == (3, 40, 40)


@pytest.mark.parametrize("how", [Preprocessing(224, 256), Preprocessing(227, 256, warp=True), Preprocessing(40, 50)])
def test_crop_is_cut_from_the_resized_photo(crops, how):
    thin = crops[3].resize((601, 31))
    for photo in (crops[0], crops[1].rotate(90, expand=True), crops[2].crop((0, 0, 97, 61)), thin):
        width, height = photo.size
        scale = how.resize / min(photo.size)
        whole = (how.resize, how.resize) if how.warp else (int(width * scale), int(height * scale))
        left, top = (round((side - how.size) / 2) for side in whole)
        expected = photo.resize(whole, Image.Resampling.BILINEAR).crop((left, top, left + how.size, top + how.size))
        assert np.array_equal(how.crop(photo), expected)


@pytest.mark.parametrize("name", ["efficientnet_b1", "efficientnet_b3", "swin_v2_t"])
def test_torchvision_network_sees_what_its_weights_expect(name, crops):
    expects = models.get_model_weights(name).DEFAULT.transforms()
    how = backbones.load(f"torchvision/{name}", weights_from="random").preprocessing
    torch.testing.assert_close(how(crops[0]), expects(crops[0]), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["torchvision/googlenet", "torchvision/inception_v3"])
def test_torchvision_network_with_auxiliary_heads_trains_without_them(name):
    network = backbones.load(name, weights_from="random", num_classes=3).network.train()
    assert network(torch.randn(2, 3, 96, 96)).shape == (2, 3)


@pytest.mark.parametrize("name", ["torchvision/squeezenet1_1", "deit_tiny_distilled_patch16_224"])
def test_network_without_one_linear_classifier_is_refused(name):
    with pytest.raises(ValueError, match=r"(SqueezeNet|VisionTransformerDistilled) .*linear"):
        backbones.load(name, weights_from="random")


def test_width_is_that_of_the_features_where_a_head_widens_them():
    backbone = backbones.load("mobilenetv3_small_050", weights_from="random", num_classes=3, size=64)
    with torch.inference_mode():
        assert backbone.network.features(torch.randn(1, 3, 64, 64)).shape == (1, backbone.width)
        assert backbone.network(torch.randn(1, 3, 64, 64)).shape == (1, 3)


def test_random_weights_follow_the_seed_and_leave_the_global_state():
    before = torch.random.get_rng_state()
    a, b, c = (backbones.load("torchvision/resnet18", weights_from="random", seed=s).network for s in (0, 0, 1))
    assert torch.equal(a.classifier.weight, b.classifier.weight)
    assert not torch.equal(a.classifier.weight, c.classifier.weight)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_unknown_network_names_near_ones():
    with pytest.raises(ValueError, match="tf_efficientnet_lite0"):
        backbones.load("tf_efficientnet_lite00")


def test_file_of_another_network_names_the_layer(tmp_path):
    torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w.pth does not fit ResNet: layer 'layer1.2"):
        backbones.load("torchvision/resnet18", weights_from=tmp_path / "w.pth")


def test_weight_file_that_would_run_code_is_refused(tmp_path):
    import os

    class Evil:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="without running its code"):
        backbones.load("torchvision/resnet18", weights_from=tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def places(tmp_path_factory) -> Path:
    """A weights folder as `fetch` leaves it: both of the paper's networks, AlexNet's mean image beside it."""
    folder = tmp_path_factory.mktemp("weights")
    for name, definition in (("places205_alexnet", caffe_files.caffenet(205)), ("places205_googlenet", None)):
        definition = definition or caffe_files.googlenet(205, heads=False)
        (folder / name / "inside").mkdir(parents=True)
        path = folder / name / "inside" / weights.known_files()[name].file
        caffe_files.write_caffemodel(path, caffe_files.random_weights(definition))
    mean = np.random.default_rng(0).uniform(90, 130, (3, 256, 256)).astype(np.float32)
    caffe_files.write_binaryproto(folder / "places205_alexnet" / "inside" / "mean.binaryproto", mean)
    return folder


def test_places_alexnet_takes_its_weights_and_its_mean_image(places, monkeypatch, crops):
    monkeypatch.setattr(weights, "FOLDER", places)
    backbone = backbones.load("places205_alexnet", num_classes=5)
    path = weights.locate("places205_alexnet")
    blobs = caffe.read_caffemodel(path)
    assert np.array_equal(backbone.network.conv1.weight.detach().numpy(), blobs["conv1"][0])
    assert (backbone.weights, len(backbone.weights_sha256)) == ("Places-205", 64)
    resized = np.asarray(crops[0].resize((256, 256), Image.Resampling.BILINEAR), dtype=np.float32)
    mean = caffe.read_binaryproto(path.parent / "mean.binaryproto")
    expected = (resized[:, :, ::-1].transpose(2, 0, 1) - mean)[:, 14:241, 14:241]
    np.testing.assert_allclose(backbone.preprocessing(crops[0]).numpy(), expected, atol=1e-3)


def test_missing_mean_image_is_told(places, monkeypatch, tmp_path):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    inside = tmp_path / "places205_alexnet"
    inside.mkdir()
    found = next((places / "places205_alexnet").rglob("*.caffemodel"))
    (inside / found.name).hardlink_to(found)
    assert backbones.load("places205_alexnet").weights == "Places-205 (mean colour)"


def test_layers_that_a_file_did_not_bring_are_new_and_from_scratch_none_is(places, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", places)
    new = backbones.load("places205_googlenet", num_classes=3).new_layers()
    assert set(new) == {"loss3.classifier", "loss1.classifier", "loss2.classifier", "loss1", "loss2"}
    assert backbones.load("places205_googlenet", weights_from="random", num_classes=3).new_layers() == []


def test_paper_networks_give_the_layers_the_paper_names(places, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", places)
    for name, side in (("places205_alexnet", 227), ("places205_googlenet", 224)):
        backbone = backbones.load(name)
        with torch.inference_mode():
            found = backbone.network.features(torch.randn(1, 3, side, side))
        assert found.shape == (1, backbone.width)
        assert found.min() >= 0  # after a ReLU
        assert backbone.preprocessing.size == side


def test_missing_weights_say_what_to_fetch_and_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "FOLDER", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"weights fetch places205_googlenet.*googlelet_places205_train"):
        backbones.load("places205_googlenet")
    assert backbones.load("places205_googlenet", weights_from="available", size=64).weights == "random"


def test_aspect_is_kept_or_warped_as_asked(crops):
    kept, warped = (
        backbones.load("places205_googlenet", weights_from="random", warp=warp).preprocessing for warp in (False, True)
    )
    square = crops[0].crop((0, 0, 160, 160))
    assert torch.equal(kept(square), warped(square))
    assert not torch.equal(kept(crops[0]), warped(crops[0]))


def legacy_checkpoint(name: str, path: Path) -> Path:
    """Write what Places365 published: a state dict of a network on several GPUs, in the format before zip."""
    network = models.get_model(name, num_classes=365)
    state = {f"module.{key}": value for key, value in network.state_dict().items() if "num_batches" not in key}
    torch.save({"arch": name, "epoch": 90, "state_dict": state}, path, _use_new_zipfile_serialization=False)
    return path


def test_places365_checkpoint_loads_without_unpickling_code(tmp_path):
    path = legacy_checkpoint("resnet18", tmp_path / "resnet18_places365.pth.tar")
    backbone = backbones.load("places365_resnet18", weights_from=path)
    given = torch.load(path, weights_only=True)["state_dict"]
    assert torch.equal(backbone.network.trunk.layer4[1].conv2.weight, given["module.layer4.1.conv2.weight"])
    assert torch.equal(backbone.network.classifier.weight, given["module.fc.weight"])


def test_check_names_every_kind_of_weights(places, tmp_path):
    alexnet = places / "places205_alexnet" / "inside"
    assert "it fits places205_alexnet" in backbones.check_weights(next(alexnet.glob("*.caffemodel")))
    googlenet = next((places / "places205_googlenet").rglob("*.caffemodel"))
    assert "it fits places205_googlenet" in backbones.check_weights(googlenet)
    assert "mean image of shape (3, 256, 256)" in backbones.check_weights(alexnet / "mean.binaryproto")[0]
    checkpoint = legacy_checkpoint("alexnet", tmp_path / "alexnet_places365.pth.tar")
    assert "it fits places365_alexnet" in backbones.check_weights(checkpoint)
    assert "it fits efficientnet_lite0" in backbones.check_weights(weights.locate("efficientnet_lite0"))


def test_check_names_the_layer_that_does_not_match(tmp_path):
    layers = caffe_files.random_weights(caffe_files.caffenet(205))
    layers["conv3"][0] = layers["conv3"][0][:, :128]
    path = caffe_files.write_caffemodel(tmp_path / "odd.caffemodel", layers)
    assert "places205_alexnet: layer 'conv3.weight'" in backbones.check_weights(path)[1]
    (tmp_path / "x.caffemodel").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="can't be read as a Caffe network"):
        backbones.check_weights(tmp_path / "x.caffemodel")
