"""Every text people read, in Chinese and English, under one key each. A leaf: no other part of the dashboard is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collateral.errors import InvalidInputError
from dashboard.i18n.en import TEXTS as ENGLISH
from dashboard.i18n.zh import TEXTS as CHINESE

CATALOGUES: Mapping[str, Mapping[str, str]] = {"zh": CHINESE, "en": ENGLISH}
DEFAULT_LOCALE = "zh"


@dataclass(frozen=True)
class Texts:
    """The catalogue of one locale."""

    locale: str

    def __call__(self, key: str, **values: object) -> str:
        """The text under `key`, its `{name}` places filled.

        Raises:
            InvalidInputError: the catalogue has no such key.
        """
        try:
            template = CATALOGUES[self.locale][key]
        except KeyError:
            raise InvalidInputError(
                f"Text {key!r} is missing in catalogue {self.locale!r}; add it to dashboard/i18n/*.py."
            ) from None
        return template.format(**values) if values else template

    def named(self, family: str, word: str) -> str:
        """The text of a word of the data (a rule, a quantity); the word itself where the catalogue does not know it."""
        return CATALOGUES[self.locale].get(f"{family}.{word}", word)


def texts(locale: str) -> Texts:
    """The catalogue of `locale`, or the default one when there is none of that name."""
    return Texts(locale if locale in CATALOGUES else DEFAULT_LOCALE)
