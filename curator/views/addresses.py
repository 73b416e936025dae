"""Addresses for templates: what Flask's `url_for` says, of patterns that it was asked for once.

A page of pairs holds four hundred addresses, which took a seventh of its time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any
from urllib.parse import quote_plus

import flask
from flask import Flask, current_app, request

SAFE = "!$'()*,/:;?@"  # what Werkzeug leaves as it is in a query
STAND_IN = 10**9 + 7  # a number that stands in no path of ours
Pattern = tuple[str, str, str]  # what comes before a value, its name if there is one, what comes after it


def url_for(endpoint: str, **values: Any) -> str:
    """Return the address of a page, as `flask.url_for` does."""
    found = pattern(current_app._get_current_object(), request.script_root, endpoint)  # type: ignore[attr-defined]
    if found is None:
        return flask.url_for(endpoint, **values)
    before, name, after = found
    path = before
    if name:
        number = values.pop(name, None)
        if type(number) is not int or number < 0:
            return flask.url_for(endpoint, **values, **{name: number})
        path = f"{before}{number}{after}"
    asked = "&".join([
        f"{quoted(key)}={quoted(str(each))}"
        for key, value in values.items() if value is not None
        for each in (value if isinstance(value, list | tuple | set) else (value,)) if each is not None
    ])  # fmt: skip
    return f"{path}?{asked}" if asked else path


@lru_cache(maxsize=1000)
def pattern(app: Flask, root: str, endpoint: str) -> Pattern | None:
    """Return the path of a page below the root of the application; None where it takes more than one value."""
    rules = list(app.url_map.iter_rules(endpoint)) if endpoint in app.view_functions else []
    if len(rules) != 1 or len(rules[0].arguments) > 1:
        return None
    for name in rules[0].arguments:
        stand_in: dict[str, Any] = {name: STAND_IN}
        before, _, after = flask.url_for(endpoint, **stand_in).partition(str(STAND_IN))
        return before, name, after
    return flask.url_for(endpoint), "", ""


@lru_cache(maxsize=4096)
def quoted(text: str) -> str:
    """Return a text as it stands in a query."""
    return quote_plus(text, SAFE)
