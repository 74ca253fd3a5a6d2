"""What a study has to log: a queue in its folder, between the process that trains and the one that sends.

STUDY/outbox.jsonl      one entry per line, appended in the order of what happened; no entry contains a secret
STUDY/outbox-sent.json  up to where the entries are sent, and what is needed to send those that follow

The process that trains appends, which does not depend on any server. Another process sends, and acknowledges what the store has
accepted. Once the study's run is closed and all is sent, both files are removed.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.tracking.redaction import redact_uri, redact_values
from robustkd.atomic import write_text_atomically
from robustkd.errors import UsageError

OUTBOX_FILE, SENT_FILE = "outbox.jsonl", "outbox-sent.json"

Entry = Mapping[str, Any]


class Line(NamedTuple):
    """An entry of the outbox; empty if its line is damaged.

    Attributes:
        end: the position in the file at which it ends, in bytes.
    """

    entry: Entry
    end: int


@dataclass
class Sent:
    """What is known of the entries that were sent.

    Attributes:
        position: where they end, in bytes.
        study: the last entry that opened the study's run.
        runs: the runs of MLflow that are open, by name: `id`, `started`, and `is_finished` if its training had ended before.
        linked: Markdown links to finished runs below another parent, by name.
    """

    position: int = 0
    study: dict[str, Any] = field(default_factory=dict)
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    linked: dict[str, str] = field(default_factory=dict)


class Outbox:
    """The queue in a folder.

    Args:
        folder: of the study or the sweep; it is created when the first entry is appended.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path, self.sent_path = folder / OUTBOX_FILE, folder / SENT_FILE

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, entry: Entry) -> None:
        """Append an entry. It is not forced to the disk: what a crash of the machine loses is logged again from the files.

        Raises:
            OSError: it cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        line = json.dumps(redact_values(entry), ensure_ascii=False)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{line}\n")

    def repair(self) -> None:
        """Remove a last line that was not written to its end, before more is appended to it."""
        if self.size and not (content := self.path.read_bytes()).endswith(b"\n"):
            with self.path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)

    def read(self, position: int, limit: int | None = None) -> list[Line]:
        """Return the complete entries after a position, at most `limit`."""
        if not self.path.exists():
            return []
        lines: list[Line] = []
        with self.path.open("rb") as file:
            file.seek(position)
            for text in file:
                if not text.endswith(b"\n") or len(lines) == limit:
                    break
                position += len(text)
                lines.append(Line(_parse(text), position))
        return lines

    def load_sent(self) -> Sent:
        """Return what was acknowledged; nothing if its file is damaged, since sending an entry again does no harm."""
        try:
            sent = Sent(**json.loads(self.sent_path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Sent()
        return sent if sent.position <= self.size else Sent()

    def acknowledge(self, sent: Sent) -> None:
        """Record what is sent."""
        write_text_atomically(self.sent_path, json.dumps(asdict(sent), ensure_ascii=False))

    def count_unsent(self) -> int:
        """Return the number of entries that are not acknowledged."""
        return len(self.read(self.load_sent().position))

    def find_store(self) -> str | None:
        """Return the address of the store that the entries are for, without secrets; None if there are none."""
        sent = self.load_sent()
        entries = [sent.study, *(line.entry for line in self.read(sent.position))]
        return next((str(entry["tracking_uri"]) for entry in reversed(entries) if "tracking_uri" in entry), None)

    def require_store(self, tracking_uri: str) -> None:
        """Raise a UsageError if there are entries for another store."""
        uri, known = redact_uri(tracking_uri), self.find_store()
        if known not in (None, uri) and (count := self.count_unsent()):
            raise UsageError(
                f"{self.path}: {count} entries are for {known}, not {uri}: set MLFLOW_TRACKING_URI to the former and send"
                " them with `robustkd sync`, or delete the file"
            )

    def remove(self) -> None:
        """Remove both files."""
        self.path.unlink(missing_ok=True)
        self.sent_path.unlink(missing_ok=True)


def _parse(text: bytes) -> Entry:
    try:
        entry = json.loads(text)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
