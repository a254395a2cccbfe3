"""How much a request to the playground's server may ask for."""

LARGEST_BODY = 8 * 1024 * 1024
"""Bytes of a request."""

MOST_ROWS = 128

MOST_PADDED_BYTES = {"gates": 4_096, "score": 131_072, "read": 131_072, "explain": 131_072}
"""Of several texts in one request, rows times the bytes of the longest, by signature: padding makes all as long.
One text alone is always taken, since the models cut it themselves."""

MOST_PADDED_BYTES_ELSEWHERE = 524_288

SECONDS = 30.0
"""Time for a request, waiting counted in, as TensorFlow Serving gives by default."""

WORKERS = 4
"""Requests under way at once: one that takes long leaves room for others."""

WAITING = 32
"""Requests that wait for a worker; more are refused at once."""
