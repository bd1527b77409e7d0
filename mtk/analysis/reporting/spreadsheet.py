"""Tables as CSV that a spreadsheet shows as they are."""

import re

import pandas as pd

from mtk.analysis import plain_text

# What a spreadsheet takes for a formula when a cell begins with it; the wide forms are those of
# East Asian keyboards.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.I)


def csv(table: pd.DataFrame) -> bytes:
    """Returns a table as CSV in UTF-8.

    A text that a spreadsheet would take for a formula has a quotation mark before it; numbers, and
    texts that are numbers, stay as they are.
    """
    safe = table.apply(_column) if len(table) else table
    return safe.set_axis(list(map(_cell, table)), axis=1).to_csv(index=False).encode()


def _column(column: pd.Series) -> pd.Series:
    return column if pd.api.types.is_numeric_dtype(column) else column.map(_cell)


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = plain_text.printable(value)
    is_formula = _FORMULA.match(value) and not _NUMBER.fullmatch(value)
    return f"'{text}" if is_formula else text
