"""The files of an audit, except those of its folds."""

import json
from dataclasses import asdict, dataclass, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

import robustkd
from pipelines.auditing.findings import AuditedRows, AuditFindings, CleanedSplits, clean_splits
from pipelines.auditing.summary import summarise_findings
from pipelines.cli_options import AuditOptions
from pipelines.report.contact_sheet import render_contact_sheet
from robustkd.csv_cells import write_csv
from robustkd.data import manifest
from robustkd.label_audit.out_of_fold import TrainingConfig
from robustkd.label_audit.probe import ProbeConfig


@dataclass(frozen=True)
class RowMetrics:
    """The metrics of audited rows in audit.json."""

    rows: int
    estimated_noise_rate: float | None
    suspicious: int
    agreed: float | None
    sure_disagreement: float | None
    believable: bool | None

    @classmethod
    def of(cls, rows: AuditedRows) -> "RowMetrics":
        """Compute the metrics; None where there are no rows."""
        rate, reliability = rows.issues.noise_rate, rows.reliability
        assessed = not np.isnan(rate)
        return cls(
            len(rows.view),
            round(rate, 6) if assessed else None,
            rows.issue_count,
            round(rows.agreement, 6) if len(rows.view) else None,
            round(reliability.sure_disagreement, 6) if assessed else None,
            reliability.is_believable if assessed else None,
        )


def write_audit(
    options: AuditOptions, findings: AuditFindings, config: TrainingConfig | ProbeConfig | None, folder: Path
) -> list[str]:
    """Write all files; return sentences about what was pruned or relabelled.

    Args:
        config: of the networks, None for probabilities that the user gave.
    """
    train, names = findings.train, list(findings.source.classes)
    suspects = pd.concat([rows.suspect_table() for rows in findings.parts])
    write_csv(suspects, folder / "suspects.csv", index=False, digits=4)
    write_csv(train.class_table(), folder / "classes.csv", digits=4)
    write_csv(pd.DataFrame(train.issues.transition_matrix, index=names, columns=names), folder / "transition.csv")
    (folder / "report.html").write_text(contact_page(options, findings), encoding="utf-8")
    cleaned = {}
    for name, requested in (("pruned", options.prune), ("relabelled", options.relabel)):
        if requested and findings.may_be_changed(options.force):
            cleaned[name] = clean_splits(findings, options.keep, relabel=name == "relabelled")
            settings = {option: getattr(options, option) for option in ("scenario", "split_seed", "held_out", "keep")}
            about = {**settings, "audit": folder.name, **change_counts(cleaned[name])}
            manifest.save_manifest(folder / f"{name}.csv", cleaned[name].splits, about)
    content = audit_record(options, findings, config, cleaned)
    (folder / "audit.json").write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return [
        f"{folder / name}.csv: {splits.changed} rows {name}" + describe_kept(splits.kept, options.keep)
        for name, splits in cleaned.items()
    ]


def describe_kept(count: int, keep: int) -> str:
    """Describe the suspicious rows that stay because their class would become too small."""
    return f"; {count} suspicious rows stay because their class would become too small (--keep {keep})" if count else ""


def change_counts(cleaned: CleanedSplits) -> dict[str, int]:
    """Return the numbers of changed rows, by their names in JSON."""
    return {"rows": cleaned.changed, "kept for the sake of their class": cleaned.kept}


def audit_record(
    options: AuditOptions,
    findings: AuditFindings,
    config: TrainingConfig | ProbeConfig | None,
    cleaned: dict[str, CleanedSplits],
) -> dict[str, Any]:
    """Return the content of audit.json."""
    source = findings.source
    return {
        "dataset": source.name,
        "fingerprint": source.fingerprint,
        "classes": source.classes,
        "given": {field.name: getattr(options, field.name) for field in fields(options)},
        "figures": {rows.part: {**asdict(RowMetrics.of(rows)), **detection_record(rows)} for rows in findings.parts},
        "changed": {name: change_counts(splits) for name, splits in cleaned.items()},
        "notes": findings.notes,
        "skipped": source.skipped,
        "digest": {rows.part: rows.view.digest for rows in findings.parts},
        "device": config.device if config else None,
        "precision": ("bf16" if config.half else "fp32") if config else None,
        "versions": {"robustkd": robustkd.__version__, "torch": torch.__version__, "cleanlab": version("cleanlab")},
        "seconds": round(findings.seconds, 1),
    }


def detection_record(rows: AuditedRows) -> dict[str, dict[str, float | None]]:
    """Return the comparison with the true labels for audit.json, nothing where these are unknown."""
    scores = rows.detection
    if scores is None:
        return {}
    counts = {"rows": scores.rows, "errors": scores.errors, "found": scores.flagged, "right": scores.true_positives}
    return {"where_truth_is_known": {**counts, "precision": scores.precision, "recall": scores.recall}}


def contact_page(options: AuditOptions, findings: AuditFindings) -> str:
    """Return report.html: suspicious training rows, then test rows, which get a fifth of the places or those left over."""
    test, train = findings.test, findings.train
    test_limit = min(test.issue_count, max(options.show // 5, options.show - train.issue_count))
    sections = []
    for rows, description, limit in (
        (train, "training rows", options.show - test_limit),
        (test, "test rows (never changed)", test_limit),
    ):
        if suspects := rows.list_suspects(limit):
            sections.append((f"{len(suspects)} of {rows.issue_count} suspicious {description}, worst first", suspects))
    return render_contact_sheet(f"audit of {findings.source.name}", summarise_findings(options, findings), sections)
