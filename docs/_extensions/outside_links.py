"""Links that lead out of `docs/` to other Markdown: on a code host to the file, in the site to a copy of it."""

import re
from typing import Any

_OUTSIDE = re.compile(r"(?<!!)\[([^\]]+)\]\(((?:\.\./)+(?!docs/)[^)#\s]+\.md)\)")


def _to_downloads(app: Any, name: str, source: list[str]) -> None:
    depth = name.count("/")

    def replacement(match: re.Match[str]) -> str:
        text, target = match[1].replace("`", ""), match[2]
        return f"{{download}}`{text} <{target}>`" if target.count("../") > depth else match[0]

    source[0] = _OUTSIDE.sub(replacement, source[0])


def setup(app: Any) -> dict[str, Any]:
    app.connect("source-read", _to_downloads)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
