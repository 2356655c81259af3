"""tritonclient at a deployment with two revisions that have traffic: each answers for its
version, and both for requests that name none."""

import numpy as np
import tritonclient.grpc
import tritonclient.http
from samples import FACTS

PAIR = FACTS["pair"]
NUMBERS = np.array([1.5, -4], np.float64)
AT_MOST = 400  # requests at 50 %: that all of them go one way doesn't happen


def asked(module, client, **version):
    x = module.InferInput("x", [2], "FP64")
    x.set_data_from_numpy(NUMBERS)
    answer = client.infer("pair", [x], **version)
    response = answer.get_response()
    told = response["model_version"] if isinstance(response, dict) else response.model_version
    assert answer.as_numpy("y").tolist() == (NUMBERS * PAIR["factors"][told]).tolist(), told
    return told


for module in (tritonclient.http, tritonclient.grpc):
    with module.InferenceServerClient(PAIR["at"]) as client:
        for version in PAIR["factors"]:
            assert client.is_model_ready("pair", version)
            for _ in range(20):
                assert asked(module, client, model_version=version) == version
        meta = client.get_model_metadata("pair")
        versions = meta["versions"] if isinstance(meta, dict) else meta.versions
        assert sorted(versions) == ["1", "2"], versions
        seen = set()
        for _ in range(AT_MOST):
            seen.add(asked(module, client))
            if len(seen) == 2:
                break
        assert seen == {"1", "2"}, seen
        index = client.get_model_repository_index()
        listed = index if isinstance(index, list) else index.models
        found = {m["version"] if isinstance(m, dict) else m.version for m in listed}
        assert found == {"1", "2"}, found
print("fine")
