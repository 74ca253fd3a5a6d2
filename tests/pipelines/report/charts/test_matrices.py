"""Charts of matrices of counts and of shares."""

import numpy as np
import pandas as pd
import pytest

from pipelines.report.charts.matrices import plot_confusion, plot_matrix
from tests.pipelines.report.charts.figures import save_png

NAMES = ["süß, sauer", "$50$ % \\frac", "a name that is far too long to fit next to an axis"]


def test_confusion_counts_are_written_and_coloured_by_the_share_of_their_row(tmp_path):
    matrix = pd.DataFrame([[3, 1, 0], [0, 0, 0], [0, 5, 15]], index=NAMES, columns=NAMES)
    axes = save_png(plot_confusion(matrix, NAMES, "hinton"), tmp_path / "c.png").axes[0]
    shares = np.ma.filled(axes.images[0].get_array(), np.nan)
    np.testing.assert_allclose(shares, [[0.75, 0.25, 0], [np.nan] * 3, [0, 0.25, 0.75]])
    assert sorted(text.get_text() for text in axes.texts) == ["1", "15", "3", "5"]


@pytest.mark.parametrize("classes", [21, 100, 250])
def test_confusion_of_many_classes_has_names_but_no_numbers(classes, tmp_path):
    figure = plot_confusion(np.eye(classes), [f"class {i}" for i in range(classes)])
    axes = save_png(figure, tmp_path / "c.png").axes[0]
    assert not axes.texts
    assert min(classes, 80) <= len(axes.get_yticklabels()) <= 120
    assert max(figure.get_size_inches()) < 20


def test_a_matrix_is_coloured_by_the_root_of_its_shares_which_are_written():
    share = np.array([[0.75, 0.25, 0.0], [np.nan] * 3, [-0.01, -0.004, 1.0]])
    figure = plot_matrix(share, NAMES, NAMES, ("class", "taken for"))
    (axes,) = figure.axes
    pixels = np.asarray(axes.images[0].get_array())
    step = len(pixels) // 3
    alpha = pixels[::step, ::step, 3] / 255
    np.testing.assert_allclose(alpha[0], [0.75 * 0.75**0.5, 0.75 * 0.5, 0], atol=0.003)
    np.testing.assert_allclose(alpha[1], 0)
    blue, vermilion = pixels[0, 0, :3], pixels[2 * step, 0, :3]
    assert blue[2] > blue[0]
    assert vermilion[0] > vermilion[2]
    assert [text.get_text() for text in axes.texts] == ["+75", "+25", "−1.0", "−0.4", "+100"]


def test_a_large_matrix_has_names_and_no_numbers():
    names = [f"class {n}" for n in range(100)]
    (axes,) = plot_matrix(np.eye(100), names, names, ("", "")).axes
    assert not axes.texts
    assert len(axes.get_yticklabels()) == 100
    (axes,) = plot_matrix(np.zeros((30, 3)), names[:30], ["a", "b", "c"], ("", "")).axes
    assert len(axes.get_yticklabels()) == 30


def test_a_matrix_of_a_thousand_classes_has_no_more_names_than_can_be_read():
    names = [f"class {n}" for n in range(1000)]
    (axes,) = plot_matrix(np.zeros((1000, 1000)), names, names, ("", "")).axes
    for axis, labels in enumerate((axes.get_xticklabels(), axes.get_yticklabels())):
        assert 60 <= len(labels) <= 120
        assert [label.get_text() for label in labels] == [names[round(label.get_position()[axis])] for label in labels]
