"""Time training steps of the character language model beside the same model on `keras.layers.LSTM`.

    python benchmarks/language_model_training.py
    python benchmarks/language_model_training.py --json
    python benchmarks/language_model_training.py --hand-back

Both take turns within one process; the numbers are medians over the rounds. A step is that of `apps/char_lm.py train`
(state carried, Adam, gradient clipped), two LSTMs of 512 units, 32 streams of 128 characters. The rows with a name
behind `nlp_lstm` train in half precision, or with regularisers that Keras's layer does not have. All keep the memory
that they free, as the apps do in training; with `--hand-back` the C library does with it as it does by default.
"""

import argparse
import json
import os
import sys

from measuring import machine, time_in_turns

from nlp_lstm.process_setup import keep_freed_memory

BATCH, WINDOW, SYMBOLS = 32, 128, 66
VARIANTS = {
    "keras": {},
    "nlp_lstm": {},
    "nlp_lstm mixed_bfloat16": {"lstm_dtype": "mixed_bfloat16"},
    "nlp_lstm recurrent_kernel_dropout": {"recurrent_kernel_dropout": 0.4},
    "nlp_lstm zoneout": {"zoneout_hidden": 0.1, "zoneout_cell": 0.1},
    "nlp_lstm layer_normalization": {"layer_normalization": True},
}


def training_step(name):
    """A function that does one training step and waits for it."""
    import keras
    import numpy as np

    from nlp_lstm.models.language_model import CarriedStateTraining, LanguageModel
    from nlp_lstm.training import adam, mean_of_outputs

    dropout = {"input_dropout": 0.1, "hidden_dropout": 0.4, "output_dropout": 0.4}
    model = LanguageModel(SYMBOLS, 128, 512, 2, **dropout, seed=0, **VARIANTS[name])
    if name == "keras":
        model.lstms = [
            keras.layers.LSTM(512, return_sequences=True, return_state=True, dropout=rate) for rate in (0.1, 0.4)
        ]
    trained = CarriedStateTraining(model, BATCH)
    trained.build((BATCH, None))
    trained.compile(
        adam(0.003, 1000, final_share=0.01, clip_norm=1.0, averaging=0.998), loss=mean_of_outputs, jit_compile=False
    )
    ids = np.random.default_rng(0).integers(0, SYMBOLS, (BATCH, WINDOW + 1)).astype(np.int32)
    nothing = np.zeros(BATCH, np.float32)
    return lambda: trained.train_on_batch(ids, nothing)


def main():
    parser = argparse.ArgumentParser(description="Time training steps of the character language model.")
    parser.add_argument("--rounds", type=int, default=9, help="turns each of them takes (default: 9)")
    parser.add_argument("--hand-back", action="store_true", help="hand freed memory back to the system")
    parser.add_argument("--json", action="store_true", help="print one JSON object a row on standard output")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds must be at least 1")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if not arguments.hand_back:
        keep_freed_memory()
    steps = {name: training_step(name) for name in VARIANTS}
    here = machine()
    print(json.dumps(here) if arguments.json else here)
    print(f"timing {', '.join(steps)}", file=sys.stderr)
    medians = time_in_turns(steps, arguments.rounds)
    for name, median in medians.items():
        row = {
            "model": name,
            "milliseconds": round(median * 1e3, 1),
            "chars_per_second": round(BATCH * WINDOW / median, 1),
            "ratio_to_keras": round(medians["keras"] / median, 3),
        }
        print(json.dumps(row) if arguments.json else "  ".join(f"{value!s:>36}" for value in row.values()))


if __name__ == "__main__":
    main()
