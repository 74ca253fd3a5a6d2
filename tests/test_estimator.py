"""The classifier for notebooks: scikit-learn's own checks, what a study would have trained, and what is refused."""

import os
import pickle
import random
import subprocess
import sys
import tempfile
import threading
from dataclasses import MISSING
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from torch.utils.data import TensorDataset
from torchvision.datasets import ImageFolder

from pipelines import planning
from robustkd.data.splits import split_source
from robustkd.errors import UsageError
from robustkd.estimator import DistilledClassifier
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.study import run_folder
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run, teacher_of
from robustkd.training import checkpoint, engine
from tests.helpers import STUDENT, TEACHER, make_source

STRIPES = make_source(20)
IMAGES, LABELS = STRIPES.images[:, 0], np.array(STRIPES.classes)[STRIPES.labels]
# bf16 on CPUs now and then gives depthwise 5x5 weights on maps of 1x1 a gradient of 1e8 and more (torch 2.15).
FOREIGN = {"student": "torchvision:mobilenet_v3_small", "precision": "fp32"}
QUICK = {"student": STUDENT, "teacher": TEACHER, "epochs": 2, "batch": 12, "lr": 0.03, "device": "cpu"}


def quick(method="baseline", **changes) -> DistilledClassifier:
    return DistilledClassifier(method, **{**QUICK, **changes})


@pytest.mark.parametrize("options", [{"sampling": "balanced"}, {"mixing": "cutmix(probability=1)"}])
def test_sampling_and_mixing_change_what_is_learned(options):
    plain, changed = (quick(**each).fit(IMAGES, LABELS) for each in ({}, options))
    assert not np.array_equal(plain.predict_proba(IMAGES), changed.predict_proba(IMAGES))


@pytest.fixture(scope="module")
def fitted():
    return quick("hinton", epochs=8).fit(IMAGES, LABELS)


def weights(net):
    return {name: tensor.numpy().copy() for name, tensor in net.state_dict().items()}


def assert_same(one, other):
    one, other = weights(one), weights(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


# scikit-learn's own checks


class Drawn(DistilledClassifier):
    """Draws a row of any table as 8x8 pixels: scikit-learn's checks bring tables of 1 to 20 columns, negative ones too."""

    def _images(self, X):  # noqa: N803
        grey = np.rint(255 / (1 + np.exp(-np.clip(X.astype(float), -30, 30)))).astype(np.uint8)
        return np.stack([np.resize(row, (8, 8, 1)) for row in grey])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        return tags


# Nothing is exempt of what is asked here. As few steps as the blobs of check_classifiers_train can be learnt in.
DRAWN = Drawn("baseline", student=STUDENT, epochs=4, batch=32, schedule="cosine", augment=False, device="cpu")


@parametrize_with_checks([DRAWN])
def test_scikit_learns_own_checks_hold_where_tables_are_drawn(estimator, check):
    check(estimator)


# These fit tables of a few columns, where image_shape has 64 pixels to a row; above they hold.
NARROW = [
    *("fit_score_takes_y", "estimators_overwrite_params", "dont_overwrite_parameters", "estimators_fit_returns_self"),
    *("readonly_memmap_input", "n_features_in_after_fitting", "positive_only_tag_during_fit"),
    *("estimators_dtypes", "dtype_object", "pipeline_consistency", "estimators_nan_inf", "estimators_pickle"),
    *("f_contiguous_array_estimator", "classifier_data_not_an_array", "classifiers_classes"),
    *("classifiers_train", "supervised_y_2d", "methods_sample_order_invariance", "methods_subset_invariance"),
    *("dict_unchanged", "fit_idempotent", "fit_check_is_fitted", "n_features_in", "fit2d_predict1d"),
]


def test_scikit_learns_own_checks_hold_as_it_is_but_for_narrow_tables():
    exempt = {f"check_{name}": "its table has not the 64 columns of an image" for name in NARROW}
    told = check_estimator(
        quick(image_shape=(8, 8)), expected_failed_checks=exempt, on_skip=None, on_fail=None, callback=None
    )
    by = {status: {line["check_name"] for line in told if line["status"] == status} for status in ("failed", "xfail")}
    assert by == {"failed": set(), "xfail": set(exempt)}  # every exemption is needed
    reasons = {str(line["exception"]) for line in told if line["status"] == "xfail"}
    assert all("takes 64" in reason or "negative input" in reason for reason in reasons)


# what it trains


def test_it_is_the_student_that_a_study_trains(tmp_path):
    options = StudyOptions(
        scenario="clean", held_out=0, seeds=2, epochs=1, student=STUDENT, teacher=TEACHER, methods="hinton+balanced",
        device="cpu", out=str(tmp_path), threads=1,
    )  # fmt: skip
    plan = planning.draft_study(options).write()
    student = Run("student", MethodSpec.parse("hinton+balanced"), 1)
    for each in (teacher_of(plan, student), student):
        run_folder.train_in_folder(plan, each, lambda progress: None)
    theirs, card = checkpoint.load_net(plan.run_folder(student) / "model.pt")

    digits = run_folder.load_source(options)
    rows = split_source(digits, held_out=0, seed=0).train
    images = digits.images[rows].transpose(0, 2, 3, 1)
    ours = DistilledClassifier(
        "hinton+balanced", student=STUDENT, teacher=TEACHER, epochs=1, device="cpu", random_state=1
    ).fit(images, digits.labels[rows])
    assert_same(ours.student_, theirs)
    assert_same(ours.teacher_, checkpoint.load_net(plan.run_folder(teacher_of(plan, student)) / "model.pt")[0])
    logits = theirs(torch.from_numpy(images.transpose(0, 3, 1, 2)[:50] / 255).float()).logits.detach()
    np.testing.assert_allclose(ours.predict_proba(images[:50]), logits.softmax(1), atol=1e-5)
    assert len(card["classes"]) == 10


def test_its_defaults_are_a_studys():
    ours = DistilledClassifier().get_params()
    theirs = {
        name: field.default for name, field in StudyOptions.__dataclass_fields__.items() if field.default is not MISSING
    }
    shared = ours.keys() & theirs.keys()
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}
    assert len(shared) == 23


