"""The feature store: right rows, resumable, never stale; the network and its input on one device."""

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch._subclasses.fake_tensor import FakeTensorMode

from geoutils import features
from geoutils.artifacts import write_json
from geoutils.images import open_photo
from geoutils.networks import backbones


@pytest.fixture(scope="module")
def backbone() -> backbones.Backbone:
    return backbones.load("efficientnet_lite0", size=64)


def folders(store) -> list[str]:
    return sorted(path.name for path in store.iterdir())


def test_every_row_is_the_network_s_answer_to_its_own_photo(sample, tmp_path, backbone):
    rows = features.extract(sample, backbone, tmp_path / "store", batch_size=7).rows
    with torch.inference_mode():
        pixels = torch.stack([backbone.preprocessing(open_photo(path, shortest_side=73)) for path in sample["path"]])
        expected = backbone.network.features(pixels).numpy()
    np.testing.assert_allclose(rows, expected, rtol=1e-3, atol=1e-4)


def test_a_few_photos_embed_to_the_rows_of_a_store(sample, tmp_path, backbone):
    rows = features.extract(sample, backbone, tmp_path / "store").rows
    found = features.embed_photos(backbone, sample["path"].tail(5))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, rows[-5:], rtol=1e-3, atol=1e-4)


def test_killed_run_goes_on_and_ends_with_the_same_rows(sample, tmp_path, backbone, monkeypatch):
    whole = np.array(features.extract(sample, backbone, tmp_path / "whole", batch_size=8).rows)
    calls, embed = [], features.embed

    def dies(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return embed(*args, **kwargs)

    monkeypatch.setattr(features, "embed", dies)
    with pytest.raises(KeyboardInterrupt):
        features.extract(sample, backbone, tmp_path / "store", batch_size=8)
    (folder,) = (tmp_path / "store").iterdir()
    with pytest.raises(FileNotFoundError, match="04_features"):
        features.open_store(folder, sample)
    calls[:] = [1] * 10
    rows = features.extract(sample, backbone, tmp_path / "store", batch_size=8).rows
    assert len(calls) == 10 + 3  # 24 of 40 photos were left, 8 a batch
    np.testing.assert_allclose(rows, whole, rtol=1e-4, atol=1e-5)


def test_a_network_is_named_once_and_found_again_with_its_weights(sample, tmp_path, backbone):
    with pytest.raises(FileNotFoundError, match="run 04_features first, or name a backbone"):
        features.network_of(tmp_path)
    assert features.network_of(tmp_path, "resnet18") == {"name": "resnet18", "weights_from": "default"}
    other = backbones.load("torchvision/mobilenet_v3_small", weights_from="random", size=32)
    stores = [features.extract(sample, network, tmp_path / "features") for network in (other, backbone)]
    write_json(tmp_path / "features.json", [store.folder.name for store in stores])
    assert features.network_of(tmp_path)["name"] == "efficientnet_lite0"
    found = features.network_of(tmp_path, "torchvision/mobilenet_v3_small")
    assert (found["weights_from"], found["size"]) == ("random", 32)
    for store, opened in zip(stores, features.open_stores(tmp_path, sample), strict=True):
        np.testing.assert_array_equal(opened.rows, store.rows)


def test_photo_weight_crop_and_order_each_make_another_store(sample, tmp_path, backbone):
    store = tmp_path / "store"
    features.extract(sample, backbone, store)
    features.extract(sample, backbones.load("efficientnet_lite0", size=72), store)
    features.extract(sample, backbones.load("efficientnet_lite0", weights_from="random", size=64), store)
    features.extract(sample[::-1], backbone, store)
    Image.open(sample["path"][5]).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(sample["path"][5])
    features.extract(sample, backbone, store)
    assert len(folders(store)) == 5


def test_store_is_used_again_and_refused_once_a_photo_changes(sample, tmp_path, backbone):
    first = features.extract(sample, backbone, tmp_path / "store")
    changed = (first.folder / "features.npy").stat().st_mtime_ns
    again = features.extract(sample, backbone, tmp_path / "store")
    assert (again.folder / "features.npy").stat().st_mtime_ns == changed
    Image.new("RGB", (50, 50)).save(sample["path"][3])
    with pytest.raises(ValueError, match="stale"):
        features.open_store(first.folder, sample)


def test_rows_that_another_program_wrote_are_refused(sample, tmp_path, backbone):
    found = features.extract(sample, backbone, tmp_path / "store")
    np.save(found.folder / "features.npy", np.roll(found.rows, 1, axis=0))
    with pytest.raises(ValueError, match="does not hold"):
        features.extract(sample, backbone, tmp_path / "store")


def test_missing_photo_raises_and_is_not_replaced(sample, tmp_path, backbone):
    sample.loc[7, "path"] = str(tmp_path / "gone.jpg")
    with pytest.raises(FileNotFoundError, match=r"gone\.jpg"):
        features.extract(sample, backbone, tmp_path / "store")


def test_features_that_are_not_finite_are_refused(sample, tmp_path):
    broken = backbones.load("efficientnet_lite0", size=64)
    torch.nn.init.constant_(broken.network.trunk.conv_stem.weight, float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        features.extract(sample, broken, tmp_path / "store")


def test_batch_follows_the_network_to_cuda():
    """FakeTensorMode runs the forward pass without a GPU, and fails where a tensor was left behind."""
    with FakeTensorMode(allow_non_fake_inputs=False), torch.device("cuda"):
        network = backbones.load("efficientnet_lite0", weights_from="random", size=64).network
        found = features.embed(network, torch.empty(2, 3, 64, 64, device="cpu"), dtype=torch.bfloat16)
        assert (found.device.type, found.dtype, found.shape) == ("cuda", torch.float32, (2, 1280))


@pytest.mark.gpu
def test_gpu_rows_match_the_cpu_s(sample, tmp_path, backbone):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    found = features.extract(sample, backbones.load("efficientnet_lite0", size=64), tmp_path / "store").rows
    with torch.inference_mode():
        pixels = torch.stack([backbone.preprocessing(open_photo(path, shortest_side=73)) for path in sample["path"]])
        expected = backbone.network.cpu().features(pixels).numpy()
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.99


def test_unknown_precision_is_refused(sample: pd.DataFrame, tmp_path, backbone):
    with pytest.raises(ValueError, match="precision must be"):
        features.extract(sample, backbone, tmp_path, precision="int8")


def test_a_row_that_nobody_computed_is_not_published(sample, tmp_path, backbone, monkeypatch):
    photo_loader = features.photo_loader
    monkeypatch.setattr(features, "photo_loader", lambda data, rows, **how: photo_loader(data, rows[:-3], **how))
    with pytest.raises(ValueError, match="3 of 40"):
        features.extract(sample, backbone, tmp_path / "store", workers=0)
    (folder,) = (tmp_path / "store").iterdir()
    assert not (folder / "key.json").exists()
