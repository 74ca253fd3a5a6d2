"""What a trained cell is worth: its net measured on the test set and against the truth, written as result.json.

Nothing here decides what is trained: a change of this file, or of what is asked of it, measures the nets there are again.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from robustkd import metrics
from robustkd.answers import answers
from robustkd.data.loader import Loader
from robustkd.data.view import View
from robustkd.models.net import Network
from robustkd.study import Cell, Plan, loaded, measured_as, views


def evaluate(plan: Plan, cell: Cell) -> dict[str, Any]:
    """Measure a trained cell and write its result.

    On the test set, at the last epoch and stopped early; and against the truth, as far as it is known: on the test rows where
    labels as given may be wrong, and on the training rows.
    """
    folder, shown = plan.run(cell), views(plan, cell.seed)
    test, train = (Loader(v, 512, torch.device(plan.device), augment=False) for v in (shown.test, shown.train))
    names = test.view.classes
    result: dict[str, Any] = {"cell": {"role": cell.role, "method": cell.method, "seed": cell.seed}, "name": cell.name}
    result["measured"] = measured_as(plan.options)
    path = plan.teacher if cell.role == "teacher" and plan.teacher else folder / "model.pt"
    for what, file in (("last", path), ("early", folder / "early.pt")):
        if file.exists():
            net = loaded(plan, file)
            logits = answers(net, test)
            result[what] = metrics.summary(test.view.labels, logits.argmax(axis=1), names)
            if what == "last":
                result |= true_figures(net, logits, test.view, train)
            np.savez_compressed(folder / f"test-{what}.npz", logits=logits, labels=test.view.labels, row=test.view.rows)
    beside = np.load(folder / "beside.npz") if (folder / "beside.npz").exists() else {}
    result["beside"] = {n: metrics.summary(test.view.labels, z.argmax(axis=1), names) for n, z in beside.items()}
    trained = folder / "trained.json"
    result["trained"] = json.loads(trained.read_text()) if trained.exists() else {}
    last = result["last"]
    pd.DataFrame({"recall": last["recall"], "support": last["support"]}).rename_axis("class").to_csv(
        folder / "per_class.csv"
    )
    pd.DataFrame(last["confusion"], index=list(names), columns=list(names)).to_csv(folder / "confusion.csv")
    (folder / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False), encoding="utf-8")
    return result


def true_figures(net: Network, logits: NDArray[np.float32], test: View, train: Loader) -> dict[str, Any]:
    """Figures against the truth: `fit` of the training rows, and `clean` of the test rows where their labels may be wrong.

    What is not known is absent.
    """
    figures: dict[str, Any] = {}
    truth = np.full(len(train.view), -1) if train.view.truth is None else train.view.truth
    if ((truth >= 0) | train.view.foreign).any():
        predicted = answers(net, train).argmax(axis=1)
        figures["fit"] = metrics.against_truth(predicted, train.view.labels, truth, train.view.foreign)
    if test.doubtful and test.truth is not None and (known := test.truth >= 0).any():
        part = metrics.summary(test.truth[known], logits[known].argmax(axis=1), test.classes)
        figures["clean"] = {"rows": int(known.sum()), **part}
    return figures
