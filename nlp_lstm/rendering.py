"""The package's templates filled in: pages for the browser and model cards."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def rendered(package: str, template: str, **parts: Any) -> str:
    """A template of one of the packages, filled in; in one for HTML what is filled in is text, and no markup.

    >>> print(rendered("nlp_lstm.pictures", "page.html", title="<b>", style=""))  # doctest: +ELLIPSIS
    <!DOCTYPE html>
    ...
    <title>&lt;b&gt;</title>
    ...

    Args:
        package: the package in whose folder `templates` it lies.
        template: its file's name.
        parts: what its names stand for; `markupsafe.Markup` is filled in as it is.

    Raises:
        jinja2.UndefinedError: for a name of the template's that was not given.
    """
    return _environment(package).get_template(template).render(parts)


@cache
def _environment(package: str) -> Environment:
    return Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
