from __future__ import annotations

from volant.domain.job import JobResult, JobStatus
from volant.domain.masking import concealed, maskable, masked, masked_value


def test_the_longest_secret_goes_first():
    mask = maskable(["hunter2", "hunter2-and-more", "abc"])
    assert masked("x hunter2-and-more, hunter2; abc", mask) == "x ***, ***; abc"


def test_each_line_of_a_key_and_its_form_in_a_url():
    mask = maskable(["-----BEGIN-----\nAAAAbbbb\n", "p@ss/word"])
    assert masked("got AAAAbbbb", mask) == "got ***"
    assert masked("http://u:p%40ss%2Fword@h p@ss/word", mask) == "http://u:***@h ***"


def test_values_within_values():
    mask = maskable(["hunter2"])
    given = {"a": ["hunter2!", 1, None], "hunter2": {"b": ("hunter2",)}}
    assert masked_value(given, mask) == {"a": ["***!", 1, None], "***": {"b": ["***"]}}
    assert masked_value(given, ()) is given


def test_a_result_tells_no_secret():
    result = JobResult(JobStatus.FAILED, {"dsn": "pg://u:hunter2@h"}, error={"what": "no hunter2"})
    told = concealed(result, maskable(["hunter2"]))
    assert told.outputs == {"dsn": "pg://u:***@h"}
    assert told.error == {"what": "no ***"}
    assert concealed(result, ()) is result
