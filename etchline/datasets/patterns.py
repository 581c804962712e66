"""Patterns such as `{ic}/{layer}/{name}.png` that say what the parts of a path mean."""

import re
import string

from etchline.errors import DatasetError


class PathPattern:
    """A pattern of relative paths with named fields.

    A field matches one or more characters except `/`, as few as possible; a field that stands twice must
    match the same text twice. Everything else stands for itself.

    Attributes:
        text: the pattern.
        fields: names of its fields.
        literal_length: characters outside of fields; of two patterns the one with more says more.

    Args:
        text: the pattern, with `/` between folders.

    Raises:
        DatasetError: braces that do not match, or a field without a proper name.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: frozenset[str] = frozenset()
        self.literal_length = 0
        try:
            parts = list(string.Formatter().parse(text))
        except ValueError as error:
            raise DatasetError(f'pattern "{text}": {error}; write fields as {{name}}') from error
        expression = ""
        for literal, field, form, conversion in parts:
            expression += re.escape(literal)
            self.literal_length += len(literal)
            if field is None:
                continue
            if not re.fullmatch(r"[a-z_]+", field) or form or conversion:
                raise DatasetError(f'pattern "{text}": field {{{field}}} must be a word of small letters')
            expression += f"(?P={field})" if field in self.fields else f"(?P<{field}>[^/]+?)"
            self.fields |= {field}
        self._expression = re.compile(expression)

    def match(self, path: str) -> dict[str, str] | None:
        """The fields of a relative path, or `None` where it does not match."""
        found = self._expression.fullmatch(path)
        return found.groupdict() if found else None

    def fill(self, fields: dict[str, str]) -> str:
        """The path that these fields make.

        Raises:
            DatasetError: a field of the pattern is not given.
        """
        missing = sorted(self.fields - set(fields))
        if missing:
            raise DatasetError(f'pattern "{self.text}": {{{missing[0]}}} is not in the image pattern')
        return self.text.format_map(fields)
