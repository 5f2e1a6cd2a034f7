# SPDX-License-Identifier: GPL-3.0-or-later
"""DeleteObjects where not everything may be deleted."""

from __future__ import annotations

import pytest
import xmltodict
from mayfly_lab.s3 import deletions

BODY = (
    '<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a&amp;b</Key></Object>'
    "<Object><Key>c</Key><VersionId>1</VersionId></Object><Quiet>true</Quiet></Delete>"
)
PLAIN = "<Delete><Object><Key>a</Key></Object></Delete>"


@pytest.mark.parametrize(
    ("body", "wanted"),
    [(BODY, [("a&b", None), ("c", "1")]), (PLAIN, [("a", None)]), ("<Delete/>", []), ("no XML", [])],
)
def test_the_objects_of_a_request(body, wanted):
    assert deletions.named(body.encode()) == wanted


@pytest.mark.parametrize(("body", "quiet"), [(BODY, "true"), (PLAIN, "false")])
def test_a_request_for_some_of_the_objects(body, quiet):
    text = deletions.request([("a&b", None), ("c", "1")], body.encode())
    assert deletions.named(text) == [("a&b", None), ("c", "1")]
    assert xmltodict.parse(text)["Delete"]["Quiet"] == quiet


@pytest.mark.parametrize("document", [None, '<?xml version="1.0"?><DeleteResult><x/></DeleteResult>'])
def test_the_answer_tells_each_denial(document):
    errors = deletions.errors([("a&b", None), ("c", "1"), ("d", None)], ["no <way>", "no", None])
    assert xmltodict.parse(deletions.answer(document, errors))["DeleteResult"]["Error"] == [
        {"Key": "a&b", "Code": "AccessDenied", "Message": "no <way>"},
        {"Key": "c", "VersionId": "1", "Code": "AccessDenied", "Message": "no"},
    ]
