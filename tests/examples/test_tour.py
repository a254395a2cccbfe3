"""The notebook runs from top to bottom."""

from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

TOUR = Path(__file__).resolve().parents[2] / "examples" / "tour.ipynb"


@pytest.mark.thorough
def test_the_tour_runs_from_top_to_bottom():
    notebook = nbformat.read(TOUR, as_version=4)
    nbformat.validate(notebook)
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(TOUR.parent)}})
    client.execute()  # a cell that fails raises
    printed = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "Ein Mann fährt Fahrrad." in printed
    assert "ROMEO:" in printed