def test_teacher_and_student_have_their_own_recipes():
    options = {"backbone_lr": 0.5, "teacher_epochs": 3, "teacher_optimiser": "adamw"}
    made = quick("hinton", recipe_options=options).fit(IMAGES, LABELS)
    assert (len(made.history_), len(made.teacher_history_)) == (2, 3)
    plain = quick("hinton").fit(IMAGES, LABELS)
    assert not torch.equal(made.student_.head.weight, plain.student_.head.weight)


@pytest.mark.parametrize("method", [*METHODS, "hinton(alpha=0.7, temperature=2)+balanced"])
def test_every_method_trains(method):
    spec = MethodSpec.parse(method)
    if spec.oracle:
        with pytest.raises(ValueError, match="trains by the true labels"):
            quick(method, epochs=1).fit(IMAGES, LABELS)
        return
    method += "(ratio=2)" if "cost_ratio" in spec.ingredients() else ""
    made = quick(method, epochs=1).fit(IMAGES, LABELS)
    assert set(made.predict(IMAGES)) <= {"left", "middle", "right"}
    assert (made.teacher_ is None) == (made.teacher_history_ is None)
    assert np.isfinite(made.predict_proba(IMAGES)).all()


def test_a_teacher_is_trained_only_where_it_is_wanted(fitted):
    alone = quick("dml").fit(IMAGES, LABELS)
    assert alone.teacher_ is None
    assert alone.teacher_history_ is None
    assert len(fitted.teacher_history_) == len(fitted.history_) == 8
    assert {"ce", "kd", "train_accuracy", "seconds", "phase"} == set(fitted.history_.columns)
    assert fitted.history_.index.tolist() == [*range(1, 9)]


def test_it_learns_and_says_so_in_the_labels_it_was_given(fitted):
    assert fitted.score(IMAGES, LABELS) > 0.9
    assert fitted.classes_.tolist() == ["left", "middle", "right"]
    shares = fitted.predict_proba(IMAGES)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (fitted.classes_[shares.argmax(axis=1)] == fitted.predict(IMAGES)).all()
    assert not hasattr(fitted, "n_features_in_")
    assert fitted.image_shape_ == (8, 8, 1)


