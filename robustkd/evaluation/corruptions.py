"""Accuracy on corrupted test images: noise, blur, contrast, brightness and JPEG compression, evaluated on request."""

from io import BytesIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from robustkd.data.loader import Loader
from robustkd.evaluation.robustness import seeded_generator
from robustkd.models.net import Network, eval_no_grad

# Raised by every change of this file that changes the accuracy on corrupted images: networks are then evaluated on them again.
CORRUPTIONS_VERSION = 1
MIN_CORRUPTION_SIDE = (
    32  # pixels of the shorter side; in smaller images, a blur or a JPEG block would hide what tells classes apart
)
# Severities 1 to 5. They differ from those of CIFAR-C (Hendrycks & Dietterich, ICLR 2019), so the accuracies cannot be
# compared with published ones.
CORRUPTION_LEVELS = {
    "noise": (0.02, 0.04, 0.08, 0.12, 0.18),  # standard deviation of Gaussian noise, for pixels in [0, 1]
    "blur": (0.4, 0.7, 1.0, 1.4, 2.0),  # standard deviation of a Gaussian, in pixels of an image of side 32
    "contrast": (0.75, 0.55, 0.4, 0.25, 0.15),  # factor of the difference from the image's mean
    "brightness": (1.2, 1.4, 1.7, 2.1, 2.6),  # factor of the pixels
    "jpeg": (60, 40, 25, 15, 8),  # quality
}


def supports_shape(shape: tuple[int, ...]) -> bool:
    """Return whether corruptions are defined for images of (C, H, W): grey or colour, at least 32x32."""
    return shape[0] in (1, 3) and min(shape[1:]) >= MIN_CORRUPTION_SIDE


def evaluate_corruptions(net: Network, loader: Loader) -> dict[str, dict[str, float]]:
    """Compute a network's accuracy on a view with each corruption, by severity "1" to "5".

    The result is empty if corruptions are not defined for images of this shape. The network is unchanged.
    """
    if not supports_shape(loader.view.sources[0].shape):
        return {}
    accuracies: dict[str, dict[str, float]] = {name: {} for name in CORRUPTION_LEVELS}
    with eval_no_grad(net):
        for name in CORRUPTION_LEVELS:
            for severity in range(1, 6):
                correct = torch.zeros((), dtype=torch.int64, device=loader.device)
                with seeded_generator(loader.device) as random:
                    for images, labels in loader.iter_plain():
                        predictions = net(corrupt_images(images, name, severity, random)).logits.argmax(dim=1)
                        correct += (predictions == labels).sum()
                accuracies[name][str(severity)] = float(correct) / len(loader.view)
    return accuracies


def corrupt_images(images: Tensor, name: str, severity: int, random: torch.Generator) -> Tensor:
    """Apply one corruption to images in [0, 1] and clip to [0, 1]: (B, C, H, W) -> (B, C, H, W).

    Args:
        name: one of CORRUPTION_LEVELS.
        severity: 1 to 5.
        random: generator for the noise, on the images' device.
    """
    from torchvision.transforms.v2 import functional as F  # imported on use, because the import is slow

    level = CORRUPTION_LEVELS[name][severity - 1]
    if name == "noise":  # torchvision's function takes no generator
        noise = torch.empty_like(images).normal_(generator=random)
        return (images + level * noise).clamp(0, 1)
    corrupted: Tensor
    if name == "blur":
        sigma = level * min(images.shape[2:]) / MIN_CORRUPTION_SIDE
        corrupted = F.gaussian_blur(images, kernel_size=[2 * round(3 * sigma + 0.5) + 1] * 2, sigma=[sigma, sigma])
    elif name == "contrast":
        corrupted = F.adjust_contrast(images, level)
    elif name == "brightness":
        corrupted = F.adjust_brightness(images, level)
    else:
        corrupted = _compress_jpeg(images, int(level))
    return corrupted.clamp(0, 1)


def _compress_jpeg(images: Tensor, quality: int) -> Tensor:
    """Compress and decompress images as JPEG, with Pillow, since torchvision's own encoder is deprecated."""
    pixels = (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    decoded = np.empty_like(pixels)
    for target, image in zip(decoded, pixels, strict=True):
        file = BytesIO()
        Image.fromarray(image.squeeze(2) if image.shape[2] == 1 else image).save(file, "JPEG", quality=quality)
        target[:] = np.asarray(Image.open(file)).reshape(image.shape)
    return torch.from_numpy(decoded).to(images.device).permute(0, 3, 1, 2).float() / 255
