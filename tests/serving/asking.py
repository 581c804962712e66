"""How the tests ask the service: over real sockets, by the means that every client has."""

import base64
import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass

import cv2
import numpy as np

from tests.segmentation.drawing import tracks

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
INFER = "/v2/models/etchline/infer"
PREDICT = "/v1/models/etchline:predict"


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    def output(self, name):
        (data,) = (output["data"] for output in self.json["outputs"] if output["name"] == name)
        return data

    def picture(self, name):
        return decode(base64.b64decode(self.output(name)[0]))

    @property
    def record(self):
        return json.loads(self.output("record")[0])


def ask(url, body=None, headers=None, patient=False):
    """A POST, or a GET without a body; 4xx and 5xx come back like any reply.

    With `patient`, nobody there is a reply, too, of status 0.
    """
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json", **(headers or {})})
    try:
        with OPENER.open(request, timeout=60) as response:
            return Reply(response.status, response.read())
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.read())
    except urllib.error.URLError:
        if not patient:
            raise
        return Reply(0, b"")


def infer_body(png, outputs=(), **parameters):
    body = {
        "inputs": [
            {
                "name": "image",
                "shape": [1],
                "datatype": "BYTES",
                "data": [base64.b64encode(png).decode()],
            }
        ]
    }
    if outputs:
        body["outputs"] = [{"name": name} for name in outputs]
    return {**body, "parameters": parameters} if parameters else body


def decode(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)


def metric(url, sample):
    """The value of a sample such as `etchline_cells_total{source="patch"}`; 0 where it is not there yet."""
    text = ask(f"{url}/metrics").body.decode()
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, flags=re.MULTILINE)
    return float(found[1]) if found else 0.0


def scan(height=150, width=210, seed=0):
    """A drawn image that is not square: tracks with a gap, a bridge, dirt and a dark corner."""
    image = tracks(height, width, seed=seed).astype(np.int32)
    image[60:64, :60] = 60
    image[100:103, 90:140] = 140
    rng = np.random.default_rng(seed)
    image[:50, 150:] += rng.normal(0, 25, (50, width - 150)).astype(np.int32)
    image[-40:, :] -= 30
    return np.clip(image, 0, 255).astype(np.uint8)