@pytest.mark.parametrize("names", [[3, 1, 7], [True, False], ["a\nb", "", "c"], [-1.0, 2.0, 0.0]])
def test_labels_may_be_what_scikit_learn_takes(names):
    labels = np.array(names)[np.arange(60) % len(names)]
    made = quick(epochs=1).fit(IMAGES, labels)
    assert made.classes_.tolist() == sorted(names)
    assert made.predict(IMAGES).dtype == labels.dtype
    assert made.score(IMAGES, labels) >= 0


def test_two_fits_in_one_process_do_not_mix():
    """The second sees its own images and labels, not those that were read for the first."""
    first = quick().fit(IMAGES, LABELS)
    turned = quick().fit(255 - IMAGES, LABELS[::-1])
    again = quick().fit(IMAGES, LABELS)
    assert_same(first.student_, again.student_)
    assert not np.array_equal(first.predict_proba(IMAGES), turned.predict_proba(IMAGES))
    assert first.student_.mean.item() == pytest.approx(IMAGES.mean() / 255, rel=1e-5)
    assert turned.student_.mean.item() == pytest.approx(1 - IMAGES.mean() / 255, rel=1e-5)


def test_threads_do_not_mix_their_draws():
    alone = [quick("dml", random_state=seed).fit(IMAGES, LABELS) for seed in range(3)]
    beside = [quick("dml", random_state=seed) for seed in range(3)]
    threads = [threading.Thread(target=made.fit, args=(IMAGES, LABELS)) for made in beside]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, beside, strict=True):
        assert_same(one.student_, other.student_)


# seeds


def test_random_state_is_a_seed():
    one, same, other = (quick(random_state=seed).fit(IMAGES, LABELS) for seed in (4, np.int64(4), 5))
    assert_same(one.student_, same.student_)
    assert one.seed_ == same.seed_ == 4
    assert not np.array_equal(weights(one.student_)["head.weight"], weights(other.student_)["head.weight"])


def test_no_random_state_draws_one_that_can_be_given_again():
    drawn = quick(random_state=None).fit(IMAGES, LABELS)
    assert drawn.seed_ != quick(random_state=None).fit(IMAGES, LABELS).seed_
    assert_same(drawn.student_, quick(random_state=drawn.seed_).fit(IMAGES, LABELS).student_)
    assert quick(random_state=np.random.RandomState(3)).fit(IMAGES, LABELS).seed_ == (
        np.random.RandomState(3).randint(2**31 - 1)
    )


def test_methods_of_a_seed_share_teacher_and_first_weights():
    """With a rate too small to move anything, what is left is where they began."""
    still = {"lr": 1e-12, "weight_decay": 0.0, "random_state": 2}
    made = [quick(method, **still).fit(IMAGES, LABELS) for method in ("baseline", "hinton", "sp")]
    heads = [weights(each.student_)["head.weight"] for each in made]
    np.testing.assert_allclose(heads[0], heads[1], atol=1e-9)
    np.testing.assert_allclose(heads[0], heads[2], atol=1e-9)
    assert_same(made[1].teacher_, made[2].teacher_)


def test_nothing_of_the_process_is_touched(tmp_path, monkeypatch, capsys):
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    images, labels = IMAGES.copy(), LABELS.copy()
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state(), torch.get_num_threads()
    made = quick("hinton", **FOREIGN).fit(images, labels)
    made.predict(images)
    pickle.dumps(made)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.get_num_threads() == before[3]
    assert [*scratch.iterdir(), *here.iterdir()] == []
    assert capsys.readouterr() == ("", "")
    np.testing.assert_array_equal(images, IMAGES)
    np.testing.assert_array_equal(labels, LABELS)


def test_a_net_with_dropout_is_reproducible_too():
    one = quick(epochs=1, **FOREIGN).fit(IMAGES, LABELS)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # wherever the process stands by now
        other = quick(epochs=1, **FOREIGN).fit(IMAGES, LABELS)
    assert_same(one.student_, other.student_)


