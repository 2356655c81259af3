"""tritonclient at a deployment that asks for a token."""

import sys

import numpy as np
import tritonclient.grpc
import tritonclient.http
from samples import FACTS
from tritonclient.utils import InferenceServerException

BLEND = FACTS["blend"]
NOBODY = {
    tritonclient.http: ("401", "known token"),
    tritonclient.grpc: ("StatusCode.UNAUTHENTICATED", "known token"),
}

for module, (status, words) in NOBODY.items():
    with module.InferenceServerClient(BLEND["at"]) as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        inputs = []
        for name in ("image", "scale"):
            array = np.array(BLEND[name], np.float32)
            inputs.append(module.InferInput(name, list(array.shape), "FP32"))
            inputs[-1].set_data_from_numpy(array)
        for headers in (None, {"authorization": "Bearer something"}):
            try:
                client.infer("blend", inputs, headers=headers)
            except InferenceServerException as error:
                assert error.status() == status, error
                assert words in error.message(), error
            else:
                raise AssertionError("it wasn't refused")
        known = {"authorization": f"Bearer {sys.argv[2]}"}
        answer = client.infer("blend", inputs, headers=known)
        assert answer.as_numpy("sum").tolist() == BLEND["sum"]
        assert client.is_model_ready("blend", headers=known)
print("fine")
