"""`volant deploy`, and the commands that steer a deployment."""

from __future__ import annotations

import pytest


def test_deploy_tells_where_the_revision_is(volant, platform):
    served = platform.deployments
    served.course = [{"status": "ready"}, {"status": "canary", "percent": 10.0}]
    done = volant(
        *["deploy", "wine-quality@3", "--canary", "10, 50%", "--bake", "2m", "--max", 4],
        *["--memory", "1GB", "--idle", "30s", "--sticky-header", "x-user", "--p95-ms", 50],
    )
    assert done.out == (
        "Revision 2 of wine-quality (version 3) is a canary: it answers 10 % of the requests.\n"
    )
    verb, name, given = served.asked[0]
    assert (verb, name, given["model"], given["version"]) == ("deploy", *["wine-quality"] * 2, "3")
    assert given["changes"] == {"max": 4, "memory_bytes": 10**9, "idle_s": 30.0}
    assert (given["rollout"].canary, given["rollout"].bake_s) == ((10.0, 50.0), 120.0)
    served.course = [{"status": "live", "percent": None}]
    assert volant("deploy", "wine-quality", "--now", "--wait").out.endswith("is live.\n")
    assert served.asked[-1][2]["rollout"] == "now"
    assert served.asked[-1][2]["version"] is None


def test_deploy_says_what_came_of_it(volant, platform):
    course = platform.deployments.course
    course += [{"status": "failed", "reason": "It is broken."}]
    done = volant("deploy", "wine-quality@3")
    assert (done.code, "It is broken." in done.err) == (1, True)
    course += [{"status": "aborted", "reason": "A newer one came."}]
    assert volant("deploy", "wine-quality@3").code == 4
    course += [{"status": "pending"}]
    done = volant("deploy", "wine-quality@3", "--timeout", "1ms")
    assert (done.code, "still pending" in done.err) == (6, True)
    assert volant("deploy", "wine-quality@3", "--no-wait").out.endswith("is pending.\n")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--canary", "ten"],
        ["--bake", "2"],
        ["--memory", "1"],
        ["--cpu", "nan"],
        ["--cpu", "inf"],
        ["--cpu", "many"],
        ["--canary", "nan"],
        ["--p95-ms", "nan"],
        ["--p95-ms", "inf"],
        ["--error-rate", "nan"],
        ["--shadow", "nan"],
        ["--name", ""],
        ["--log", "some"],
        ["--log", "nan"],
        ["--log", "off", "--log-max", "1GB"],
        ["--log-max", "1"],
        ["--keep", "21"],
        ["--now", "--canary", "10"],
        ["--timeout", "soon"],
    ],
)
def test_deploy_with_wrong_words(volant, platform, wrong):
    done = volant("deploy", "wine-quality", *wrong)
    assert done.code == 2
    assert platform.deployments.asked == []


def test_deployments_are_steered(volant, platform):
    served = platform.deployments
    served.course = [{"status": "live"}]
    assert volant("promote", "wine-quality", "--reason", "good").out.endswith("is live.\n")
    assert served.asked[-1][2]["reason"] == "good"
    served.course = [{"status": "aborted"}]
    assert volant("deployments", "abort", "wine-quality").out.endswith("was aborted.\n")
    served.course = [{"status": "aborted"}]
    assert volant("rollback", "wine-quality", "--to", "v1").code == 0
    assert served.asked[-1][2]["to"] == "v1"
    told = volant("deployments", "scale", "wine-quality", "--min", 1, "--max", 3).out
    assert told == "wine-quality has 1 to 3 replicas now.\n"
    assert volant("deployments", "scale", "wine-quality").code == 2
    row = volant("deployments", "revisions", "wine-quality").out.splitlines()[1].split()
    assert row[:6] == ["2", "3", "aborted", "-", "40", "2"]
    assert volant("rollback", "nothing").code == 3


def test_limits_are_taken_off_and_logs_turned_off_by_hand(volant, platform):
    served = platform.deployments
    scale = ["deployments", "scale", "wine-quality"]
    volant(*scale, "--memory", "none", "--cpu", "none")
    assert served.asked[-1][2]["changes"] == {"memory_bytes": None, "cpu": None}
    assert volant(*scale, "--log", "off").out == "wine-quality: logs no predictions.\n"
    assert served.asked[-1][2]["changes"] == {"log": "off"}
    done = volant(*scale, "--log", "0.1", "--log-max", "5GB", "--keep", 2)
    told = "logs 10 % of its predictions, at most 1.0 GB; keeps 2 earlier versions"
    assert done.out == f"wine-quality: {told}.\n"
    changes = {"log": {"sample": 0.1, "max_bytes": 5 * 10**9}, "keep": 2}
    assert served.asked[-1][2]["changes"] == changes
    volant(*scale, "--log", "on")
    assert served.asked[-1][2]["changes"] == {"log": {"sample": 1.0}}
    volant("deploy", "wine-quality", "--no-wait", "--log", "off", "--cpu", "0.5")
    given = served.asked[-1][2]
    assert (given["settings"], given["changes"]) == ({"log": "off"}, {"cpu": 0.5})


def test_deploy_that_fails_says_what_holds_all_the_same(volant, platform):
    course = platform.deployments.course
    course += [{"status": "failed", "reason": "It is broken."}]
    done = volant("deploy", "wine-quality@3", "--memory", "64MiB")
    assert "What you gave of replicas and log holds all the same" in " ".join(done.err.split())
    course += [{"status": "failed", "reason": "It is broken."}]
    assert "all the same" not in volant("deploy", "wine-quality@3").err