def test_a_fit_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def stopped(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(engine, "fit", stopped)
    with pytest.raises(KeyboardInterrupt):
        quick().fit(IMAGES, LABELS)
    assert list(tmp_path.iterdir()) == []


def test_verbose_has_a_line_for_every_epoch(capsys):
    quick("hinton", verbose=True).fit(IMAGES, LABELS)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        *("teacher (baseline), epoch 1 of 2", "teacher (baseline), epoch 2 of 2"),
        *("student (hinton), epoch 1 of 2", "student (hinton), epoch 2 of 2"),
    ]


# images


def test_images_say_the_same_however_they_are_written():
    made = quick(epochs=1).fit(IMAGES, LABELS)
    wanted, rows = made.predict_proba(IMAGES), pd.DataFrame(IMAGES.reshape(60, 64))
    for images in (IMAGES[..., None], IMAGES.astype(int), (IMAGES / 255).astype(np.float32), IMAGES.tolist()):
        np.testing.assert_array_equal(made.predict_proba(images), wanted)
        assert_same(quick(epochs=1).fit(images, LABELS).student_, made.student_)
    table = quick(epochs=1, image_shape=(8, 8)).fit(rows, LABELS)
    np.testing.assert_array_equal(table.predict_proba(rows), wanted)
    assert table.n_features_in_ == 64
    assert table.image_shape_ == (8, 8, 1)
    assert not hasattr(table.set_params(image_shape=None).fit(IMAGES, LABELS), "n_features_in_")


def test_white_is_what_it_is_said_to_be():
    digits = load_digits()
    made = quick(epochs=1, white=16).fit(digits.images[:100], digits.target[:100])
    wanted = np.rint(digits.images[:100] * 255 / 16).astype(np.uint8)
    assert_same(made.student_, quick(epochs=1).fit(wanted, digits.target[:100]).student_)
    assert made.predict(digits.images[:1]).shape == (1,)
    flags = quick(epochs=1).fit(IMAGES > 100, LABELS)
    assert_same(flags.student_, quick(epochs=1).fit((IMAGES > 100) * 255, LABELS).student_)


