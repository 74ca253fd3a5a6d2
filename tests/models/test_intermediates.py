"""Maps that timm's classifiers return themselves: unchanged logits, shapes, gradients and training mode."""

import copy

import pytest
import timm
import torch
from torch import nn

from robustkd.errors import UsageError
from robustkd.models.external import IntermediatesNetwork, wrap_classifier
from robustkd.models.layers import build_head

# (channels, side) of each map at 96x96, for one small model of each kind.
EXPECTED = {
    "test_resnet": [(32, 48), (32, 24), (48, 12), (192, 6), (96, 3)],
    "test_efficientnet": [(16, 48), (24, 24), (32, 12), (48, 6), (64, 3)],
    "test_convnext": [(24, 24), (32, 12), (48, 6), (64, 3)],
    "test_mambaout": [(16, 24), (32, 12), (48, 6), (64, 3)],
    "test_nfnet": [(64, 48), (32, 24), (64, 12), (96, 6), (192, 3)],
    "test_vit": [(64, 6)] * 5,
    "mobilenetv3_small_050": [(16, 48), (8, 24), (16, 12), (24, 6), (288, 3)],
    "pvt_v2_b0": [(32, 24), (64, 12), (160, 6), (256, 3)],
    "xcit_nano_12_p8_224": [(128, 12)] * 5,
    "resnetv2_18": [(64, 48), (64, 24), (128, 12), (256, 6), (512, 3)],  # its head is a convolution
}


def timm_model(name: str) -> nn.Module:
    options = {"img_size": 96} if name in ("test_vit", "xcit_nano_12_p8_224") else {}
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=7, **options)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_timm_classifier_returns_its_maps_and_unchanged_logits(name):
    images, model = torch.rand(2, 3, 96, 96, requires_grad=True), timm_model(name).eval()
    expected = model(images)
    net = wrap_classifier(model, (3, 96, 96))
    assert type(net) is IntermediatesNetwork
    output = net(images)
    assert torch.allclose(output.logits, expected, atol=1e-6)
    assert torch.allclose(net.head(output.embedding), expected, atol=1e-5)
    assert [(m.shape[1], m.shape[2], m.shape[3]) for m in output.maps] == [(c, n, n) for c, n in EXPECTED[name]]
    for x in output.maps:
        (gradient,) = torch.autograd.grad(x.square().mean(), images, retain_graph=True)
        assert gradient.abs().max() > 0


# One small model of each of these families: name, side of the images, number of maps.
FAMILIES = [
    ("halonet26t", 256, 5), ("cait_xxs24_224", 224, 5), ("coat_tiny", 224, 4), ("convit_tiny", 224, 5), ("davit_tiny", 128, 4),
    ("cs3darknet_s", 128, 5), ("deit_tiny_patch16_224", 224, 5), ("edgenext_small", 128, 4), ("efficientvit_b0", 128, 4),
    ("eva02_tiny_patch14_224", 224, 5), ("fastvit_t8", 128, 4), ("focalnet_tiny_lrf", 128, 4), ("gcvit_xxtiny", 224, 4),
    ("ghostnet_100", 128, 5), ("hgnet_tiny", 128, 4), ("hiera_tiny_224", 224, 4), ("hrnet_w18_small", 128, 5),
    ("inception_next_atto", 128, 4), ("mixer_s32_224", 224, 5), ("mobilevit_xxs", 256, 5), ("mvitv2_tiny", 224, 4),
    ("nest_tiny", 224, 3), ("pit_xs_224", 224, 3), ("poolformer_s12", 128, 4), ("regnetx_002", 128, 5), ("rexnet_100", 128, 5),
    ("sequencer2d_s", 224, 4), ("skresnet18", 128, 5), ("swin_tiny_patch4_window7_224", 224, 4), ("tiny_vit_5m_224", 128, 4),
    ("swinv2_tiny_window8_256", 256, 4), ("test_maxvit", 160, 5), ("tnt_s_patch16_224", 224, 5), ("tresnet_m", 128, 5),
    ("twins_svt_small", 224, 4), ("visformer_tiny", 224, 3), ("volo_d1_224", 224, 4), ("ese_vovnet19b_slim", 128, 5),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side", "count"), FAMILIES)
def test_every_family_of_timm_has_maps_that_shrink_and_carry_gradients(name, side, count):
    model = timm.create_model(name, num_classes=7).eval()
    images = torch.rand(2, 3, side, side, requires_grad=True)
    net = wrap_classifier(model, (3, side, side)).eval()
    output = net(images)
    assert torch.allclose(output.logits, model(images), atol=1e-5)
    assert len(output.maps) == count
    sides = [m.shape[2] for m in output.maps]
    assert sides == sorted(sides, reverse=True)
    assert sides[0] > 1
    for x in output.maps:
        (gradient,) = torch.autograd.grad(x.square().mean(), images, retain_graph=True)
        assert gradient.abs().max() > 0


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_efficientnet"])
def test_training_mode_and_running_statistics_are_those_of_the_classifier(name):
    model = timm_model(name)
    net = wrap_classifier(copy.deepcopy(model), (3, 96, 96)).train()
    images = torch.rand(4, 3, 96, 96)
    assert torch.allclose(net(images).logits, model.train()(images), atol=1e-5)
    for mine, other in zip(net.model.buffers(), model.buffers(), strict=True):
        assert torch.allclose(mine.double(), other.double(), atol=1e-6)


def test_the_network_is_evaluated_once():
    net = wrap_classifier(timm_model("test_vit"), (3, 96, 96)).eval()
    calls: list[int] = []
    for i, block in enumerate(net.model.blocks):
        block.register_forward_hook(lambda *args, i=i: calls.append(i))
    net(torch.rand(2, 3, 96, 96))
    assert calls == list(range(len(net.model.blocks)))


def test_a_classifier_whose_interface_computes_other_logits_is_tapped_by_hooks():
    model = timm_model("test_resnet")
    model.forward_head = lambda x: nn.functional.adaptive_avg_pool2d(x, 1).flatten(1)[:, :7]
    model.forward = lambda x: model.fc(model.global_pool(model.forward_features(x)))
    assert type(wrap_classifier(model, (3, 96, 96))) is not IntermediatesNetwork


def test_the_head_of_a_classifier_with_several_cannot_be_replaced():
    images = torch.rand(2, 3, 96, 96)
    net = wrap_classifier(timm.create_model("repvit_m0_9", num_classes=7), (3, 96, 96))
    assert not net.has_one_head
    with pytest.raises(UsageError, match="RepVit combines several heads, which one head cannot replace"):
        net.replace_head(build_head("cosine", net.head.in_features, 7))
    conv = wrap_classifier(timm_model("resnetv2_18"), (3, 96, 96)).eval()
    assert conv.has_one_head
    conv.replace_head(build_head("cosine", conv.head.in_features, 7))
    assert torch.allclose(conv(images).logits, conv.head(conv(images).embedding), atol=1e-5)


def test_pixels_may_be_rearranged_as_channels_before_the_first_convolution():
    class SpaceToDepth(nn.Sequential):
        def __init__(self, channels: int) -> None:
            super().__init__(
                nn.PixelUnshuffle(4), nn.Conv2d(16 * channels, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2),
                nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7),
            )  # fmt: skip

    for shape, channels in (((3, 32, 32), 3), ((1, 32, 32), 3), ((1, 32, 32), 1)):
        output = wrap_classifier(SpaceToDepth(channels), shape)(torch.rand(2, *shape))
        assert output.logits.shape == (2, 7)
