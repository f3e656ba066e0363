"""The paper's networks, layer by layer against OpenCV's Caffe importer."""

import copy
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from geoutils.methods.recipe import loss_of
from geoutils.networks.paper import LRN, AveragePool, CaffeNet, GoogLeNet
from makers import caffe_files


@pytest.fixture(scope="module")
def caffenet():
    torch.manual_seed(0)
    return CaffeNet(10)


@pytest.fixture(scope="module")
def googlenet():
    torch.manual_seed(0)
    return GoogLeNet(10)


@pytest.fixture(params=["caffenet", "googlenet"])
def network(request):
    return request.getfixturevalue(request.param)


def photos(count, size, *, seed=0):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed)) * 70


@pytest.mark.parametrize(
    ("make", "definition", "parameters"),
    [
        (CaffeNet, caffe_files.caffenet(), 60_965_224),
        (GoogLeNet, caffe_files.googlenet(), 13_378_280),
        (lambda: GoogLeNet(auxiliary=False), caffe_files.googlenet(heads=False), 6_998_552),
    ],
)
def test_shapes_and_count_are_those_of_the_published_definition(make, definition, parameters):
    with torch.device("meta"):
        found = {name.replace(".", "/"): tuple(value.shape) for name, value in make().named_parameters()}
    kinds = ("weight", "bias")
    published = {f"{n}/{k}": s for n, shapes in definition.blobs.items() for k, s in zip(kinds, shapes, strict=True)}
    assert found == published
    assert sum(torch.Size(shape).numel() for shape in published.values()) == parameters


def test_lrn_and_its_gradient_equal_torchs():
    x = photos(2, 9).repeat(1, 4, 1, 1).requires_grad_()
    ours, reference = LRN()(x), nn.LocalResponseNorm(5)(x)
    torch.testing.assert_close(ours, reference, rtol=1e-6, atol=0)
    assert (ours / x.detach()).min() < 0.7  # the sum was no bystander
    weights = torch.randn(ours.shape)
    own, expected = (torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, reference))
    torch.testing.assert_close(own, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("activation", [3_000.0, 60_000.0])  # squared: 9e6 and 3.6e9, where float16 ends at 65,504
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_lrn_does_not_overflow_half_precision(dtype, activation):
    x = torch.full((1, 8, 4, 4), activation)
    with torch.autocast("cpu", dtype=dtype):
        ours = LRN()(x.to(dtype))
    torch.testing.assert_close(ours.float(), nn.LocalResponseNorm(5)(x), rtol=0.02, atol=0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_adaptive_pooling_is_bitwise_caffes_at_the_papers_size(layout):
    for adaptive, fixed, side in [
        (nn.AdaptiveMaxPool2d(6), nn.MaxPool2d(3, 2, ceil_mode=True), 13),
        (AveragePool(7, 1, side=7), nn.AvgPool2d(7), 7),
        (AveragePool(5, 3, side=14), nn.AvgPool2d(5, 3), 14),
    ]:
        x = torch.randn(3, 64, side, side).contiguous(memory_format=layout)
        assert torch.equal(adaptive(x), fixed(x))


def test_fixed_pooling_gives_the_same_logits_at_the_papers_size(caffenet, googlenet):
    fixed_caffenet, fixed_googlenet = copy.deepcopy(caffenet), copy.deepcopy(googlenet)
    fixed_caffenet.pool5 = nn.MaxPool2d(3, 2, ceil_mode=True)
    fixed_googlenet.pool5[0] = nn.AvgPool2d(7)
    for own, fixed, size in [(caffenet, fixed_caffenet, 227), (googlenet, fixed_googlenet, 224)]:
        x = photos(1, size)
        with torch.no_grad():
            assert torch.equal(own.eval()(x), fixed.eval()(x))


@pytest.mark.parametrize("size", [64, 97, 256])
def test_other_sizes_give_logits_of_the_same_width(network, size):
    with torch.no_grad():
        outputs = network.train()(photos(2, size))
        assert network.eval()(photos(2, size)).shape == (2, 10)
    for logits in outputs if isinstance(outputs, tuple) else (outputs,):
        assert logits.shape == (2, 10)


def test_classifier_on_features_is_forward(caffenet, googlenet):
    for network, classifier, width in [(caffenet, caffenet.fc8, 4096), (googlenet, googlenet.loss3, 1024)]:
        network.eval()
        with torch.no_grad():
            features = network.features(photos(2, 64))
            assert features.shape == (2, width)
            assert features.min() >= 0  # after the ReLU
            assert torch.equal(classifier(features), network(photos(2, 64)))


def test_every_parameter_learns_and_a_heads_gradient_ends_below_it(googlenet):
    googlenet.train()
    outputs = googlenet(photos(2, 64))
    assert len(outputs) == 3

    def reached(loss):
        found = torch.autograd.grad(loss, list(googlenet.parameters()), allow_unused=True, retain_graph=True)
        names = [name for name, _ in googlenet.named_parameters()]
        return {name for name, gradient in zip(names, found, strict=True) if gradient is not None and gradient.any()}

    logits, first, second = (output.square().sum() for output in outputs)
    everything = {name for name, _ in googlenet.named_parameters()}
    assert reached(logits + 0.3 * first + 0.3 * second) == everything
    below = {"conv1", "conv2", "inception_3a", "inception_3b", "inception_4a", "loss1"}
    assert reached(first) == {name for name in everything if name.split(".")[0] in below}
    assert "inception_4d.1x1.weight" in reached(second)
    assert "inception_4e.1x1.weight" not in reached(second)


def test_heads_are_not_run_in_eval_mode(googlenet):
    network = copy.deepcopy(googlenet).eval()
    network.loss1 = network.loss2 = nn.Identity()
    network.loss1.register_forward_hook(lambda *_: pytest.fail("a head was run"))
    with torch.no_grad():
        assert isinstance(network(photos(1, 64)), torch.Tensor)


def test_heads_change_no_eval_logits(googlenet):
    bare = GoogLeNet(10, auxiliary=False)
    bare.load_state_dict({k: v for k, v in googlenet.state_dict().items() if not k.startswith(("loss1", "loss2"))})
    with torch.no_grad():
        assert torch.equal(bare.eval()(photos(1, 64)), googlenet.eval()(photos(1, 64)))


def test_replacing_the_classifiers_leaves_every_other_weight(network):
    changed = copy.deepcopy(network)
    changed.replace_classifier(37)
    new = {f"{layer}.{kind}" for layer in network.new_layers() for kind in ("weight", "bias")}
    assert {name.partition(".")[0] for name in new} in ({"fc8"}, {"loss1", "loss2", "loss3"})
    for (name, before), after in zip(network.named_parameters(), changed.parameters(), strict=True):
        assert (after.shape[0] == 37) if name in new else torch.equal(before, after)


def test_caffenet_is_filled_as_its_training_definition_says(caffenet):
    ones = {"conv2", "conv4", "conv5", "fc6", "fc7"}
    for name, layer in caffenet.named_children():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.005 if name in ("fc6", "fc7") else 0.01, rel=0.05)
            assert (layer.bias == (1.0 if name in ones else 0.0)).all()


def test_googlenet_is_filled_as_its_training_definition_says(googlenet):
    for name, layer in googlenet.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = (3 / layer.weight[0].numel()) ** 0.5  # uniform, of variance 1 / fan in
            assert 0.97 * bound < layer.weight.abs().max() <= bound
            assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
            assert (layer.bias == (0.0 if name.endswith("classifier") else torch.tensor(0.2))).all()


def test_a_state_holds_weights_and_biases_only(network):
    assert {key.rpartition(".")[2] for key in network.state_dict()} == {"weight", "bias"}


def test_layout_does_not_change_the_logits(network):
    with torch.no_grad():
        plain = network.eval()(photos(2, 64))
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)
        torch.testing.assert_close(last(photos(2, 64).contiguous(memory_format=torch.channels_last)), plain)