def test_colour_is_told_from_grey():
    colour = np.stack([IMAGES, IMAGES // 2, 255 - IMAGES], axis=-1)
    made = quick(epochs=1).fit(colour, LABELS)
    assert made.image_shape_ == (8, 8, 3)
    np.testing.assert_allclose(made.student_.mean.flatten(), colour.mean(axis=(0, 1, 2)) / 255, rtol=1e-5)
    tabled = quick(epochs=1, image_shape=(8, 8, 3)).fit(colour.reshape(60, -1), LABELS)
    assert_same(made.student_, tabled.student_)


def test_an_answer_hangs_on_its_image_alone(fitted):
    wanted = fitted.predict_proba(IMAGES)
    order = np.random.default_rng(0).permutation(60)
    np.testing.assert_allclose(fitted.predict_proba(IMAGES[order]), wanted[order], atol=1e-6)
    np.testing.assert_allclose(np.concatenate([fitted.predict_proba(i[None]) for i in IMAGES]), wanted, atol=1e-6)
    many = np.concatenate([IMAGES] * 20)  # more than are answered at once
    np.testing.assert_allclose(fitted.predict_proba(many), np.tile(wanted, (20, 1)), atol=1e-6)


def test_data_sets_of_torch_and_files_are_images_too(tmp_path):
    for number, (image, name) in enumerate(zip(IMAGES[:30], LABELS[:30], strict=True)):
        (tmp_path / name).mkdir(exist_ok=True)
        Image.fromarray(image).save(tmp_path / name / f"{number:02}.png")
    files = ImageFolder(tmp_path)
    made = quick(epochs=3, image_size=8).fit(files)
    assert made.classes_.tolist() == ["left", "middle", "right"]
    assert made.score(files) == made.score(files, [files.classes[label] for label in files.targets]) > 1 / 3
    paths = [path for path, _ in files.samples]
    colour = np.stack([np.repeat(np.asarray(Image.open(path))[..., None], 3, axis=-1) for path in paths])
    wanted = made.predict_proba(colour)
    frame = pd.DataFrame({"path": paths, "label": [files.classes[label] for label in files.targets]})
    tensors = TensorDataset(torch.from_numpy(colour).permute(0, 3, 1, 2) / 255, torch.tensor(files.targets))
    for images in (paths, frame, frame["path"], tensors, tensors.tensors[0], colour.transpose(0, 3, 1, 2)):
        np.testing.assert_array_equal(made.predict_proba(images), wanted)
    assert_same(quick(epochs=3).fit(colour, frame["label"]).student_, made.student_)
    made.save(tmp_path / "model.pt")
    assert checkpoint.load_net(tmp_path / "model.pt")[1]["shape"] == [3, 8, 8]
    search = GridSearchCV(quick(epochs=1, image_size=8), {"batch": [6, 12]}, cv=2, error_score="raise")
    assert search.fit(tensors, files.targets).best_estimator_.predict(tensors).shape == (30,)
    for given in (paths, frame, frame["path"]):
        assert cross_val_score(
            quick(epochs=1, image_size=8), given, frame["label"], cv=2, error_score="raise"
        ).shape == (2,)


def test_images_without_labels_or_of_another_form_are_one_sentence(fitted):
    for given, message in (
        ([IMAGES[0], IMAGES[1][:6]], "requires y"),
        ("photos", "X is 'photos', but an array or tensor"),
        ([[1, 2], [3]], "form no array"),
    ):
        with pytest.raises(ValueError, match=message) as raised:
            quick().fit(given)
        assert "inhomogeneous" not in str(raised.value)
    with pytest.raises(ValueError, match="y is needed, since X has no labels"):
        fitted.score(IMAGES)
    with pytest.raises(ValueError, match="image_size is 4"):
        quick(image_size=4).fit(IMAGES, LABELS)


# among scikit-learn's own


def test_it_is_cross_validated_and_searched():
    table = IMAGES.reshape(60, 64) / 255
    model = quick(image_shape=(8, 8), epochs=1)
    assert cross_val_score(model, table, LABELS, cv=2).shape == (2,)
    assert cross_val_score(quick(epochs=1), IMAGES, LABELS, cv=2, error_score="raise").shape == (2,)
    grid = {"method": ["baseline", "hinton+balanced"], "epochs": np.array([1, 2])}
    found = GridSearchCV(quick(), grid, cv=2, error_score="raise").fit(IMAGES, LABELS)
    assert len(found.cv_results_["mean_test_score"]) == 4
    assert found.best_estimator_.predict(IMAGES).shape == (60,)
    line = make_pipeline(FunctionTransformer(lambda x: x / 255), model).fit(table * 255, LABELS)
    assert_same(line[-1].student_, clone(model).fit(table, LABELS).student_)


def test_a_copy_is_unfitted_and_asks_for_the_same(fitted):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "student_")
    with pytest.raises(NotFittedError):
        copy.predict(IMAGES)


def test_a_pickle_predicts_the_same_in_another_process(tmp_path, fitted):
    (tmp_path / "made.pkl").write_bytes(pickle.dumps(fitted))
    np.save(tmp_path / "images.npy", IMAGES)
    code = (
        "import pickle, numpy as np; made = pickle.load(open('made.pkl', 'rb'));"
        "np.save('answer.npy', made.predict_proba(np.load('images.npy')))"
    )
    home = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env=home)
    np.testing.assert_allclose(np.load(tmp_path / "answer.npy"), fitted.predict_proba(IMAGES), atol=1e-6)


@pytest.mark.parametrize("student", [{}, FOREIGN], ids=["ours", "foreign"])
def test_a_pickle_holds_all_that_was_learnt(student):
    made = quick("hinton", **{"epochs": 1, **student}).fit(IMAGES, LABELS)
    again = pickle.loads(pickle.dumps(made))
    assert_same(again.student_, made.student_)
    assert_same(again.teacher_, made.teacher_)
    pd.testing.assert_frame_equal(again.history_, made.history_)
    np.testing.assert_array_equal(again.predict_proba(IMAGES), made.predict_proba(IMAGES))
    assert isinstance(made.student_, torch.nn.Module)  # what is pickled stays what it was


