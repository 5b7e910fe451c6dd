"""Cuts HogQL into tokens, and says what is wrong with a query."""

import re
from dataclasses import dataclass

from etl.sandbox.errors import ApiError

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*|/\*.*?\*/)
    |(?P<text>'(?:[^'\\]|\\.|'')*')
    |(?P<quoted>`(?:[^`\\]|\\.)+`|"(?:[^"\\]|\\.)+")
    |(?P<number>\d+\.\d+(?:[eE][+-]?\d+)?|\d+(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_$][\w$]*)
    |(?P<sign><=|>=|!=|<>|==|\|\||[()\[\]{},.+\-*/%<>=;])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)|''", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f"}


def refused(detail: str, code: str = "illegal_hogql") -> ApiError:
    """400 for SQL that can't be answered."""
    return ApiError(400, "validation_error", code, detail)


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of text with its kind, and where it stands."""

    kind: str
    text: str
    begin: int
    end: int


def tokens(sql: str) -> list[Token]:
    """The tokens of a query, without white space. Raises ApiError 400."""
    found, at = [], 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:
            raise refused(f"Syntax error at position {at}: unexpected {sql[at]!r}")
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match[0], at, match.end()))
        at = match.end()
    return found


def unescaped(text: str) -> str:
    """What a quoted text means, without its quotes."""
    return _ESCAPE.sub(lambda m: "'" if m[1] is None else _ESCAPED.get(m[1], m[1]), text)
