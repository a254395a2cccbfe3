"""A request that cannot be answered: its HTTP status and what is told."""


class RefusedError(Exception):
    """Becomes `{"error": message}` with a status, as TensorFlow Serving answers.

    >>> raise RefusedError(404, "no model 'x'")
    Traceback (most recent call last):
    nlp_lstm.playground.refusal.RefusedError: no model 'x'

    The statuses are TensorFlow Serving's for its codes: 400 for INVALID_ARGUMENT and FAILED_PRECONDITION, 404 for
    NOT_FOUND, 501 UNIMPLEMENTED, 503 UNAVAILABLE, 504 DEADLINE_EXCEEDED; and 413 for a body that is too large.
    """

    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message
