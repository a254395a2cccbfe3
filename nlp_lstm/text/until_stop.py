"""A text that comes in pieces, up to a string at which it ends."""


class UntilStop:
    """Tells of a text what stands before a string as soon as that is certain.

    >>> until = UntilStop("END")
    >>> [until.take(piece) for piece in ("on an", "d on", " E", "very", " EN", "D, no more")]
    ['on ', 'and ', 'on', ' Eve', 'ry ', '']
    >>> until.ended
    True

    Args:
        stop: the string; "" for none, with which every piece is told at once.
    """

    def __init__(self, stop: str):
        self.ended = False
        """Whether the string has come: there is nothing to be told any more."""
        self._stop = stop
        self._held = ""  # it may be the beginning of the string

    def take(self, piece: str) -> str:
        """What is known to stand before the string: of this piece, and of what was held back of those before it."""
        if self.ended:
            return ""
        self._held += piece
        found = self._held.find(self._stop) if self._stop else -1
        self.ended = found >= 0
        ready = found if self.ended else max(0, len(self._held) - max(0, len(self._stop) - 1))
        told, self._held = self._held[:ready], self._held[ready:]
        return told

    def rest(self) -> str:
        """What was held back, once no more comes."""
        return "" if self.ended else self._held