def test_importing_the_package_imports_nothing_heavy():
    code = "import sys, robustkd; assert not {'torch', 'sklearn', 'pandas', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)


# teachers that are given


def test_a_trained_teacher_is_used_as_it_is(tmp_path, fitted):
    teacher = quick(student=TEACHER, epochs=4, random_state=9).fit(IMAGES, LABELS)
    teacher.save(tmp_path / "teacher.pt")
    made = quick("hinton", teacher=teacher).fit(IMAGES, LABELS)
    read = quick("hinton", teacher=str(tmp_path / "teacher.pt")).fit(IMAGES, LABELS)
    assert_same(made.teacher_, teacher.student_)
    assert_same(made.student_, read.student_)
    assert made.teacher_history_ is None
    net, card = checkpoint.load_net(tmp_path / "teacher.pt")
    assert_same(net, teacher.student_)
    assert card["classes"] == ["left", "middle", "right"]
    assert card["dataset"] == "arrays"  # no path of a folder that is gone
    assert cross_val_score(
        quick("hinton", epochs=1, teacher=tmp_path / "teacher.pt"), IMAGES, LABELS, cv=2, error_score="raise"
    ).shape == (2,)
    with pytest.raises(ValueError, match=r"teacher.pt: this file exists already"):
        teacher.save(tmp_path / "teacher.pt")


# early stopping


def test_early_stopping_keeps_the_epoch_that_was_best_on_rows_held_out(monkeypatch):
    trained, fit = [], engine.fit

    def watched(method, loader, recipe, **options):
        trained.append(loader.view.rows)
        for epoch in fit(method, loader, recipe, **options):
            yield epoch
            trained.append(method.model.state_dict()["head.weight"].numpy().copy())

    monkeypatch.setattr(engine, "fit", watched)
    noisy = np.where(np.arange(60) % 5 == 0, "left", LABELS)
    made = quick(epochs=6, lr=0.2, early_stopping=True, validation_fraction=0.2).fit(IMAGES, noisy)
    held = made.history_["held_out_accuracy"]
    assert made.stopped_at_ == held.idxmax() < 6
    np.testing.assert_array_equal(weights(made.student_)["head.weight"], trained[made.stopped_at_])
    left = np.setdiff1d(np.arange(60), trained[0])
    share = [(noisy[left] == kind).sum() / (noisy == kind).sum() for kind in made.classes_]
    np.testing.assert_allclose(share, 0.2, atol=0.02)
    assert (made.predict(IMAGES[left]) == noisy[left]).mean() == pytest.approx(held[made.stopped_at_])


def test_a_teacher_can_be_stopped_early_too():
    """Its network is then the one of the epoch that was best on held-out rows, which a teacher of the last epoch is not."""
    noisy = np.where(np.arange(60) % 5 == 0, "left", LABELS)
    shared = {"epochs": 6, "lr": 0.2, "early_stopping": True, "validation_fraction": 0.2}
    last = quick("hinton", **shared).fit(IMAGES, noisy)
    early = quick("hinton", recipe_options={"teacher_stop": "early"}, **shared).fit(IMAGES, noisy)
    held = early.teacher_history_["held_out_accuracy"]
    assert early._cards["teacher_"]["stopped_at"] == held.idxmax() < 6
    assert "stopped_at" not in last._cards["teacher_"]
    heads = [weights(made.teacher_)["head.weight"] for made in (last, early)]
    assert not np.array_equal(*heads)
    assert not np.array_equal(*(weights(made.student_)["head.weight"] for made in (last, early)))
    with pytest.raises(
        ValueError, match=r"^teacher_stop early: the epoch is chosen by held-out rows, and no rows are held"
    ):
        quick("hinton", recipe_options={"teacher_stop": "early"}).fit(IMAGES, LABELS)


def test_without_early_stopping_every_row_is_trained_on(monkeypatch):
    seen, fit = [], engine.fit

    def watched(method, loader, *rest, **options):
        seen.append(len(loader.view))
        return fit(method, loader, *rest, **options)

    monkeypatch.setattr(engine, "fit", watched)
    made = quick().fit(IMAGES, LABELS)
    assert seen == [60]
    assert "held_out_accuracy" not in made.history_
    assert made.stopped_at_ == 2


