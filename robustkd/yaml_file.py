"""YAML files of users: lists and mappings of plain text, without tags, dates, aliases, deep nesting or an endless content."""

from pathlib import Path
from typing import Any

from robustkd.errors import UsageError

MAX_BYTES, MAX_DEPTH = 1_000_000, 4


def read_yaml(path: str | Path, option: str) -> Any:
    """Read a YAML file; every scalar is text as it is written, so that 1:30:00 is no number of seconds and no date is made.

    Args:
        option: what names the file, for error messages.

    Raises:
        UsageError: the file cannot be read, is too large, or uses more of YAML than lists and mappings.
    """
    import yaml

    where = f"{option} {path}"
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        if len(content) > MAX_BYTES:
            raise UsageError(f"{where}: it is larger than {MAX_BYTES // 1_000_000} MB, which no file of options is")
        text = content.decode("utf-8-sig")
        _check_events(text, where)
        return yaml.load(text, yaml.BaseLoader)  # makes strings, lists and dictionaries only
    except UsageError:  # which is a ValueError
        raise
    except OSError as error:
        raise UsageError(f"{where}: it cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{where}: this is not YAML ({' '.join(str(error).split())})") from None


def _check_events(text: str, where: str) -> None:
    """Refuse aliases, which can stand for gigabytes, and deep nesting, before anything is built."""
    import yaml

    depth = 0
    for event in yaml.parse(text, yaml.BaseLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise UsageError(f"{where}, line {line}: aliases (*{event.anchor}) are not supported")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UsageError(f"{where}, line {line}: lists or mappings are nested too deeply")
