"""JoeyNMT's recurrent model and its beam search with the weights of a translator of ours.

    pip install --no-deps joeynmt==2.3.0 subword-nmt sacremoses "importlib_metadata<9" zipp

(`--no-deps`: JoeyNMT asks for a protobuf that TensorFlow does not work with, and the search needs none.) Its decoder's
attentional vector is as wide as its LSTM; ours is as wide as the embedding: zeros fill what is missing. It has no bias
at the output and begins its cell like its hidden state; both are added here, so that it finds the translations that the
exported graph finds, with as many steps.
"""

from types import SimpleNamespace

import numpy as np


def is_installed():
    try:
        import joeynmt.search  # noqa: F401
    except ImportError:
        return False
    return True


class JoeyNMT:
    """The model of `nlp_lstm.models.Translator` in JoeyNMT; `threads` 0 leaves torch's own number of threads."""

    def __init__(self, translator, alpha, beam, threads=0):
        import torch
        from joeynmt.model import build_model

        from nlp_lstm.text.subwords import BEGINNING, END, PADDING, UNKNOWN

        if threads:
            torch.set_num_threads(threads)
        self.alpha, self.beam, self.torch = alpha, beam, torch
        settings = translator.settings
        units, width, size = settings["decoder_units"], settings["embedding_size"], settings["vocabulary_size"]
        vocabulary = _Vocabulary(size, pad=PADDING, bos=BEGINNING, eos=END, unk=UNKNOWN)
        embeddings = {"embedding_dim": width}
        self.model = build_model(
            {
                "tied_embeddings": True,
                "encoder": {
                    "rnn_type": "lstm",
                    "embeddings": embeddings,
                    "hidden_size": settings["encoder_units"],
                    "num_layers": settings["encoder_layers"],
                    "bidirectional": True,
                },
                "decoder": {
                    "type": "recurrent",
                    "rnn_type": "lstm",
                    "embeddings": embeddings,
                    "hidden_size": units,
                    "attention": "luong",
                    "input_feeding": True,
                    "init_hidden": "bridge",
                },
            },
            vocabulary,
            vocabulary,
        ).eval()
        self._take_weights(translator, units, width, size)

    def _take_weights(self, translator, units, width, size):
        torch, encoder, decoder = self.torch, self.model.encoder, self.model.decoder
        given = lambda values: torch.tensor(np.array(values, np.float32))  # noqa: E731
        table = given(translator.embedding.embeddings)
        kernel = np.array(translator.decoder.cell.kernel)  # (2 E, 4 U)
        fed = np.zeros((width + units, kernel.shape[1]), np.float32)
        fed[: 2 * width] = kernel
        combine = np.zeros((units, units + 2 * translator.settings["encoder_units"]), np.float32)
        combine[:width] = np.array(translator.decoder.combine.kernel).T
        combine_bias = np.zeros(units, np.float32)
        combine_bias[:width] = np.array(translator.decoder.combine.bias)
        output = torch.nn.Linear(units, size)
        # Scores are q·k / sqrt(A) with the query's own weights; JoeyNMT has weights for the keys alone.
        query = np.array(translator.decoder.query.kernel)
        keys = np.array(translator.keys.kernel) @ query.T / np.sqrt(query.shape[1])
        with torch.no_grad():
            self.model.src_embed.lut.weight.copy_(table)
            for layer, directions in enumerate(translator.encoder):
                for suffix, direction in zip(("", "_reverse"), directions, strict=True):
                    _take_lstm(encoder.rnn, f"l{layer}{suffix}", direction.cell, direction.cell.kernel, given)
            _take_lstm(decoder.rnn, "l0", translator.decoder.cell, fed, given)
            decoder.att_vector_layer.weight.copy_(given(combine))
            decoder.att_vector_layer.bias.copy_(given(combine_bias))
            decoder.attention.key_layer.weight.copy_(given(keys.T))
            output.weight.zero_()
            output.weight[:, :width] = table
            output.bias.copy_(given(translator.output_bias))
        decoder.output_layer = output
        last = {}
        encoder.rnn.register_forward_hook(lambda module, inputs, outputs: last.update(state=outputs[1]))
        hidden_bridge, cell_bridge = (
            (given(bridge.kernel), given(bridge.bias)) for bridge in (translator.hidden_bridge, translator.cell_bridge)
        )

        def first_state(encoder_hidden):
            cell = torch.cat(tuple(last["state"][1][-2:]), dim=1)
            hidden = torch.tanh(torch.addmm(hidden_bridge[1], encoder_hidden, hidden_bridge[0]))
            return hidden[None], torch.addmm(cell_bridge[1], cell, cell_bridge[0])[None]

        decoder._init_hidden = first_state

    def translate(self, source):
        """The ids and the score of the best translation of each row of source ids `(batch, S)`, padded with 0."""
        from joeynmt.search import search

        order = np.argsort(-(source != 0).sum(axis=1), kind="stable")  # longest first, as its encoder wants them
        ids = self.torch.tensor(source[order].astype(np.int64))
        batch = SimpleNamespace(
            src=ids, src_length=(ids != 0).sum(dim=1), src_mask=(ids != 0)[:, None], has_trg=False, trg_prompt_mask=None
        )
        longest = int(2 * batch.src_length.max() + 10)
        found, scores, _ = search(
            self.model,
            batch,
            longest,
            self.beam,
            self.alpha,
            generate_unk=False,
            min_output_length=0,
            return_prob="hyp",
        )
        back = np.argsort(order)
        return found[back], np.array(scores).reshape(len(source), -1)[back, 0]


def _take_lstm(rnn, name, cell, kernel, given):
    """Keras's order of the gates (input, forget, candidate, output) is torch's; torch has a second bias."""
    getattr(rnn, f"weight_ih_{name}").copy_(given(kernel).T)
    getattr(rnn, f"weight_hh_{name}").copy_(given(cell.recurrent_kernel).T)
    getattr(rnn, f"bias_ih_{name}").copy_(given(cell.bias))
    getattr(rnn, f"bias_hh_{name}").zero_()


class _Vocabulary:
    """As much of JoeyNMT's vocabulary as its model reads: ids, for the texts are subwords already."""

    specials, lang_tags, sep_index = (), (), None

    def __init__(self, size, pad, bos, eos, unk):
        self.size, self.pad_index, self.bos_index, self.eos_index, self.unk_index = size, pad, bos, eos, unk

    def __len__(self):
        return self.size
