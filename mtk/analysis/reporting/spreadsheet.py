"""Tables as CSV that spreadsheets show without interpreting formulas."""

import re

import pandas as pd

from mtk.analysis import plain_text

# Beginnings of cells that spreadsheets interpret as formulas; the full-width forms are those of
# East Asian keyboards.
_FORMULA = re.compile(r"\s*[=+\-@＝＋－＠\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.I)


def csv(table: pd.DataFrame) -> bytes:
    """Returns a table as CSV in UTF-8.

    Text that a spreadsheet would interpret as a formula is prefixed with a quotation mark; numbers,
    and text that is a number, are unchanged.
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
