"""Caffe's files, written field by field, give back the arrays that they hold; whatever is broken is refused."""

import tracemalloc

import cv2
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from geoutils.networks import weights
from geoutils.networks.caffe import read_binaryproto, read_caffemodel
from geoutils.networks.libraries import build_vgg16
from geoutils.networks.paper import CaffeNet, GoogLeNet
from makers import caffe_files

SMALL = {"conv/1": [np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2), np.ones(2, np.float32)],
         "fc": [np.linspace(-1, 1, 10, dtype=np.float32).reshape(5, 2), np.zeros(5, np.float32)]}  # fmt: skip
KINDS = ("weight", "bias")
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


class SmallNetwork(nn.ModuleDict):
    def __init__(self, new_layers=()):
        super().__init__({"conv": nn.ModuleDict({"1": nn.Conv2d(3, 2, 2)}), "fc": nn.Linear(2, 5)})
        self.new_layers = lambda: list(new_layers)


def as_read(shapes):
    """Return what `weights.read` makes of a Caffe file with blobs of these shapes, in no memory."""
    blobs = {f"{n.replace('/', '.')}.{k}": s for n, of in shapes.items() for k, s in zip(KINDS, of, strict=True)}
    return {name: np.broadcast_to(np.float32(0), shape) for name, shape in blobs.items()}


def outputs_by_layer(network, x):
    """Return every module's output under its Caffe name, heads included, dropout off."""
    seen = {}

    def record(name):
        return lambda module, given, output: seen.__setitem__(name, output[0].clone().numpy())

    for path, module in network.train().named_modules():
        if isinstance(module, nn.Dropout):
            module.eval()
        if path:
            module.register_forward_hook(record(path.replace(".", "/")))
    with torch.no_grad():
        network(torch.from_numpy(x).to(memory_format=torch.channels_last))
    return seen


def opencv_outputs(definition, path, x):
    """Return every layer's output as OpenCV's Caffe importer computes it."""
    prototxt = path.with_suffix(".prototxt")
    prototxt.write_text(definition.text)
    net = cv2.dnn.readNetFromCaffe(str(prototxt), str(path))
    net.enableFusion(False)
    net.enableWinograd(False)
    net.setInput(x)
    return {n: y[0] for n, y in zip(list(definition.tops), net.forward(list(definition.tops)), strict=True)}


@pytest.mark.parametrize("form", ["V1", "current"])
@pytest.mark.parametrize(
    ("make", "definition"), [(CaffeNet, caffe_files.caffenet()), (GoogLeNet, caffe_files.googlenet())]
)
def test_every_layer_equals_opencvs(make, definition, form, tmp_path):
    path = tmp_path / "random.caffemodel"
    caffe_files.write_caffemodel(path, caffe_files.random_weights(definition), form=form)
    network = make()
    assert weights.load(network, path) == []
    x = np.random.default_rng(1).uniform(-115, 140, (1, 3, definition.size, definition.size)).astype(np.float32)
    reference, found = opencv_outputs(definition, path, x), outputs_by_layer(network, x)
    path.unlink()
    for name, expected in reference.items():
        own = found.get(name.removesuffix("/output"))
        if own is None:  # a ReLU inside an inception block, where ours comes after the join
            own = np.maximum(found[definition.tops[name]], 0)
        assert expected.std() > 1
        np.testing.assert_allclose(own.reshape(expected.shape), expected, rtol=0, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("form", ["V1", "current"])
def test_weights_come_back_as_written(form, tmp_path):
    layers = read_caffemodel(caffe_files.write_caffemodel(tmp_path / "a.caffemodel", SMALL, form=form))
    assert list(layers) == list(SMALL)
    for name, blobs in SMALL.items():
        for blob, read in zip(blobs, layers[name], strict=True):
            assert read.dtype == np.float32
            assert read.ndim == (4 if form == "V1" else blob.ndim)
            np.testing.assert_array_equal(read.reshape(blob.shape), blob)


def test_reading_copies_nothing_and_loading_one_blob_at_a_time(tmp_path):
    blob = np.ones((1000, 2000), np.float32)
    layers = {f"fc{i}": [blob, np.zeros(1000, np.float32)] for i in range(4)}
    path = caffe_files.write_caffemodel(tmp_path / "a.caffemodel", layers)
    network = nn.ModuleDict({name: nn.Linear(2000, 1000) for name in layers})
    tracemalloc.start()
    read = weights.read(path)
    after_reading = tracemalloc.get_traced_memory()[1]
    weights.load(network, path)
    after_loading = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert after_reading < 1_000_000
    assert after_loading < 1.2 * blob.nbytes
    assert len(read) == 8
    assert all((layer.weight == 1).all() for layer in network.values())


def outcome(read, path):
    """Return what a reader gives, or the one kind of error that it may raise, which must name the file."""
    try:
        return read(path)
    except ValueError as error:
        return str(error) if str(path) in str(error) else pytest.fail(f"{error} does not name {path}")


@same_folder
@given(cut=st.integers(0, 10_000))
def test_a_truncated_file_is_an_error_or_whole_layers(cut, tmp_path):
    path = caffe_files.write_caffemodel(tmp_path / "a.caffemodel", SMALL)
    whole = path.read_bytes()
    path.write_bytes(whole[: cut % len(whole)])
    layers = outcome(read_caffemodel, path)
    if not isinstance(layers, str):  # cut between two layers: then the network misses one
        assert list(layers) == ["conv/1"]
        assert "'fc.weight' needs" in weights.mismatches(SmallNetwork(), weights.read(path))[0]


def test_a_file_that_ends_within_the_weights_asks_for_a_whole_download(tmp_path):
    path = caffe_files.write_caffemodel(tmp_path / "a.caffemodel", SMALL)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="is the download complete"):
        read_caffemodel(path)


