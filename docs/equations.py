"""The equations of method cards as mathematics: from the notation of the docstrings to TeX, and from TeX to MathML.

The notation is what one types: `L = CE(z_s, y) + alpha T^2 KL(p_t || p_s)`. Greek letters are spelt out, `_` and `^` begin an
index and a power, `<-` is an assignment, `x~` and `x'` are other x, and a dot between spaces is a product. Words that are
neither functions nor hyperparameters are text between the formulas.

docutils translates TeX to MathML, which browsers draw without a script, so that the site needs no network.
"""

import re
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from docutils import nodes

GREEK = {"alpha", "beta", "gamma", "lambda", "mu", "phi", "tau", "theta"}
OPERATORS = {
    "sum": r"\sum",
    "grad": r"\nabla",
    "log": r"\log",
    "exp": r"\exp",
    "min": r"\min",
    "max": r"\max",
    "cos": r"\cos",
}
FUNCTIONS = {"mean", "argmax", "softmax", "sigmoid", "sign", "vec", "sharpen", "prior", "up", "soft", "review", "ReLU"}
APPLIED = FUNCTIONS | OPERATORS.keys() - {"sum", "grad"}  # followed by a space unless by a bracket
RELATIONS = {"<-": r"\leftarrow", "!=": r"\neq", "<=": r"\leq", ">=": r"\geq", "..": r"\ldots", "||": r"\Vert"}
RELATIONS |= {"|": r"\vert", ".": r"\cdot", "~": r"\sim", "*": r"\cdot", "{": r"\{", "}": r"\}"}

QUAD, WIDTH = r" \qquad ", 80  # between the equations of a line, and the characters of these, as typed

BASE = r"[A-Za-z]+(?:-[a-z]+)*|\d+(?:\.\d+)?"
INDEX = r"_(?:\{(?P<group>[^}]*(?:\}(?=\}))?[^}]*)\}|(?P<index>[A-Za-z0-9]+(?:,[A-Za-z])?(?:\+1)?))"
POWER = r"\^(?:\((?P<exponent>[^)]*)\)|(?P<power>[A-Za-z]+|\d+))"
SYMBOL = re.compile(rf"(?P<base>{BASE})(?P<mark>~|'(?!s\b)|-(?=\)))?(?:{INDEX})?(?P<prime>'(?!s\b))?(?:{POWER})?")
WORD = re.compile(r"[A-Za-z]+'s\b|`[^`]*`")
OTHER = re.compile(rf"(?P<relation><-|!=|<=|>=|\.\.|\|\||\S)(?:{INDEX})?(?:{POWER})?")


def write_tex(text: str, names: Collection[str] = ()) -> str:
    r"""Return a line of the notation as TeX.

    Args:
        names: hyperparameters, which are set upright.

    >>> write_tex("L = alpha T^2 KL(p_t || p_s)")
    'L = \\alpha T^{2} \\operatorname{KL} ( p_{t} \\Vert p_{s} )'
    >>> write_tex("y over the rows")
    'y \\text{ over the rows }'
    """
    parts: list[str] = []
    words: list[str] = []

    def end_text() -> None:
        if words:
            parts.append(rf"\text{{ {' '.join(words)} }}")
            words.clear()

    place = 0
    while place < len(text):
        if text[place] == " ":
            place += 1
            continue
        if match := WORD.match(text, place):
            words.append(match[0].strip("`"))
        elif match := SYMBOL.match(text, place):
            if is_text(match, text[match.end() :], bool(words), names):
                words.append(match[0])
            else:
                end_text()
                is_applied = match["base"] in APPLIED and text[match.end() :].strip()[:1] != "("
                parts.append(write_symbol(match, names) + (r"\," if is_applied else ""))
        else:
            match = OTHER.match(text, place)
            assert match is not None
            end_text()
            parts.append(RELATIONS.get(match["relation"], match["relation"]) + write_scripts(match, names))
        place = match.end()
    end_text()
    return " ".join(parts)


def is_text(match: re.Match[str], after: str, follows_text: bool, names: Collection[str]) -> bool:
    """Return whether a symbol is a word of the text: not a letter, number, abbreviation, function or hyperparameter."""
    base = match["base"]
    if match[0] != base:  # it has an index, a power or a mark
        return False
    if base == "a":
        return re.match(r" (?!and\b)[a-z]{2}", after) is not None
    if base in FUNCTIONS or base in OPERATORS or base in names:
        return follows_text and re.match(r" (?:[a-z]{2}|$)", after) is not None
    return len(base) > 1 and base[0].islower() and base not in GREEK


