"""What a part of the soak found: figures, and faults, which fail it."""

import dataclasses
import sys
from typing import Any


@dataclasses.dataclass
class Findings:
    """Of one part."""

    part: str
    figures: dict[str, Any] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)

    def check(self, holds: bool, told: str) -> bool:
        """Note, and tell on standard error, a fault where something does not hold, which is also returned."""
        if not holds:
            self.faults.append(told[:2000])
            print(f"{self.part}: {told[:2000]}", file=sys.stderr, flush=True)
        return holds

    def count(self, name: str, more: int = 1) -> None:
        self.figures[name] = self.figures.get(name, 0) + more

    def largest(self, name: str, value: float) -> None:
        self.figures[name] = max(self.figures.get(name, 0.0), round(value, 3))


def table(all_findings: list[Findings]) -> str:
    """As Markdown, for `docs/results.md`."""
    lines = ["| part | figures | faults |", "|---|---|---|"]
    for found in all_findings:
        figures = "; ".join(f"{name} {value}" for name, value in found.figures.items())
        lines.append(f"| {found.part} | {figures} | {len(found.faults)} |")
    return "\n".join(lines)
