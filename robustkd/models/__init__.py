"""The registry of networks. A builder is called as builder(channels, classes, **parameters) and returns a classifier.

One with a third positional parameter also gets the side of the images: builder(channels, classes, image_size, **parameters).
"""

from robustkd.registry import Entry, Registry

MODELS = Registry(
    "net",
    "robustkd.models",
    "robustkd.models",
    {
        "resnet{depth}": Entry(
            "resnet:resnet",
            "ResNet for small images, depth 6n+2 from 8 to 110",
            examples=("resnet8", "resnet14", "resnet20", "resnet26", "resnet32", "resnet56", "resnet110"),
        ),
        "resnet{depth}x4": Entry(
            "resnet:resnet", "ResNet of four times the width", {"width": 4}, examples=("resnet8x4", "resnet32x4")
        ),
        "wrn_{depth}_{width}": Entry(
            "wrn:wrn",
            "wide ResNet (pre-activation), depth 6n+4, widening factor",
            examples=("wrn_10_2", "wrn_16_2", "wrn_28_2", "wrn_40_1", "wrn_40_2", "wrn_28_10"),
        ),
        "torchvision:{name}": Entry(
            "torchvision_nets:torchvision_net",
            "any classifier of torchvision, with weights=DEFAULT or checkpoint=FILE",
            examples=("torchvision:resnet18", "torchvision:mobilenet_v2", "torchvision:efficientnet_b0"),
        ),
        "timm:{name}": Entry(
            "timm_nets:timm_net",
            "any classifier of timm, with pretrained=true or checkpoint=FILE",
            examples=("timm:resnet18", "timm:mobilenetv3_small_100", "timm:vit_small_patch16_224"),
        ),
    },
)