def write_symbol(match: re.Match[str], names: Collection[str]) -> str:
    """Return a letter, number or name with its mark, index and power."""
    base = write_name(match["base"], names)
    base = {"~": rf"\tilde{{{base}}}", "-": rf"{base}^{{-}}", "'": rf"{base}'"}.get(match["mark"], base)
    base += ("'" if match["prime"] else "") + write_scripts(match, names)
    return rf"\,{base}\," if match["base"] in names and match["base"] not in GREEK else base


def write_scripts(match: re.Match[str], names: Collection[str]) -> str:
    """Return the index and the power of a symbol or a bracket."""
    index = match["group"] if match["group"] is not None else match["index"]
    written = ""
    if index is not None:
        letters = re.fullmatch(r"[A-Za-z0-9]{1,2}|[A-Za-z0-9]+,[A-Za-z]", index)  # ij are two letters, s,l two indices
        written = (
            " ".join(index) if letters else write_name(index, names) if index.isalpha() else write_tex(index, names)
        )
        written = rf"_{{{written}}}"
    if match["exponent"] is not None:
        return rf"{written}^{{{write_tex(match['exponent'], names)}}}"
    return written if match["power"] is None else rf"{written}^{{{write_name(match['power'], names)}}}"


def write_name(name: str, names: Collection[str]) -> str:
    """Return a name without index: Greek, a function, a variable of one letter, or upright."""
    if name in GREEK:
        return rf"\{name}"
    if name in OPERATORS:
        return OPERATORS[name]
    if len(name) == 1 or name[0].isdigit():
        return name
    return rf"\mathrm{{{name}}}" if name in names else rf"\operatorname{{{name}}}"


def write_block(lines: list[str], names: Collection[str]) -> str:
    """Return the lines of an indented block of a card as Markdown: equations, or a table of phases with their equations.

    A block without an equation is returned as it is.
    """
    rows = join_rows(lines)
    if not any(is_equation(cell) for row in rows for cell in row):
        return "\n".join(lines)
    if all(is_equation(row[0]) for row in rows):
        lines = [line for row in rows for line in fill_lines(row)]
        return "\n\n".join(f"$${QUAD.join(write_tex(cell, names) for cell in line)}$$" for line in lines)
    width = max(map(len, rows))
    cells = [[f"${write_tex(cell, names)}$" if is_equation(cell) else cell for cell in row] for row in rows]
    table = [[""] * width, ["---"] * width, *([*row, *[""] * (width - len(row))] for row in cells)]
    return "\n".join(f"| {' | '.join(row)} |" for row in table)


def fill_lines(cells: list[str]) -> list[list[str]]:
    """Distribute the equations of a row over as many lines as their characters need."""
    lines: list[list[str]] = []
    for cell in cells:
        if lines and sum(map(len, [*lines[-1], cell])) <= WIDTH:
            lines[-1].append(cell)
        else:
            lines.append([cell])
    return lines


def join_rows(lines: list[str]) -> list[list[str]]:
    """Split lines into cells, and join a line that begins far to the right to the last cell of the line before."""
    rows: list[list[str]] = []
    for line in lines:
        cells = [cell.removesuffix(";") for cell in re.split(r" {2,}", line.strip())]
        if rows and len(line) - len(line.lstrip()) > 8 and len(rows[-1]) > 1:
            joint = ", " if is_equation(cells[0]) else " "
            rows[-1][-1:] = [f"{rows[-1][-1]}{joint}{cells[0]}", *cells[1:]]
        else:
            rows.append(cells)
    return rows


def is_equation(cell: str) -> bool:
    """Return whether a cell contains an equation or an assignment."""
    return re.search(r"\S (?:=|<-|~) ", cell) is not None


def translate_blocks(card: str, names: Collection[str]) -> str:
    """Replace the indented blocks of a card by mathematics, where they are equations."""
    blocks = re.compile(r"(?:^ {4}.*\n?)+", re.M)
    return blocks.sub(lambda match: write_block(match[0].rstrip("\n").split("\n"), names) + "\n", card)


def visit_math(self: Any, node: "nodes.math | nodes.math_block") -> None:
    """Write TeX as MathML; Sphinx calls this for every formula of a page.

    Raises:
        nodes.SkipNode: always, since the children are text.
    """
    from docutils import nodes  # installed with Sphinx, which translating cards does not need
    from docutils.utils.math import latex2mathml

    is_block = isinstance(node, nodes.math_block)
    mathml = latex2mathml.tex2mathml(node.astext(), as_block=is_block)
    scrolled = f'<div class="math" style="overflow-x: auto; margin: 0.4rem 0">{mathml}</div>'
    self.body.append(scrolled if is_block else str(mathml))
    raise nodes.SkipNode
