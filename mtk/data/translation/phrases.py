"""Phrases in many languages, from Unicode's locale data (CLDR) in Babel."""

import datetime
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Literal

from babel import Locale, dates, lists, localedata, numbers, units

# A phrase, as a function of the language.
Phrase = Callable[[Locale], str]

_FIRST_DAY = datetime.datetime(1960, 1, 1)
_DAYS = 32_872  # Ninety years: fewer than a hundred, so that two digits identify the year.
_DATES = ("full", "full", "full", "long", "long", "medium", "short")
# Skeletons of CLDR, without weeks, which languages count differently.
_MOMENTS = ("yMMMM", "yQQQQ", "MMMMd", "MMMEd", "GyMMMd", "yMEd", "Bhm", "Bh", "EHm")
_INTERVALS = ("MMMd", "yMMMd", "yMMMEd", "yMMMM")
_UNKNOWN = "ZZ"
_Style = Literal["standard", "or"]
_Span = Literal["year", "month", "week", "day", "hour", "minute", "second"]
_SECONDS: dict[_Span, int] = {
    "year": 31_536_000,
    "month": 2_592_000,
    "week": 604_800,
    "day": 86_400,
    "hour": 3_600,
    "minute": 60,
    "second": 1,
}


class Phrases:
    """Draws phrases available in all given languages.

    Args:
        locales: The languages, English first.
        seed: Seed of the drawing.
    """

    def __init__(self, locales: Sequence[Locale], seed: int):
        self._random = random.Random(seed)
        self._countries = _names([locale.territories for locale in locales])
        self._languages = _names([locale.languages for locale in locales])
        self._dialects = _dialects({*self._languages}, {*self._countries})
        self._currencies = _currencies(self._countries)
        self._units = _units(locales)

    def __iter__(self) -> Iterator[Phrase]:
        """Draws endlessly, each kind as often as it is listed here."""
        moments = (self._date, self._date, self._date_and_time, self._moment, self._interval)
        amounts = (self._number, self._percentage, self._price, self._price, self._measure)
        others = (self._measure, self._span, self._list_of_countries, self._list_of_languages)
        kinds = (*moments, *amounts, *others, self._dialect)
        while True:
            yield self._random.choice(kinds)()

    def _day(self) -> datetime.datetime:
        day = _FIRST_DAY + datetime.timedelta(self._random.randrange(_DAYS))
        return day.replace(hour=self._random.randrange(24), minute=self._random.randrange(60))

    def _amount(self) -> float:
        """Draws a number of one to seven digits, at most two of them after the decimal point."""
        digits = self._random.randint(1, 7)
        whole = self._random.randrange(10 ** (digits - 1), 10**digits)
        return self._random.choice((whole, whole, whole / 10, whole / 100))

    def _date(self) -> Phrase:
        day, form = self._day(), self._random.choice(_DATES)
        return lambda locale: dates.format_date(day, form, locale)

    def _date_and_time(self) -> Phrase:
        day, form = self._day(), self._random.choice(("medium", "short"))
        return lambda locale: dates.format_datetime(day, form, locale=locale)

    def _moment(self) -> Phrase:
        day, skeleton = self._day(), self._random.choice(_MOMENTS)
        return lambda locale: dates.format_skeleton(skeleton, day, locale=locale)

    def _interval(self) -> Phrase:
        first, skeleton = self._day(), self._random.choice(_INTERVALS)
        last = first + datetime.timedelta(self._random.randint(1, 200))
        return lambda locale: dates.format_interval(first, last, skeleton, locale=locale)

    def _span(self) -> Phrase:
        name = self._random.choice(list(_SECONDS))
        number = self._random.randint(1, 99) * self._random.choice((1, -1))
        span = datetime.timedelta(seconds=number * _SECONDS[name])
        # No span reaches this threshold, so 15 days are not called two weeks.
        return lambda locale: dates.format_timedelta(
            span, name, threshold=1e9, add_direction=True, locale=locale
        )

    def _number(self) -> Phrase:
        number = self._amount() * self._random.choice((1, -1))
        return lambda locale: numbers.format_decimal(number, locale=locale)

    def _percentage(self) -> Phrase:
        share = self._random.randint(-999, 9999) / 1000
        return lambda locale: numbers.format_percent(
            share, locale=locale, decimal_quantization=False
        )

    def _price(self) -> Phrase:
        price, currency = self._amount(), self._random.choice(self._currencies)
        forms: tuple[Literal["name", "standard"], ...] = ("name", "name", "standard")
        form = self._random.choice(forms)
        return lambda locale: numbers.format_currency(
            price, currency, locale=locale, format_type=form
        )

    def _measure(self) -> Phrase:
        number, unit = self._amount(), self._random.choice(self._units)
        return lambda locale: _measured(number, unit, locale)

    def _list_of_countries(self) -> Phrase:
        codes, style = self._several(self._countries)
        return lambda locale: lists.format_list(
            [locale.territories[code] for code in codes], style, locale
        )

    def _list_of_languages(self) -> Phrase:
        codes, style = self._several(self._languages)
        return lambda locale: lists.format_list(
            [locale.languages[code] for code in codes], style, locale
        )

    def _several(self, codes: Sequence[str]) -> tuple[list[str], _Style]:
        styles: tuple[_Style, ...] = ("standard", "or")
        taken = self._random.sample(codes, self._random.randint(1, 4))
        return taken, self._random.choice(styles)

    def _dialect(self) -> Phrase:
        dialect = self._random.choice(self._dialects)
        return lambda locale: str(dialect.get_display_name(locale))


def _names(names: Sequence[Mapping[str, str]]) -> list[str]:
    """Returns the two-letter codes that have a name in all languages."""
    codes = [code for code in names[0] if len(code) == 2 and all(code in x for x in names)]
    return sorted({*codes} - {_UNKNOWN})


def _dialects(languages: set[str], countries: set[str]) -> list[Locale]:
    """Returns the languages as spoken in a country that CLDR describes."""
    found = []
    for name in sorted(localedata.locale_identifiers()):
        language, _, country = name.partition("_")
        if language in languages and country in countries:
            found.append(Locale(language, country))
    return found


def _currencies(countries: Sequence[str]) -> list[str]:
    """Returns the currencies in use."""
    return sorted({code for x in countries for code in numbers.get_territory_currencies(x)})


def _units(locales: Sequence[Locale]) -> list[str]:
    """Returns the units that have a name in all languages."""
    found = []
    for unit in sorted(locales[0].unit_display_names):
        try:
            if all(unit not in _measured(2, unit, locale) for locale in locales):
                found.append(unit)
        except units.UnknownUnitError:
            continue
    return found


def _measured(number: float, unit: str, locale: Locale) -> str:
    text = units.format_unit(number, unit, "long", locale=locale)
    # Chinese has the same form for long and short, which Babel finds only as short.
    return units.format_unit(number, unit, "short", locale=locale) if unit in text else text