# what is refused, in one sentence


@pytest.mark.parametrize(
    ("changes", "images", "sentence"),
    [
        ({}, IMAGES.reshape(60, 64), r"X is a table of shape \(60, 64\), but images .* image_shape=\(8, 8\) would make"),
        ({}, IMAGES.reshape(60, 64)[:, :60], r"X is a table of shape \(60, 60\), .*; image_shape=\(H, W\) would make"),
        ({"image_shape": (8, 9)}, IMAGES.reshape(60, 64), r"X has n_features = 64, but image_shape=\(8, 9\) takes 72"),
        ({"image_shape": (64,)}, IMAGES.reshape(60, 64), r"image_shape is \(64,\) but should be \(H, W\) or \(H, W, C\)"),
        ({"image_shape": (4, 16)}, IMAGES, r"X has images of \(8, 8\), but image_shape is \(4, 16\)"),
        ({}, IMAGES[:, :5, :5], r"net 'wrn_10_1': images of 5x5 are too small; the minimum is 8x8"),
        ({}, IMAGES.astype(float), r"X has values from 0 to \d+, but values from 0 to 1 are wanted: white=255 would say"),
        ({}, IMAGES / 255 * 16, r"but values from 0 to 1 are wanted: white=\d+\.\d+ would say which value is white"),
        ({}, IMAGES / 255 - 0.5, r"X has values from -0.5 to 0.\d+, but values from 0 to 1 are wanted: if a transform"),
        ({"white": 100}, IMAGES, r"X has values from 0 to \d+, but values from 0 to 100 are wanted"),
        ({"white": 0}, IMAGES, r"white is 0 but should be greater than 0"),
        ({}, np.stack([IMAGES] * 4, -1), r"X has shape \(60, 8, 8, 4\), but \(n, H, W\), \(n, H, W, 1 or 3\) or"),
        ({}, np.full(IMAGES.shape, np.nan), r"Input X contains NaN"),
        ({"method": "hintn"}, IMAGES, r"no method is called 'hintn' \(did you mean 'hinton'\?\)"),
        ({"method": "hinton+balance"}, IMAGES, r"no criterion is called 'balance' \(did you mean 'balanced'\?\)"),
        ({"method": "hinton(alpha=7)"}, IMAGES, r"method 'hinton\(alpha=7\)': alpha is 7 but should be"),
        ({"method": None}, IMAGES, r"method is None but should be a valid string"),
        ({"student": "wrn_10"}, IMAGES, r"no net is called 'wrn_10'"),
        ({"teacher": "resnt8"}, IMAGES, r"no net is called 'resnt8' \(did you mean 'resnet8'\?\)"),
        ({"teacher": "gone.pt"}, IMAGES, r"gone.pt: there is no such file"),
        ({"epochs": 0}, IMAGES, r"epochs is 0 but should be greater than or equal to 1"),
        ({"recipe_options": {"backbon_lr": 1}}, IMAGES, r"recipe_options has no 'backbon_lr' \(did you mean 'backbone_lr'\?\)"),
        ({"recipe_options": {"head_first": 2}}, IMAGES, r"^head_first 2: should be less than the epochs of the student"),
        ({"schedule": "steps"}, IMAGES, r"schedule is 'steps' but should be 'step', 'cosine' or 'constant'"),
        ({"sampling": "even"}, IMAGES, r"sampling is 'even' but should be 'natural', 'sqrt', 'balanced' or 'progressive'"),
        ({"mixing": "mixpu"}, IMAGES, r"no mixing is called 'mixpu' \(did you mean 'mixup'\?\)"),
        ({"mixing": "mixup", "method": "psd"}, IMAGES, r"mixing mixup: 'psd' is not defined for mixed images"),
        ({"random_state": -1}, IMAGES, r"random_state is -1 but should be greater than or equal to 0"),
        ({"device": "cuda:77"}, IMAGES, r"^device cuda:77: torch cannot use it here"),
        ({"early_stopping": True, "validation_fraction": 2}, IMAGES, r"validation_fraction is 2 but should be less than"),
        ({"early_stopping": True, "validation_fraction": 0.01}, IMAGES, r"early_stopping: validation_fraction=0.01 of 60"),
        ({"teacher": DistilledClassifier()}, IMAGES, r"the teacher is a DistilledClassifier that is not fitted, or a copy"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused_in_one_sentence(changes, images, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        quick(**{"method": "baseline", **changes}).fit(images, LABELS)
    assert type(caught.value) in (ValueError, UsageError)
    assert "--" not in str(caught.value)


def test_a_student_that_cannot_be_made_is_refused_before_its_teacher_is_trained(capsys):
    with pytest.raises(ValueError, match=r"no net is called 'resnt8'"):
        quick("hinton", student="resnt8", verbose=True).fit(IMAGES, LABELS)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["one"] * 60, "y has one class only, 'one', but at least two are needed"),
        (LABELS[:59], "inconsistent numbers of samples"),
        (np.linspace(0, 1, 60), "Unknown label type: continuous"),
        (None, "requires y to be passed"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        quick().fit(IMAGES, labels)


def test_a_teacher_that_does_not_fit_is_refused(fitted, tmp_path):
    with pytest.raises(ValueError, match=r"has no class names .*; teacher_classes ignore pairs"):
        quick("hinton", teacher=fitted).fit(IMAGES, np.arange(60) % 3)
    with pytest.raises(ValueError, match=r"the teacher takes images of \(1, 8, 8\), but X has \(1, 9, 8\) \(C, H, W\)"):
        quick("hinton", teacher=fitted).fit(np.pad(IMAGES, ((0, 0), (0, 1), (0, 0))), LABELS)
    with pytest.raises(ValueError, match=r"^smooth_teacher labels: the teacher .* is already trained"):
        quick("hinton", teacher=fitted, smooth_teacher="labels").fit(IMAGES, LABELS)


def test_other_images_than_those_of_fit_are_refused(fitted):
    with pytest.raises(ValueError, match=r"X has images of \(9, 9, 1\), but those of fit were \(8, 8, 1\)"):
        fitted.predict(np.pad(IMAGES, ((0, 0), (0, 1), (0, 1))))
    with pytest.raises(ValueError, match="values from 0 to 1 are wanted"):
        fitted.predict(IMAGES * 1.0)
    with pytest.raises(NotFittedError):
        quick().save("nowhere.pt")


def test_a_loss_that_is_no_longer_finite_is_said_in_words_of_parameters():
    with pytest.raises(RuntimeError, match=r"the term 'ce' is (nan|inf) .*: a smaller lr or a warmup may help"):
        quick(lr=1e9, augment=False).fit(IMAGES, LABELS)


@pytest.mark.gpu
def test_a_pickle_goes_from_a_gpu_to_a_cpu():
    made = quick("hinton", device="cuda").fit(IMAGES, LABELS)
    wanted = made.predict_proba(IMAGES)
    again = pickle.loads(pickle.dumps(made)).set_params(device="cpu")
    assert next(again.student_.parameters()).device.type == "cpu"
    np.testing.assert_allclose(again.predict_proba(IMAGES), wanted, atol=1e-2)


def test_a_teachers_classes_are_found_by_name() -> None:
    fitted = quick("baseline", epochs=2).fit(IMAGES, LABELS)
    names = {"left": "z", "middle": "y", "right": "x"}  # in the opposite order
    renamed = np.array([names[label] for label in LABELS])
    teacher = quick("baseline", epochs=2).fit(IMAGES, LABELS)
    teacher._cards["student_"] = {**teacher._cards["student_"], "classes": list(names.values())}
    student = quick("hinton", teacher=teacher).fit(IMAGES, renamed)
    pixels = torch.from_numpy(IMAGES[:6]).reshape(6, 1, 8, 8) / 255
    with torch.no_grad():
        expected, permuted = fitted.student_(pixels).logits, student.teacher_(pixels).logits
    torch.testing.assert_close(permuted, expected.flip(1))
