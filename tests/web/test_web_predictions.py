"""Logged predictions and batches over the API."""


def test_a_deployments_last_predictions(call, platform):
    answer = call("GET", "/api/v1/deployments/wine/predictions?last=5&since=2030-01-01T00:00:00Z")
    assert answer.json() == {"dataset": "predictions/wine", "columns": ["x"], "rows": [[1.5]]}
    assert platform.predictions.asked == [("wine", 5, "2030-01-01T00:00:00+00:00")]
    assert call("GET", "/api/v1/deployments/wine/predictions?last=0").status_code == 400


def test_a_batch_is_started_by_who_asked(call, platform):
    body = {"input": "/in.csv", "output": "dataset:out", "version": "@champion"}
    answer = call("POST", "/api/v1/models/wine/batches", json=body)
    assert answer.status_code == 202
    assert (answer.json()["state"], answer.json()["run"]["id"]) == ("started", "batch-1")
    name, request, by = platform.batches.asked[0]
    assert (name, request["chunk_rows"], request["version"]) == ("wine", 50_000, "@champion")
    assert by
    assert call("POST", "/api/v1/models/wine/batches", json={"input": "x"}).status_code == 400