@pytest.mark.parametrize("make", [CaffeNet, GoogLeNet])
def test_no_tensor_is_left_on_the_cpu(make):
    from torch._subclasses import FakeTensorMode

    with FakeTensorMode(), torch.device("cuda"):
        network = make(10)
        network.replace_classifier(7)
        outputs = network.train()(torch.empty(2, 3, 96, 96))
    for logits in outputs if isinstance(outputs, tuple) else (outputs,):
        assert logits.device.type == "cuda"
        assert logits.shape == (2, 7)


def test_autocast_stays_near_full_precision(network):
    x = photos(2, 64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        full = network.eval().features(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = network.features(x)
    assert (half.float() - full).norm() < 0.05 * full.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_gives_the_logits_of_the_cpu(network):
    x = photos(2, 128)
    with torch.no_grad(), torch.backends.cudnn.flags(allow_tf32=False):
        expected = network.eval()(x)
        found = copy.deepcopy(network).cuda().to(memory_format=torch.channels_last)(x.cuda())
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["GoogLeNet", "CaffeNet"])
def test_overfits_32_photos(name, crops):
    """Labels that photos do not show are learnt by heart. CaffeNet takes He's start: from Caffe's it needs days."""
    side = [np.asarray(crop.resize((64, 64)), dtype=np.float32).transpose(2, 0, 1) for crop in crops[:32]]
    photos, labels = torch.from_numpy(np.stack(side)) - 114, torch.arange(32) % 4
    torch.manual_seed(0)
    network = GoogLeNet(4) if name == "GoogLeNet" else CaffeNet(4)
    for path, layer in network.named_modules():
        if name == "CaffeNet" and isinstance(layer, nn.Conv2d | nn.Linear) and path not in ("conv1", "fc8"):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    optimizer = torch.optim.Adam(network.parameters(), 3e-4 if name == "GoogLeNet" else 1e-4)
    for step in range(1, 81):
        optimizer.zero_grad()
        loss_of(network.train()(photos), labels).backward()
        optimizer.step()
        if step % 10 == 0 and (network.eval()(photos).argmax(1) == labels).all():
            return
    pytest.fail(f"{name} did not learn 32 photos by heart in 80 steps")
