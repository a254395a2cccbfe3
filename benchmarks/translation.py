"""Time an exported translator, the same search as a Python loop over Keras calls, and subwords in graph.

    python benchmarks/translation.py
    python benchmarks/translation.py --source-file ../shared/data/multi30k/test_2016_flickr.en.gz --json

All take turns within one process, so that a machine which slows down slows all of them down; the numbers are medians
over the rounds. The Keras model is given the weights of the exported one, and finds translations of the same scores. So
is JoeyNMT's, where that is installed (`joeynmt_translator.py` says how).
"""

import argparse
import dataclasses
import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import joeynmt_translator
import numpy as np
from measuring import machine, rates_in_turns

SHIPPED = Path(__file__).resolve().parent.parent / "saved_models" / "translation"
BEAM, ROWS = 5, 64
LOOPED = 24  # sentences that the loops translate, spread over all


def parse_arguments():
    parser = argparse.ArgumentParser(
        description="Time an exported translator.",
        epilog="""\
fields
  sentences_per_second                 of the `n_best` signature of the SavedModel, beam 5, 64 sentences of like length
                                       at once
  single_sentences_per_second          the same, one sentence at once
  loop_sentences_per_second            a Python loop over `predict_on_batch` of the same Keras model, one sentence at
                                       once, as tutorials do it; this, and what goes by it, of float32 models alone
  batched_loop_sentences_per_second    the same loop over 24 sentences at once
  times_loop                           sentences_per_second / loop_sentences_per_second
  single_times_loop                    single_sentences_per_second / loop_sentences_per_second
  joeynmt_sentences_per_second         JoeyNMT's beam search with the same weights, 64 sentences at once, on their ids
                                       (subwords are not in its time)
  single_joeynmt_sentences_per_second  the same, one sentence at once
  times_joeynmt                        sentences_per_second / joeynmt_sentences_per_second
  single_times_joeynmt                 single_sentences_per_second / single_joeynmt_sentences_per_second
  median_joeynmt_score_difference      of a translation's score without coverage penalty, which it lacks, to the loop's
  largest_score_difference             between the scores of the loop and of the graph: they search alike
  subword_sentences_per_minute         of the `encode` signature, 512 sentences at once""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, default=SHIPPED, help="a SavedModel or a folder of versions")
    parser.add_argument("--source-file", type=Path, help="a sentence a line (default: the packaged sample)")
    parser.add_argument("--rounds", type=int, default=5, help="turns each of them takes (default: 5)")
    parser.add_argument("--intra-op", type=int, default=0, help="TensorFlow's threads within an operation (0: its own)")
    parser.add_argument("--inter-op", type=int, default=0, help="TensorFlow's threads for operations side by side")
    parser.add_argument("--json", action="store_true", help="print one JSON object on standard output")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    return arguments


def sentences_of(path):
    from nlp_lstm.datasets.compressed import open_decompressed
    from nlp_lstm.datasets.pairs import load_pairs

    if path is None:
        sample = load_pairs("sample", ["train", "validation", "test"])
        return [sentence for pairs in sample.values() for sentence in pairs.source]
    with open_decompressed(path) as stream:
        return [line for line in stream.read().decode("utf-8", "replace").split("\n") if line.strip()]


def keras_model(folder, saved):
    """The translator that a SavedModel holds, and its length and coverage penalty, by its model card.

    None for an ensemble, separate subwords, additive attention and narrow arithmetic, with which the loop cannot go on.
    """
    from nlp_lstm.translation.build import Vocabularies, build_model
    from nlp_lstm.translation.settings import Settings

    card = (folder / "assets.extra" / "model_card.md").read_text(encoding="utf-8")
    penalties = [float(value) for value in re.findall(r"^- (?:length|coverage) penalty: (.*)$", card, re.MULTILINE)]
    given = dict(re.findall(r"^- `(\w+)`: (.*)$", card, flags=re.MULTILINE))
    kinds = {field.name: type(field.default) for field in dataclasses.fields(Settings)}
    settings = Settings(
        **{
            name: given[name] == "True" if kind is bool else kind(given[name])
            for name, kind in kinds.items()
            if given.get(name, "None") != "None"  # one that is None, or younger than the model
        }
    )
    if len(saved.resources) > 2 or settings.separate_subwords:
        return None
    held = saved.resources[0]
    is_laid_out = not isinstance(held, Sequence)  # as exports are since weights are laid out for use
    if is_laid_out and (settings.attention != "dot" or not is_float32(held)):
        return None
    # There may be fewer subwords than were asked for; the embedding tells.
    embedding = held.others["embedding"] if is_laid_out else held[1]
    settings = dataclasses.replace(settings, subwords=embedding.shape[0])
    if is_laid_out:
        settings = dataclasses.replace(settings, attention_size=settings.decoder_units)  # keys hold the query's weights
    model = build_model(settings, Vocabularies(*2 * [range(settings.subwords)]))
    if is_laid_out:
        take_from_layout(model, held)
    else:
        for weight, variable in zip(model.weights, list(held), strict=True):
            weight.assign(variable)
    return model, *penalties


def is_float32(held):
    values = getattr(held.matrices["decoder"], "values", None)
    return values is not None and values.dtype.name == "float32"


def take_from_layout(model, held):
    """Give a Keras model the weights that `nlp_lstm.translation.folded_translator` laid out, in another order."""
    matrix = lambda name: held.matrices[name].values.numpy()  # noqa: E731
    bias = lambda name: held.matrices[name].bias.numpy()  # noqa: E731
    model.embedding.embeddings.assign(held.others["embedding"])
    model.output_bias.assign(held.others["output_bias"])
    for layer, directions in enumerate(model.encoder, start=1):
        kernels, biases = np.split(matrix(f"encoder_{layer}"), 2, axis=1), np.split(bias(f"encoder_{layer}"), 2)
        for name, direction, kernel, of_gates in zip(("forward", "backward"), directions, kernels, biases, strict=True):
            direction.cell.kernel.assign(kernel)
            direction.cell.bias.assign(of_gates)
            direction.cell.recurrent_kernel.assign(matrix(f"{name}_{layer}"))
    for name, layer in (("hidden_bridge", model.hidden_bridge), ("cell_bridge", model.cell_bridge)):
        layer.kernel.assign(matrix(name))
        layer.bias.assign(bias(name))
    decoder, units = model.decoder, model.settings["decoder_units"]
    kernel, recurrent_kernel = np.split(matrix("decoder"), [-units])
    decoder.cell.kernel.assign(kernel)
    decoder.cell.recurrent_kernel.assign(recurrent_kernel)
    decoder.cell.bias.assign(held.others["gate_bias"])
    keys, of_context = np.split(matrix("memory"), [units], axis=1)
    model.keys.kernel.assign(keys)
    decoder.query.kernel.assign(units**0.5 * np.eye(units))
    decoder.combine.kernel.assign(np.concatenate([matrix("combine"), of_context]))
    decoder.combine.bias.assign(bias("combine"))


class Loop:
    """Beam search as a Python loop over two Keras models, an encoder and a step, as tutorials write it."""

    def __init__(self, translator, alpha, beta):
        import keras
        from keras import ops

        from nlp_lstm.models.translator import DecoderState, Memory

        class Encoder(keras.Model):
            def call(self, source):
                memory, state = translator.encode(source)
                return (*memory, *state)

        class Step(keras.Model):
            def call(self, inputs):
                ids, hidden, cell, attended, *memory = inputs
                log_probs, state, attention = translator.step(
                    ids, DecoderState(hidden, cell, attended), Memory(*memory)
                )
                return (ops.convert_to_tensor(log_probs), attention, *state)

        self.encoder, self.step = Encoder(), Step()
        self.alpha, self.beta = alpha, beta

    def scores(self, source):
        """The score of the best translation of each row of source ids `(batch, S)`."""
        from nlp_lstm.text.subwords import BEGINNING, END, PADDING, UNKNOWN
        from nlp_lstm.translation.serving import LONGEST_TRANSLATION

        rows = len(source)
        *memory, hidden, cell, attended = self.encoder.predict_on_batch(source)
        state = [np.repeat(part, BEAM, axis=0) for part in (hidden, cell, attended)]
        longest = np.minimum(2 * (source != 0).sum(axis=1) + 10, LONGEST_TRANSLATION)
        ids = np.full((rows, BEAM), BEGINNING)
        scores = np.where(np.arange(BEAM) == 0, 0.0, -np.inf) + np.zeros((rows, 1))
        texts = [[[] for _ in range(BEAM)] for _ in range(rows)]
        done = [[] for _ in range(rows)]
        never = [PADDING, UNKNOWN, BEGINNING]
        coverage = np.zeros((rows, BEAM, source.shape[1]))
        for t in range(longest.max()):
            log_probs, attention, *state = self.step.predict_on_batch((ids.reshape(-1), *state, *memory))
            log_probs = log_probs.reshape(rows, BEAM, -1).astype(np.float64)
            log_probs[..., never] = -np.inf
            coverage += attention
            looked_at = np.where(source[:, None] != PADDING, np.log(np.clip(coverage, 1e-6, 1.0)), 0.0).sum(axis=2)
            last = t + 1 >= longest
            log_probs[last] = np.where(np.arange(log_probs.shape[2]) == END, log_probs[last], -np.inf)
            extended = (scores[..., None] + log_probs).reshape(rows, -1)
            places = np.zeros((rows, BEAM), int)
            for row in range(rows):
                order = np.argsort(-extended[row], kind="stable")[: 2 * BEAM]
                parents, symbols = np.divmod(order, log_probs.shape[2])
                is_going_on = len(done[row]) < BEAM  # all that end at one step count
                for rank, (parent, symbol) in enumerate(zip(parents, symbols, strict=True)):
                    if symbol == END and rank < BEAM and is_going_on and extended[row, order[rank]] > -np.inf:
                        score = extended[row, order[rank]] / ((5 + t + 1) / 6) ** self.alpha
                        score += self.beta * looked_at[row, parent]
                        done[row].append((score, [*texts[row][parent], END]))
                kept = [rank for rank in range(len(order)) if symbols[rank] != END][:BEAM]
                places[row] = parents[kept]
                ids[row], scores[row] = symbols[kept], extended[row, order[kept]]
                texts[row] = [[*texts[row][parents[rank]], symbols[rank]] for rank in kept]
            flat = (places + BEAM * np.arange(rows)[:, None]).reshape(-1)
            state = [part[flat] for part in state]
            coverage = np.take_along_axis(coverage, places[..., None], axis=1)
            if all(len(found) >= BEAM for found in done):
                break
        return np.array([max(found)[0] for found in done])


def main():
    arguments = parse_arguments()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(arguments.intra_op)
    tf.config.threading.set_inter_op_parallelism_threads(arguments.inter_op)
    here = machine()
    from nlp_lstm import saved_model

    folder = saved_model.resolve(arguments.model)
    saved = saved_model.load(folder, "n_best", "encode")
    n_best, encode = saved.signatures["n_best"], saved.signatures["encode"]
    sentences = sorted(sentences_of(arguments.source_file), key=len)
    looped = sentences[:: max(1, len(sentences) // LOOPED)][:LOOPED]
    found = keras_model(folder, saved)
    if found is None:
        print("the loops are left out: they take a single model in float32 with shared subwords", file=sys.stderr)
    loop = found and Loop(*found)
    joeynmt = None
    if found and joeynmt_translator.is_installed():
        joeynmt = joeynmt_translator.JoeyNMT(found[0], found[1], BEAM, arguments.intra_op)

    def in_batches(texts, rows):
        return [tf.constant(texts[start : start + rows]) for start in range(0, len(texts), rows)]

    def in_graph(texts, rows):
        batches = in_batches(texts, rows)

        def translate():
            answers = [n_best(text=batch, beam_size=tf.fill([len(batch)], BEAM)) for batch in batches]
            return np.concatenate([answer["scores"].numpy()[:, 0] for answer in answers])

        return translate, len(texts)

    def looping(rows):
        sources = encoded(looped, rows)
        return lambda: np.concatenate([loop.scores(source) for source in sources]), len(looped)

    def encoded(texts, rows):
        return [encode(text=batch)["ids"].numpy() for batch in in_batches(texts, rows)]

    def in_joeynmt(texts, rows):
        sources = encoded(texts, rows)
        return lambda: [joeynmt.translate(source) for source in sources], len(texts)

    def encoding():
        texts = (sentences * (1 + 4096 // len(sentences)))[:4096]
        batches = in_batches(texts, 512)
        return lambda: [encode(text=batch)["ids"].numpy() for batch in batches], len(texts)

    calls = {
        "sentences_per_second": in_graph(sentences, ROWS),
        "single_sentences_per_second": in_graph(looped, 1),
        "subword_sentences_per_second": encoding(),
    }
    differences = {}
    if loop:
        calls["loop_sentences_per_second"] = looping(1)
        calls["batched_loop_sentences_per_second"] = looping(LOOPED)
        difference = np.abs(in_graph(looped, ROWS)[0]() - looping(LOOPED)[0]()).max()
        differences = {"largest_score_difference": float(difference)}
    if joeynmt:
        calls["joeynmt_sentences_per_second"] = in_joeynmt(sentences, ROWS)
        calls["single_joeynmt_sentences_per_second"] = in_joeynmt(looped, 1)
        (source,) = encoded(looped, LOOPED)
        difference = np.median(np.abs(joeynmt.translate(source)[1] - Loop(*found[:2], 0.0).scores(source)))
        differences["median_joeynmt_score_difference"] = float(difference)
    print(f"timing {', '.join(calls)}", file=sys.stderr)
    rates = rates_in_turns(calls, arguments.rounds)
    subwords_encoded = rates.pop("subword_sentences_per_second")
    times = {}
    for name in ("", "single_"):
        rate = rates[f"{name}sentences_per_second"]
        if loop:
            times[f"{name}times_loop"] = round(rate / rates["loop_sentences_per_second"], 1)
        if joeynmt:
            times[f"{name}times_joeynmt"] = round(rate / rates[f"{name}joeynmt_sentences_per_second"], 2)
    result = {
        "machine": here,
        "threads": {"intra_op": arguments.intra_op, "inter_op": arguments.inter_op},
        "sentences": len(sentences),
        **{name: round(rate, 2) for name, rate in rates.items()},
        **times,
        **differences,
        "subword_sentences_per_minute": round(60 * subwords_encoded),
    }
    if arguments.json:
        print(json.dumps(result))
        return
    for key, value in result.items():
        print(f"{key:36} {value}")


if __name__ == "__main__":
    main()
