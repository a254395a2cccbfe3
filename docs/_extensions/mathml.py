"""Formulas as MathML, which browsers set by themselves: no script, and nothing loaded from elsewhere."""

from typing import Any

from docutils import nodes
from latex2mathml.converter import convert


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    formula = node.astext().strip()
    if ("&" in formula or r"\\" in formula) and r"\begin" not in formula:
        formula = rf"\begin{{align*}}{formula}\end{{align*}}"
    # A formula wider than a telephone is moved in a box of its own, which the keyboard reaches.
    writer.body.append('<div class="formula" tabindex="0" role="group" aria-label="formula">')
    writer.body.append(convert(formula, display="block"))
    writer.body.append("</div>\n")
    raise nodes.SkipNode


def setup(app: Any) -> dict[str, Any]:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
