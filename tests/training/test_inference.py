"""Inference on views: order, modes and auxiliary classifiers."""

import math

import numpy as np
import torch

from robustkd.methods import METHODS
from robustkd.training.inference import compute_accuracy, predict_auxiliary_logits, predict_logits
from tests.helpers import build_method, large_view, make_loader, make_network, small_view


def test_logits_are_in_the_order_of_the_view_whatever_the_batch_size():
    view, net = large_view(), make_network().train()
    logits = predict_logits(net, make_loader(view, 7))
    assert not net.training
    with torch.no_grad():
        expected = torch.cat([net(images).logits for images, _ in make_loader(view, len(view)).iter_plain()])
    assert logits.shape == (len(view), 3)
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)


def test_accuracy_is_the_fraction_of_labels_predicted():
    view, net = small_view(), make_network()
    correct = predict_logits(net, make_loader(view)).argmax(axis=1) == view.labels
    assert compute_accuracy(net, make_loader(view)) == correct.mean()
    assert math.isnan(compute_accuracy(net, make_loader(view.take(np.arange(0)))))


def test_auxiliary_logits_are_those_of_the_method():
    view, method = small_view(), build_method(METHODS.parse("ffcl")).method.train()
    logits = predict_auxiliary_logits(method, make_loader(view, 5))
    assert not method.training
    ((images, _),) = make_loader(view, len(view)).iter_plain()
    with torch.no_grad():
        expected = method.auxiliary_logits(images)
    assert logits.keys() == expected.keys()
    assert logits.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(logits[name], values.numpy(), atol=1e-5)