@same_folder
@given(content=st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_a_value_error(content, tmp_path):
    path = tmp_path / "random"
    path.write_bytes(content)
    assert isinstance(outcome(read_caffemodel, path), str | dict)
    assert isinstance(outcome(read_binaryproto, path), str | np.ndarray)


@same_folder
@given(changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_raise_nothing_but_a_value_error(changes, tmp_path):
    model = caffe_files.write_caffemodel(tmp_path / "a.caffemodel", SMALL)
    mean = caffe_files.write_binaryproto(tmp_path / "a.binaryproto", np.ones((3, 4, 5), np.float32))
    for path, read in [(model, read_caffemodel), (mean, read_binaryproto)]:
        content = bytearray(path.read_bytes())
        for place, byte in changes:
            content[place % len(content)] = byte
        path.write_bytes(content)
        assert isinstance(outcome(read, path), str | dict | np.ndarray)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(90), b"PK\x03\x04" + bytes(90), b"\x1f\x8b\x08\0", b'name: "net"']
)
def test_a_foreign_file_is_an_error_that_names_it(content, tmp_path):
    path = tmp_path / "foreign.caffemodel"
    path.write_bytes(content)
    for read in (read_caffemodel, read_binaryproto):
        with pytest.raises(ValueError, match=r"foreign\.caffemodel can't be read as a Caffe"):
            read(path)


def test_a_mean_image_is_no_network_and_a_network_no_mean_image(tmp_path):
    mean = caffe_files.write_binaryproto(tmp_path / "mean", np.ones((3, 4, 5), np.float32))
    model = caffe_files.write_caffemodel(tmp_path / "model", SMALL)
    with pytest.raises(ValueError, match="no layer with weights"):
        read_caffemodel(mean)
    with pytest.raises(ValueError, match="holds 0 numbers"):
        read_binaryproto(model)


def test_the_oldest_form_is_an_error_that_names_the_upgraded_archive(tmp_path):
    path = caffe_files.write_caffemodel(tmp_path / "old.caffemodel", SMALL, form="V0")
    with pytest.raises(ValueError, match=r"oldest \(V0\) form.*placesCNN_upgraded\.tar\.gz"):
        read_caffemodel(path)


def test_floats_may_come_in_pieces_one_by_one_or_as_doubles(tmp_path):
    numbers = np.float32([1.5, -2.0, 3.25])
    shape = b"\x3a\x03\x0a\x01\x03"  # field 7: a shape of one side, 3
    packed = b"\x2a\x08" + numbers[:2].tobytes() + b"\x2a\x04" + numbers[2:].tobytes()
    single = b"".join(b"\x2d" + number.tobytes() for number in numbers)
    doubles = b"\x42\x18" + numbers.astype(np.float64).tobytes()
    for data in (packed, single, doubles):
        blob = shape + data
        layer = b"\x0a\x01x" + b"\x3a" + caffe_files.varint(len(blob)) + blob
        (tmp_path / "a").write_bytes(b"\xa2\x06" + caffe_files.varint(len(layer)) + layer)
        np.testing.assert_array_equal(read_caffemodel(tmp_path / "a")["x"][0], numbers)


