"""Operations by which a graph would reach beyond its inputs: to files, to Python, to other machines.

A SavedModel is a program, some of which runs while it is loaded. What is exported here is arithmetic, tables and
strings, beside what restores its variables; a model with more than that is not one of this suite's, and is not loaded.
"""

import re
from pathlib import Path
from typing import Any

from nlp_lstm.errors import UserError

_FOREIGN = re.compile(
    r"ReadFile|WriteFile|MatchingFiles|.*Reader(V2)?|.*Dataset.*|.*Summary.*|ImportEvent|InitializeTableFromTextFile(V2)?"
    r"|Print(V2)?|Debug.*|PyFunc|EagerPyFunc|PyFuncStateless|Rpc.*|TryRpc|_?(Host)?Send|_?(Host)?Recv|RemoteCall|Save"
    r"|SaveSlices|Restore|RestoreSlice|Gcs.*|BigQuery.*|Lmdb.*|LMDB.*|Configure.*|TPU.*"
)


def refuse_foreign_operations(path: Path) -> None:
    """Refuse a SavedModel whose graph would read or write files, run Python, or reach another machine.

    >>> refuse_foreign_operations(Path("saved_models/sentiment/1"))

    Args:
        path: the SavedModel's folder.

    Raises:
        UserError: naming such operations. What cannot be read is left to who loads it.
    """
    found = sorted(name for name in _operations(path) if _FOREIGN.fullmatch(name))
    if found:
        raise UserError(
            f"the model at '{path}' is refused: it would reach beyond its inputs ({', '.join(found[:5])}): name "
            "a model that this program exported"
        )


def _operations(path: Path) -> set[str]:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString((path / "saved_model.pb").read_bytes())
    except (OSError, DecodeError):
        return set()
    graphs = [meta_graph.graph_def for meta_graph in saved_model.meta_graphs]
    nodes = [node for graph in graphs for part in (graph.node, *_bodies(graph)) for node in part]
    return {node.op for node in nodes}


def _bodies(graph: Any) -> list[Any]:
    return [function.node_def for function in graph.library.function]
