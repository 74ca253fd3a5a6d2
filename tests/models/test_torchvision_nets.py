"""Classifiers of torchvision: weights from its publications and from files, and preparation of images."""

import pytest
import torch
from torchvision import models

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.preprocessing import find_preprocessing

SHAPE = (3, 32, 32)


def test_published_weights_are_taken_from_torchs_cache(build, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    entry = models.ResNet18_Weights.IMAGENET1K_V1
    (tmp_path / "checkpoints").mkdir()
    torch.manual_seed(1)
    model = models.resnet18().eval()
    torch.save(model.state_dict(), tmp_path / "checkpoints" / entry.url.rpartition("/")[2])
    net = build("torchvision:resnet18(weights=IMAGENET1K_V1)", shape=SHAPE, classes=1000).eval()
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    preset = entry.transforms()
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preset.mean, preset.std))
    torch.testing.assert_close(net(images).logits, model((images - mean) / std))
    assert build("torchvision:resnet18(weights=DEFAULT)", shape=SHAPE, classes=4).replaced_head == 1000


def test_inception_takes_images_as_with_torchvisions_own_input_transform():
    found = find_preprocessing(MODELS.parse("torchvision:googlenet(weights=DEFAULT)"))
    model = models.googlenet(weights=None, transform_input=True, init_weights=False)
    images = torch.rand(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    ours = (images - torch.tensor(found.mean).view(3, 1, 1)) / torch.tensor(found.std).view(3, 1, 1)
    torch.testing.assert_close(ours, model._transform_input((images - mean) / std))


def test_preprocessing_is_that_of_the_weights():
    found = find_preprocessing(MODELS.parse("torchvision:resnet50(weights=IMAGENET1K_V2)"))
    assert (found.image_size, found.crop_share, found.interpolation) == (224, 224 / 232, "bilinear")
    assert found.mean == (0.485, 0.456, 0.406)
    assert find_preprocessing(MODELS.parse("torchvision:resnet50")) is None


def test_a_vit_is_built_for_the_images_and_its_positions_are_resampled(build, tmp_path):
    trained = build("torchvision:vit_b_32", shape=(3, 64, 64), classes=4)
    torch.save(trained.model.state_dict(), tmp_path / "mine.pth")
    net = build(f"torchvision:vit_b_32(checkpoint='{tmp_path}/mine.pth')", shape=(3, 96, 96), classes=4)
    assert net.model.encoder.pos_embedding.shape[1] == 1 + 9
    assert torch.equal(net.model.conv_proj.weight, trained.model.conv_proj.weight)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("torchvision:rsnet18", r"no classifier of this name \(did you mean 'resnet18'\?\)"),
        ("torchvision:resnet18(weights=V1)", "no weights 'V1'.*there are: IMAGENET1K_V1, DEFAULT"),
        ("torchvision:resnet18(weights=DEFAULT, checkpoint=a.pth)", "two sources of weights"),
    ],
)
def test_what_cannot_work_is_refused(build, word, message):
    with pytest.raises(UsageError, match=message):
        build(word, shape=SHAPE)


def test_published_weights_without_a_network(build, tmp_path, monkeypatch):
    def unreachable(request, timeout):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr("robustkd.models.published_weights.urlopen", unreachable)
    with pytest.raises(UsageError, match=r"no route to host.*give the file as checkpoint=FILE$"):
        build("torchvision:resnet18(weights=DEFAULT)", shape=SHAPE)