def test_a_mean_image_comes_back_as_written(tmp_path):
    mean = np.random.default_rng(0).uniform(0, 255, (3, 6, 7)).astype(np.float32)
    read = read_binaryproto(caffe_files.write_binaryproto(tmp_path / "mean.binaryproto", mean))
    np.testing.assert_array_equal(read, mean)
    assert read.flags.writeable


def test_a_grey_mean_image_is_an_error(tmp_path):
    path = caffe_files.write_binaryproto(tmp_path / "grey", np.ones((1, 6, 7), np.float32))
    with pytest.raises(ValueError, match=r"expected a shape \(3, height, width\), found \(1, 1, 6, 7\)"):
        read_binaryproto(path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"fc": [np.ones((4, 2), np.float32), np.ones(4, np.float32)]}, "'fc.weight' needs"),
        ({"fc": [np.ones((2, 5), np.float32), np.ones(5, np.float32)]}, "'fc.weight' needs"),  # transposed
        ({"conv/1": SMALL["conv/1"][:1]}, "'conv.1.bias' needs"),
        ({"fc": []}, "'fc.weight' needs"),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_a_layer_that_does_not_fit_is_named_and_nothing_is_copied(tmp_path, change, named, whole):
    path, network = caffe_files.write_caffemodel(tmp_path / "odd.caffemodel", {**SMALL, **change}), SmallNetwork()
    before = [parameter.clone() for parameter in network.parameters()]
    with pytest.raises(ValueError, match=rf"odd\.caffemodel does not fit SmallNetwork: .*{named}"):
        weights.load(network, path, whole=whole)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_classifiers_stay_and_what_the_network_does_not_have_is_left(tmp_path):
    path = caffe_files.write_caffemodel(tmp_path / "more.caffemodel", {**SMALL, "extra": SMALL["fc"]})
    network = SmallNetwork(new_layers=["fc"])
    before = network["fc"].weight.clone()
    assert weights.load(network, path, whole=False) == []
    assert torch.equal(network["fc"].weight, before)
    np.testing.assert_array_equal(network["conv"]["1"].weight.detach(), SMALL["conv/1"][0])
    with pytest.raises(ValueError, match=r"'extra\.weight' has no place"):
        weights.load(network, path)


def test_a_fine_tuning_takes_all_but_the_new_layers():
    given = as_read(caffe_files.googlenet().blobs)
    with torch.device("meta"):
        network = GoogLeNet(37)
    assert weights.mismatches(network, given, whole=False) == []
    faults = weights.mismatches(network, given)
    assert {fault.split("'")[1] for fault in faults} == {
        f"loss{i}.classifier.{kind}" for i in (1, 2, 3) for kind in KINDS
    }


def test_vgg16_takes_caffe_s_layers_in_order_under_other_names():
    sides = [(64, 3), (64, 64), (128, 64), (128, 128), (256, 128), (256, 256), (256, 256)]
    sides += [(512, 256), *[(512, 512)] * 5]
    names = [f"conv{block}_{i}" for block, count in enumerate((2, 2, 3, 3, 3), 1) for i in range(1, count + 1)]
    shapes = {name: [(*side, 3, 3), side[:1]] for name, side in zip(names, sides, strict=True)}
    full = {"fc6": (4096, 512 * 7 * 7), "fc7": (4096, 4096), "fc8": (205, 4096)}
    given = as_read(shapes | {name: [side, side[:1]] for name, side in full.items()})
    with torch.device("meta"):
        network = build_vgg16()
    own, found, faults = weights._match(network, given, whole=False)
    assert faults == []
    assert list(found) == list(own)
    assert [id(blob) for blob in found.values()] == [id(blob) for name, blob in given.items() if "fc8" not in name]
    wrong = weights.mismatches(network, {**given, "conv5_3.weight": given["conv1_1.weight"]}, whole=False)
    assert wrong == ["layer 'trunk.features.28.weight' needs (512, 512, 3, 3), found 'conv5_3.weight' of (64, 3, 3, 3)"]
