"""Find the columns of a table that hold images, labels, splits, groups and clean labels, and read them.

A column that the user names is taken. Otherwise a column is recognised by its name, in any case and punctuation: first by the
name in COLUMNS, then by a common name. Two columns that fit equally well are refused, and so is a column whose name announces a
split that its values do not give: no split is ever ignored without `--split-column none`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from robustkd.data.image_search import IMAGE_SUFFIX
from robustkd.data.labels import ColumnNames, RawValues
from robustkd.data.read_options import ColumnOptions
from robustkd.data.row_values import SelectedValues
from robustkd.data.view import PART_ALIASES, Labels
from robustkd.errors import UsageError, did_you_mean

COLUMNS = ("image", "label", "split", "group", "clean_label")
# Names without case and punctuation, in the order in which they are looked for; names of a group fit equally well.
COMMON_NAMES = {
    "image": (
        {"image"},
        {
            "filename",
            "file",
            "path",
            "filepath",
            "imagepath",
            "imagefile",
            "imagefilename",
            "imagename",
            "img",
            "imgpath",
        },
        {"id", "imageid", "imgid", "name"},
    ),
    "label": (
        {"label"},
        {"labels", "class", "classname", "classlabel", "category", "target", "finelabel", "y", "species", "labelname"},
        {"classid", "labelid", "categoryid", "targetname"},
    ),
    "group": ({"group"},),
    "clean_label": ({"cleanlabel"},),
}
SPLIT_NAMES = {  # a column of such a name is a split, or is refused
    *(
        "split",
        "subset",
        "partition",
        "datasplit",
        "datasetsplit",
        "splitname",
        "usage",
        "set",
        "setname",
        "phase",
        "fold",
    ),
    *("traintest", "traintestsplit", "trainvaltest", "trainorvalid", "trainorval", "trainortest"),
}
SPLIT_FLAGS = {  # a column of such a name and of 0 and 1 marks the rows of a part
    **{f"{prefix}{alias}": part for prefix in ("", "is", "in") for alias, part in PART_ALIASES.items()},
    **{f"{alias}set": part for alias, part in PART_ALIASES.items()},
}
FLAG_VALUES = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True, "0.0": False, "1.0": True}


class RawTable(NamedTuple):
    """A table as it was read."""

    header: list[str]
    column: Callable[[str], Sequence[Any]]  # the values of a column, with None for missing ones
    scalars: Sequence[str]  # the columns of texts, numbers and booleans
    folder: Path  # the table's
    locate: Callable[[int], str] = "row {}".format  # describes a row's location
    class_names: Mapping[str, list[str]] = {}  # of label columns with integers, by column
    parts: list[str] | None = None  # the part that each row's file belongs to


class TableColumns(NamedTuple):
    """The content of a table by role, with None for missing values."""

    image: Sequence[Any]
    label: RawValues | None
    split: RawValues | None
    group: RawValues | None
    clean_label: RawValues | None
    names: ColumnNames
    class_names: RawValues | None
    notes: tuple[str, ...]  # what was recognised by another name than that in COLUMNS

    def take(self, rows: Labels) -> "TableColumns":
        """Select some of the rows: (n,)."""
        label, split, group, clean_label = (
            None if values is None else values[rows]
            for values in (self.label, self.split, self.group, self.clean_label)
        )
        return self._replace(
            image=SelectedValues(self.image, rows),
            label=label,
            split=split,
            group=group,
            clean_label=clean_label,
        )


def select_columns(name: str, table: RawTable, options: ColumnOptions, *, labelled: bool = True) -> TableColumns:
    """Read the columns of a table by their roles.

    Args:
        name: the data set's name, for error messages.
        table: the table.
        options: the columns that the user named.
        labelled: whether there must be labels.

    Raises:
        UsageError: a column is missing, ambiguous or contains invalid values.
    """
    reader = _ColumnReader(name, table, options)
    image, group, clean = reader.find("image"), reader.find("group"), reader.find("clean_label")
    if image is None:
        raise reader.missing("image")
    others = [column for column in table.header if column not in (image, group, clean)]
    label_columns = reader.find_label_columns(others)
    split_columns = reader.find_split_columns([column for column in others if column not in label_columns])
    label_columns = label_columns or reader.find_indicators([c for c in others if c not in split_columns])
    if labelled and not label_columns:
        raise reader.missing("label")
    if not (images := table.column(image)):
        raise UsageError(f"{name}: it has a header, but no rows")
    label = label_columns[0] if len(label_columns) == 1 else None
    class_names = table.class_names.get(label or "")
    return TableColumns(
        images,
        reader.read_indicators(label_columns) if label is None else reader.read(label),
        reader.read_split(split_columns),
        reader.read(group),
        reader.read(clean),
        ColumnNames(label or "label", clean or "clean_label", group or "group", " and ".join(split_columns) or "split"),
        None if class_names is None else np.array(class_names),
        tuple(reader.notes),
    )


class _ColumnReader:
    """Finds and reads the columns of one table, and collects notes on what was recognised."""

    def __init__(self, name: str, table: RawTable, options: ColumnOptions) -> None:
        self.name, self.table, self.options = name, table, options
        self.notes: list[str] = []
        repeated = next((c for c in table.header if c.strip() and table.header.count(c) > 1), None)
        if repeated is not None:
            raise UsageError(f"{self.name}: two columns are called '{repeated}'")

    def find(self, role: str, among: Sequence[str] | None = None) -> str | None:
        """Return the column of a role: the one the user named, or the one recognised by its name; None if there is none."""
        among = self.table.header if among is None else among
        if (named := getattr(self.options, role, None)) is not None:
            return self.require(role, named)
        if role in among:
            return role
        for names in COMMON_NAMES[role]:
            found = [column for column in among if _normalise(column) in names]
            if len(found) > 1:
                raise UsageError(
                    f"{self.name}: the columns {_quote(found)} could each be the {role}: {self.decision(role, 'one')}"
                )
            if found:
                self.notes.append(f"the column '{found[0]}' is read as {role}")
                return found[0]
        return None

    def decision(self, role: str, what: str) -> str:
        """Return how the user can decide: by an option, or by the name of the column."""
        options = ("image", "label", "split")
        return f"--{role}-column names {what}" if role in options else f"call {what} of them '{role}'"

    def require(self, role: str, column: str) -> str:
        """Return the column that the user named, if it exists."""
        if column not in self.table.header:
            raise UsageError(
                f"{self.name}: --{role}-column {column}: there is no such column"
                f"{did_you_mean(column, self.table.header)}; there are: {self.listing()}"
            )
        return column

    def listing(self) -> str:
        header = self.table.header
        return ", ".join(header[:20]) + (" and more" if len(header) > 20 else "")

    def missing(self, role: str) -> UsageError:
        """Return the error for a column that is needed and was not recognised."""
        hint = did_you_mean(role, self.table.header)
        no_header = ""
        if any(map(IMAGE_SUFFIX.search, " ".join(self.table.header).split())):
            no_header = " (if the first line is a row, too: --no-header)"
        return UsageError(
            f"{self.name}: there is no column '{role}'{hint}; there are: {self.listing()}{no_header};"
            f" --{role}-column names the one that holds the {role}s"
        )

    def find_label_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the column of labels, or the several that the user named; empty if there is none."""
        named = self.options.label
        if named is not None and named not in self.table.header and "," in named:
            return [self.require("label", column.strip()) for column in named.split(",")]
        column = self.find("label", columns)
        return [] if column is None else [column]

    def find_indicators(self, columns: Sequence[str]) -> list[str]:
        """Return the columns of 0 and 1 if there are several: one for each class."""
        indicators = [c for c in columns if c in self.table.scalars and _is_flag(self.table.column(c))]
        if len(indicators) < 2:
            return []
        self.notes.append(f"labels are read from the columns of 0 and 1: {', '.join(indicators)}")
        return indicators

    def read_indicators(self, columns: Sequence[str]) -> RawValues | None:
        """Return the name of the column that is 1 in each row: (N,); None without columns."""
        if not columns:
            return None
        values = [[_parse_flag(value) for value in self.table.column(column)] for column in columns]
        if None in (invalid := {flag for column in values for flag in column}) and invalid:
            column = next(c for c, flags in zip(columns, values, strict=True) if None in flags)
            raise UsageError(f"{self.name}: the column '{column}' contains other values than 0 and 1")
        marks = np.array(values, bool)  # (K, N)
        several = np.flatnonzero(marks.sum(axis=0) != 1)
        if len(several):
            row = int(several[0])
            raise UsageError(
                f"{self.name}: {self.table.locate(row)}: {marks[:, row].sum()} of the columns {_quote(columns)} are 1, but"
                " an image has one class: --label-column names the column with the label"
            )
        names = np.empty(len(columns), object)
        names[:] = columns
        labels: RawValues = names[marks.argmax(axis=0)]
        return labels

    def find_split_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the column of the split, or several that mark the rows of a part; empty if there is none."""
        if self.options.split is not None:
            return [] if self.options.split == "none" else [self.require("split", self.options.split)]
        columns = [column for column in columns if column in self.table.scalars]
        flags = [c for c in columns if _normalise(c) in SPLIT_FLAGS and _is_flag(self.table.column(c))]
        announced = SPLIT_NAMES | SPLIT_FLAGS.keys()
        named = [c for c in columns if c not in flags and (_normalise(c) in announced or self._has_parts(c))]
        named = [c for c in named if any(not _is_blank(value) for value in self.table.column(c))]
        if len(named) + bool(flags) > 1:
            raise UsageError(
                f"{self.name}: the columns {_quote([*named, *flags])} could each be the split: --split-column names one,"
                " or none"
            )
        found = named or flags
        if found and found != ["split"]:
            columns_read = f"column {_quote(found)} is" if len(found) == 1 else f"columns {_quote(found)} are"
            self.notes.append(f"the {columns_read} read as the split into train, val and test")
        return found

    def _has_parts(self, column: str) -> bool:
        """Return whether a column contains names of parts only, and several of them."""
        values = self.table.column(column)
        first = next((value for value in values if not _is_blank(value)), None)
        if not isinstance(first, str) or first.strip().lower() not in PART_ALIASES:
            return False
        texts = {value.strip().lower() if isinstance(value, str) else None for value in values if not _is_blank(value)}
        return texts <= PART_ALIASES.keys() and len({PART_ALIASES[text] for text in texts if text is not None}) > 1

    def read_split(self, columns: Sequence[str]) -> RawValues | None:
        """Return the part of each row, as text: (N,); None if there is no split."""
        parts = None
        if columns and all(_normalise(c) in SPLIT_FLAGS and _is_flag(self.table.column(c)) for c in columns):
            parts = self._read_flags(columns)
        elif columns:
            parts = self._read_parts(columns[0])
        if self.table.parts is None:
            return parts
        if parts is not None:
            raise UsageError(
                f"{self.name}: the files' names and {_quote(columns)} both divide the rows into train, val and test:"
                " --split-column none leaves it to the files' names"
            )
        return np.array(self.table.parts, object)

    def _read_parts(self, column: str) -> RawValues | None:
        """Return the part of each row from a column that names it."""
        values = self.read(column)
        assert values is not None
        unknown = {value for value in values.tolist() if not _is_blank(value)}
        unknown -= {value for value in unknown if str(value).strip().lower() in PART_ALIASES}
        if unknown:
            row = next(row for row, value in enumerate(values.tolist()) if value in unknown)
            value = str(values[row])
            problem = f"is none of train, val and test{did_you_mean(value.lower(), PART_ALIASES)}"
            if all(_parse_flag(value) is not None for value in unknown):
                problem = "does not say which part is meant: write train, val and test, or call the column is_test"
            raise UsageError(
                f"{self.name}: {self.table.locate(row)}: {column} '{value}' {problem}; --split-column names another"
                " column, or none"
            )
        return values

    def _read_flags(self, columns: Sequence[str]) -> RawValues:
        """Return the part of each row from columns that mark the rows of a part.

        Rows without a mark are training rows, or test rows if only training rows are marked.
        """
        marked = [SPLIT_FLAGS[_normalise(column)] for column in columns]
        default = "test" if set(marked) == {"train"} else "train"
        parts = np.full(len(self.table.column(columns[0])), default, object)
        times = np.zeros(len(parts), int)
        for part, column in zip(marked, columns, strict=True):
            chosen = np.array([bool(_parse_flag(value)) for value in self.table.column(column)])
            parts[chosen] = part
            times += chosen
        wrong = np.flatnonzero((times > 1) | ((times == 0) & (len(columns) > 1) & ("train" in marked)))
        if len(wrong):
            row = int(wrong[0])
            raise UsageError(f"{self.name}: {self.table.locate(row)}: {times[row]} of {_quote(columns)} are 1, not one")
        return parts

    def read(self, column: str | None) -> RawValues | None:
        """Return a column of texts, integers or booleans as an array of objects: (N,)."""
        if column is None:
            return None
        values = self.table.column(column)
        types = set(map(type, values)) - {type(None)}
        if types - {str} and types - {int} and types - {bool}:
            found = " and ".join(sorted(kind.__name__ for kind in types))
            raise UsageError(
                f"{self.name}: the column '{column}' contains {found}, but must contain texts or integers only"
            )
        array = np.empty(len(values), object)
        array[:] = values
        return array


def _normalise(column: str) -> str:
    """Return a name without case and punctuation.

    >>> _normalise("File_Name")
    'filename'
    """
    return re.sub(r"[\W_]", "", column).lower()


def _parse_flag(value: Any) -> bool | None:
    """Return the truth value that a cell contains, or None."""
    return FLAG_VALUES.get(str(value).strip().lower())


def _is_flag(values: Sequence[Any]) -> bool:
    """Return whether a column contains 0 and 1, or false and true, only."""
    return bool(values) and _parse_flag(values[0]) is not None and all(_parse_flag(v) is not None for v in values)


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _quote(columns: Sequence[str]) -> str:
    return " and ".join(f"'{column}'" for column in columns)
