"""Counters of the two processes; kserve's `/metrics` shows them with its own latencies."""

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# The transformer's.
IMAGES = Counter("etchline_images", "Images answered", ["answer"])  # networks or degraded
CELLS = Counter("etchline_cells", "Cells of answered images, by what was taken for them", ["source"])
FLAGGED = Counter("etchline_cells_flagged", "Cells that a person must look at, by reason", ["reason"])
DEGRADED = Counter("etchline_degraded", "Images that the networks could not be asked about", ["fault"])
ERRORS = Counter("etchline_errors", "Requests without an answer, by kind", ["kind"])
CONFIDENCE = Histogram(
    "etchline_cell_confidence", "Confidence of cells", buckets=[step / 20 for step in range(1, 21)]
)
IMAGE_SECONDS = Histogram("etchline_image_seconds", "From an image's arrival to its answer", buckets=_SECONDS)
STAGE_SECONDS = Histogram("etchline_stage_seconds", "Parts of an image's way", ["stage"], buckets=_SECONDS)
CALL_SECONDS = Histogram("etchline_call_seconds", "Calls to the predictor", ["role"], buckets=_SECONDS)
CALL_FAILURES = Counter("etchline_call_failures", "Calls to the predictor that failed, by status", ["status"])

# The predictor's.
BATCH_VIEWS = Histogram(
    "etchline_batch_views", "Views that went together", ["role"], buckets=(1, 2, 4, 8, 16, 32, 64)
)
BATCH_REQUESTS = Counter("etchline_batch_requests", "Requests that went through a network", ["role"])
BATCHES = Counter("etchline_batches", "Batches that went through a network", ["role"])
INFERENCE_SECONDS = Histogram(
    "etchline_inference_seconds", "A batch's time in the engine", ["role"], buckets=_SECONDS
)
WAITING_VIEWS = Gauge("etchline_waiting_views", "Views that wait for the engine")
REFUSED_VIEWS = Counter("etchline_refused_views", "Views refused because the queue was full")
