"""Addresses in templates are those that Flask makes."""

import flask
import pytest
from werkzeug.routing import BuildError

from curator.views import addresses

AWKWARD = "a b&c=d/ü?#+%~!$'()*,:;@ \"<"


@pytest.mark.parametrize(
    ("endpoint", "values"),
    [
        ("home.index", {}),
        ("pairs.show", {"pair_id": 7}),
        ("pairs.show", {"pair_id": 7, "back": f"/pairs/?query={AWKWARD}", "sort": None}),
        ("pairs.index", {"query": AWKWARD, "tag": "", "status": ["draft", "approved"], "last": 1, "trash": True}),
        ("pairs.index", {"status": ("draft",), "after": 0, "before": None, "ä": "x"}),
        ("static", {"filename": "style.css"}),
        ("imports.preview", {"token": "0" * 32, "delimiter": ";"}),
    ],
)
@pytest.mark.parametrize("root", ["", "/behind"])
def test_an_address_is_what_flask_says(app, endpoint, values, root):
    with app.test_request_context("/pairs/", environ_overrides={"SCRIPT_NAME": root}):
        assert addresses.url_for(endpoint, **values) == flask.url_for(endpoint, **values)


def test_every_page_with_at_most_a_number_has_the_address_that_flask_says(app):
    with app.test_request_context("/"):
        for rule in app.url_map.iter_rules():
            if len(rule.arguments) <= 1 and addresses.pattern(app, "", rule.endpoint):
                values = dict.fromkeys(rule.arguments, 12) | {"x": "y z"}
                assert addresses.url_for(rule.endpoint, **values) == flask.url_for(rule.endpoint, **values)


def test_an_unknown_page_is_refused_as_flask_does(app):
    with app.test_request_context("/"), pytest.raises(BuildError):
        addresses.url_for("nowhere.index")
