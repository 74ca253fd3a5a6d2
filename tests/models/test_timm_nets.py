"""Classifiers of timm: weights from its publications and from files, preparation of images, and sizes."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from robustkd.errors import UsageError, as_one_line
from robustkd.models import MODELS
from robustkd.models.preprocessing import find_preprocessing
from robustkd.models.published_weights import cannot_download
from robustkd.models.timm_nets import weights_url

SIDE = 64


def save_weights(file, name="test_resnet", classes=7, **options):
    torch.manual_seed(1)
    model = timm.create_model(name, num_classes=classes, **options).eval()
    torch.save(model.state_dict(), file)
    return model


def test_the_net_computes_what_timm_computes(build, tmp_path):
    model = save_weights(tmp_path / "mine.pth")
    net = build(f"timm:test_resnet(checkpoint='{tmp_path}/mine.pth')", shape=(3, SIDE, SIDE), classes=7).eval()
    images = torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    config = timm.get_pretrained_cfg("test_resnet")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (config.mean, config.std))
    torch.testing.assert_close(net(images).logits, model((images - mean) / std))
    assert net.replaced_head is None


def test_seeds_draw_a_replaced_head_only(build, tmp_path):
    save_weights(tmp_path / "mine.pth")
    one, other = (
        build(f"timm:test_resnet(checkpoint='{tmp_path}/mine.pth')", shape=(3, SIDE, SIDE), classes=4, seed=seed)
        for seed in (0, 1)
    )
    theirs = other.state_dict()
    assert {name for name, tensor in one.state_dict().items() if not torch.equal(tensor, theirs[name])} == {
        "model.fc.weight",
        "model.fc.bias",
    }
    assert one.replaced_head == 7


def test_published_weights_are_taken_from_the_cache_of_the_hub(build, tmp_path, monkeypatch):
    model = save_weights(tmp_path / "mine.pth", classes=1000)
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, name: str(tmp_path / name))
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    net = build("timm:test_resnet.r160_in1k(pretrained=true)", shape=(3, SIDE, SIDE), classes=4)
    assert net.replaced_head == 1000
    assert torch.equal(net.model.conv1[0].weight, model.conv1[0].weight)
    assert build("timm:test_resnet(pretrained=true)", shape=(3, SIDE, SIDE), classes=1000).replaced_head is None


def test_published_weights_without_a_network(build, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda repo, name: None)
    with pytest.raises(UsageError, match=r"^timm:test_resnet: .*give the file as checkpoint=FILE$"):
        build("timm:test_resnet(pretrained=true)", shape=(3, SIDE, SIDE))


def test_where_to_get_weights_is_printed_in_full_for_every_model():
    reason = "huggingface.co cannot be reached (Temporary failure in name resolution)"
    messages = [
        cannot_download(f"timm:{name}", weights_url(timm.get_pretrained_cfg(name)), reason)
        for name in timm.list_pretrained()
    ]
    longest = max(messages, key=len)
    assert as_one_line(longest) == longest


def test_preprocessing_is_that_of_the_weights():
    found = find_preprocessing(MODELS.parse("timm:resnet50.a1_in1k(pretrained=true)"))
    config = timm.get_pretrained_cfg("resnet50.a1_in1k")
    assert (found.mean, found.std, found.image_size) == (config.mean, config.std, 224)
    assert (found.crop_share, found.interpolation) == (config.crop_pct, "bicubic")
    assert find_preprocessing(MODELS.parse("timm:resnet50")) is None


def test_a_vit_is_built_for_the_images_and_its_positions_are_resampled(build, tmp_path):
    save_weights(tmp_path / "mine.pth", "test_vit", 5, img_size=160)
    net = build(f"timm:test_vit(checkpoint='{tmp_path}/mine.pth')", shape=(3, SIDE, SIDE), classes=5)
    assert net.model.pos_embed.shape[1] == 1 + (SIDE // 16) ** 2
    assert net.replaced_head is None


def test_a_size_that_a_vit_refuses_is_answered_with_sizes_that_work(build):
    for name in ("test_vit", "vit_tiny_patch16_224"):  # the second one would ignore two rows and columns
        with pytest.raises(
            UsageError, match="of 50x50 cannot be divided into patches of 16x16; those of 48x48 and 64x64 can"
        ):
            build(f"timm:{name}", shape=(3, 50, 50))
    with pytest.raises(UsageError, match="; those of 16x16 can"):
        build("timm:test_vit", shape=(3, 8, 8))


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("timm:rsnet18", r"timm has no model of this name \(did you mean 'resnet18'\?\)"),
        ("timm:resnet18.a9_in1k", "timm has no weights 'a9_in1k' of resnet18 .*; there are: .*resnet18.a1_in1k"),
        ("timm:test_resnet(pretrained=true, checkpoint=a.pth)", "two sources of weights"),
        ("timm:test_resnet(checkpoint=nothing.pth)", "^nothing.pth: there is no such file"),
        ("timm:test_resnet(pretraned=true)", r"no parameter 'pretraned' \(did you mean 'pretrained'"),
    ],
)
def test_what_cannot_work_is_refused(build, word, message):
    with pytest.raises(UsageError, match=message):
        build(word, shape=(3, SIDE, SIDE))


def test_grey_images_are_repeated_for_weights_of_colour_images(build, tmp_path):
    save_weights(tmp_path / "mine.pth")
    word = f"timm:test_resnet(checkpoint='{tmp_path}/mine.pth')"
    grey, colour = (build(word, shape=(channels, SIDE, SIDE), classes=7).eval() for channels in (1, 3))
    images = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(grey(images).logits, colour(images.expand(-1, 3, -1, -1)).logits)
