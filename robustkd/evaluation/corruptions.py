"""How a net stands up to images that were corrupted: noise, blur, contrast, brightness and JPEG, measured on request."""

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from robustkd.evaluation.robustness import seeded_generator
from robustkd.hashing import digest

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from robustkd.data.loader import Loader
    from robustkd.models.net import Network

MIN_SIDE = 32  # pixels of the shorter side; of less, a blur or a JPEG block would leave nothing to tell classes by
# Severities 1 to 5. They are ours and not those of CIFAR-C (Hendrycks & Dietterich, ICLR 2019): no figure measured with
# them stands beside a published one.
CORRUPTION_LEVELS = {
    "noise": (0.02, 0.04, 0.08, 0.12, 0.18),  # standard deviation of Gaussian noise, pixels in [0, 1]
    "blur": (0.4, 0.7, 1.0, 1.4, 2.0),  # standard deviation of a Gaussian, in pixels of an image of side 32
    "contrast": (0.75, 0.55, 0.4, 0.25, 0.15),  # what is left of the distance to the image's mean
    "brightness": (1.2, 1.4, 1.7, 2.1, 2.6),  # what pixels are multiplied by
    "jpeg": (60, 40, 25, 15, 8),  # quality
}


def corruption_version() -> str:
    """A digest of this file, which is what the figures hang on."""
    return digest(text=Path(__file__).read_text(encoding="utf-8"))


def supports_shape(shape: tuple[int, ...]) -> bool:
    """Whether corruptions are defined for images of (C, H, W): grey or in colour, from 32x32 up."""
    return shape[0] in (1, 3) and min(shape[1:]) >= MIN_SIDE


def evaluate_corruptions(net: "Network", loader: "Loader") -> dict[str, dict[str, float]]:
    """The accuracy of a net on a view whose images are corrupted: by corruption, then by severity "1" to "5".

    Empty where corruptions are not defined for images of this shape. The net is left as it was.
    """
    import torch

    from robustkd.models.net import eval_no_grad

    if not supports_shape(loader.view.sources[0].shape):
        return {}
    shares: dict[str, dict[str, float]] = {name: {} for name in CORRUPTION_LEVELS}
    with eval_no_grad(net):
        for name in CORRUPTION_LEVELS:
            for severity in range(1, 6):
                right = torch.zeros((), dtype=torch.int64, device=loader.device)
                with seeded_generator(loader.device) as random:
                    for images, labels in loader.iter_plain():
                        said = net(corrupt_images(images, name, severity, random)).logits.argmax(dim=1)
                        right += (said == labels).sum()
                shares[name][str(severity)] = float(right) / len(loader.view)
    return shares


def corrupt_images(images: "Tensor", name: str, severity: int, random: "torch.Generator") -> "Tensor":
    """Images in [0, 1] with one corruption, in [0, 1] again: (B, C, H, W) -> (B, C, H, W).

    Args:
        name: one of SEVERITIES.
        severity: 1 to 5.
        random: on the images' device; what noise is drawn from.
    """
    import torch
    from torchvision.transforms.v2 import functional as F

    level = CORRUPTION_LEVELS[name][severity - 1]
    if name == "noise":  # torchvision's takes no generator
        noise = torch.empty_like(images).normal_(generator=random)
        return (images + level * noise).clamp(0, 1)
    changed: Tensor
    if name == "blur":
        sigma = level * min(images.shape[2:]) / MIN_SIDE
        changed = F.gaussian_blur(images, kernel_size=[2 * round(3 * sigma + 0.5) + 1] * 2, sigma=[sigma, sigma])
    elif name == "contrast":
        changed = F.adjust_contrast(images, level)
    elif name == "brightness":
        changed = F.adjust_brightness(images, level)
    else:
        changed = _through_jpeg(images, int(level))
    return changed.clamp(0, 1)


def _through_jpeg(images: "Tensor", quality: int) -> "Tensor":
    """Images as a JPEG file gives them back. By Pillow: torchvision's own encoder is to be removed."""
    import numpy as np
    import torch
    from PIL import Image

    pixels = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    read = np.empty_like(pixels)
    for into, picture in zip(read, pixels, strict=True):
        file = BytesIO()
        Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture).save(file, "JPEG", quality=quality)
        into[:] = np.asarray(Image.open(file)).reshape(picture.shape)
    return torch.from_numpy(read).to(images.device).permute(0, 3, 1, 2).float() / 255
