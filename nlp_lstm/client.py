"""A client for the served models, be they in TensorFlow Serving or in the playground's server.

>>> with Client("http://localhost:8501") as client:  # doctest: +SKIP
...     client.sentiment(["One of the best films of the year."])
[Sentiment(label='positive', score=0.9904994368553162)]

By REST (`http://`, needs httpx) it works without TensorFlow; `grpc://host:8500` needs grpcio and
tensorflow-serving-api, which imports TensorFlow. `AsyncClient` is the same for asyncio, by REST alone.
"""

import asyncio
import base64
import codecs
import random
import time
from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from nlp_lstm.client_transport import (
    Answer,
    Ask,
    AskInputs,
    Grpc,
    NoSignatureError,
    Patience,
    Rest,
    ServingError,
    checked_url,
    is_grpc,
)
from nlp_lstm.errors import UserError
from nlp_lstm.text.until_stop import UntilStop

__all__ = [
    "AsyncClient",
    "AttendedTranslation",
    "Client",
    "Gates",
    "Likeliest",
    "Patience",
    "PrefixScores",
    "Score",
    "Sentiment",
    "SentimentShares",
    "ServingError",
    "Translation",
]

Text = str | bytes

ROWS = 32
"""Texts of a request: what the server's batching is set to take (`deploy/batching.config`)."""

PADDED_BYTES = 131_072
"""Rows of a request times the bytes of its longest text: padding makes all of them as long."""

SYMBOLS_READ = 2_048
"""Characters of a text that one request to `read` has: four bytes at the most each."""


@dataclass(frozen=True, slots=True)
class Sentiment:
    """The verdict on a text."""

    label: str
    """`positive` or `negative`."""
    score: float
    """P(positive)."""


@dataclass(frozen=True, slots=True)
class SentimentShares:
    """The verdict on a text, and what each of its tokens did."""

    label: str
    score: float
    logit: float
    bias: float
    tokens: tuple[str, ...]
    polarity: np.ndarray
    """Each token's share of the logit, `(tokens,)`: they and the bias add up to it."""
    gates: dict[str, np.ndarray]
    """The mean activity of each gate at each token, `(tokens,)`: `forward_input` and so on."""


@dataclass(frozen=True, slots=True)
class PrefixScores:
    """The verdicts on a text if it ended behind each of its tokens."""

    tokens: tuple[str, ...]
    scores: np.ndarray
    """P(positive) of the text up to each token, `(tokens,)`; -1 where a long text was not read."""


@dataclass(frozen=True, slots=True)
class Likeliest:
    """A prompt and its likeliest continuation."""

    text: str
    log_prob: float
    """Of the continuation, in nats."""


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a model finds a text."""

    bits_per_char: float
    char_log_probs: np.ndarray
    """Natural logarithms, `(symbols,)`."""


@dataclass(frozen=True, slots=True)
class Gates:
    """Every gate and state of every unit after each symbol of a text, `(symbols, layers * units)` each, by name."""

    activity: dict[str, np.ndarray]


@dataclass(frozen=True, slots=True)
class Translation:
    """What a text was translated to."""

    text: str
    score: float
    """Log-probability by the length penalty."""


@dataclass(frozen=True, slots=True)
class AttendedTranslation:
    """A translation, and what was looked at for each piece of it."""

    text: str
    score: float
    source_pieces: tuple[str, ...]
    target_pieces: tuple[str, ...]
    attention: np.ndarray
    """`(source, target)`: each target piece's over the source."""


Asked = TypeVar("Asked")
Result = TypeVar("Result")
Plan = Generator[Ask | AskInputs, Answer, Result]
"""What is asked, in turn, for a result: the same whether one waits for the answers or awaits them."""


def batches(lengths: Sequence[int], rows: int, padded_bytes: int) -> list[list[int]]:
    """The places of texts in batches, texts of like length together: padding is work for nothing.

    >>> batches([3, 100, 5, 4], rows=2, padded_bytes=100)
    [[0, 3], [2], [1]]

    Args:
        lengths: of the texts in bytes.
        rows: texts of a batch at the most.
        padded_bytes: rows times the longest of a batch at the most; a text alone may be longer.
    """
    found: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda one: lengths[one]):
        last = found[-1] if found else []
        if not last or len(last) >= rows or (len(last) + 1) * lengths[place] > padded_bytes:
            last = []
            found.append(last)
        last.append(place)
    return found


class _Plans:
    """What is asked of each app's model, and what is made of the answers."""

    def __init__(self, names: Mapping[str, str], rows: int, padded_bytes: int):
        self._names, self._rows, self._padded_bytes = names, rows, padded_bytes
        self._states: dict[str, dict[str, int]] = {}
        self._spelling: list[bytes] = []

    def _ask(self, app: str, signature: str, inputs: Mapping[str, np.ndarray], only_output: str = "") -> Ask:
        return Ask(self._names.get(app, app), signature, inputs, only_output)

    def _by_length(
        self, app: str, signature: str, texts: Sequence[Text], name: str = "text", only_output: str = "", **more: Any
    ) -> Plan[list[Answer]]:
        """The outputs for each text alone, in the order of the texts; `more` are inputs that are the same for all."""
        packed = [_packed(text) for text in texts]
        answers: list[Answer] = [{} for _ in packed]
        for batch in batches([len(text) for text in packed], self._rows, self._padded_bytes):
            inputs = {
                name: _objects([packed[place] for place in batch]),
                **{key: _taken(value, batch) for key, value in more.items()},
            }
            outputs = yield self._ask(app, signature, inputs, only_output)
            for row, place in enumerate(batch):
                answers[place] = {key: value[row] for key, value in outputs.items()}
        return answers

    def sentiment(self, texts: Sequence[Text]) -> Plan[list[Sentiment]]:
        answers = yield from self._by_length("sentiment", "serving_default", texts)
        return [Sentiment(_text(one["label"]), _float(one["score"])) for one in answers]

    def explain(self, texts: Sequence[Text]) -> Plan[list[SentimentShares]]:
        answers = yield from self._by_length("sentiment", "explain", texts)
        found = []
        for one in answers:
            length = int(one["length"])
            found.append(
                SentimentShares(
                    _text(one["label"]),
                    _float(one["score"]),
                    _float(one["logit"]),
                    _float(one["bias"]),
                    tuple(_text(token) for token in one["tokens"][:length]),
                    _floats(one["polarity"])[:length],
                    {
                        name: _floats(one[name])[:length]
                        for name in sorted(one)
                        if name.startswith(("forward_", "backward_"))
                    },
                )
            )
        return found

    def prefixes(self, texts: Sequence[Text]) -> Plan[list[PrefixScores]]:
        answers = yield from self._by_length("sentiment", "prefixes", texts)
        return [
            PrefixScores(
                tuple(_text(token) for token in one["tokens"][: int(one["length"])]),
                _floats(one["score"])[: int(one["length"])],
            )
            for one in answers
        ]

    def units(self, texts: Sequence[Text]) -> Plan[list[Answer]]:
        return (yield from self._by_length("sentiment", "units", texts))

    def has_signature(self, app: str, signature: str) -> Plan[bool]:
        try:
            yield AskInputs(self._names.get(app, app), signature)
        except NoSignatureError:
            return False
        return True

    def generate(
        self,
        prompts: Sequence[Text],
        length: int,
        temperature: float,
        top_k: int,
        top_p: float,
        seed: int | Sequence[int],
    ) -> Plan[list[str]]:
        rows = len(prompts)
        seeds = np.broadcast_to(np.asarray(seed, np.int32), [rows])
        answers = yield from self._by_length(
            "char_lm",
            "generate",
            prompts,
            "prompt",
            "text",
            length=np.full(rows, length, np.int32),
            temperature=np.full(rows, temperature, np.float32),
            top_k=np.full(rows, top_k, np.int32),
            top_p=np.full(rows, top_p, np.float32),
            seed=seeds,
        )
        return [_text(one["text"]) for one in answers]

    def likeliest(self, prompts: Sequence[Text], length: int, beam_size: int) -> Plan[list[Likeliest]]:
        rows = len(prompts)
        answers = yield from self._by_length(
            "char_lm",
            "likeliest",
            prompts,
            "prompt",
            length=np.full(rows, length, np.int32),
            beam_size=np.full(rows, beam_size, np.int32),
        )
        return [Likeliest(_text(one["text"]), _float(one["log_prob"])) for one in answers]

    def score(self, texts: Sequence[Text]) -> Plan[list[Score]]:
        answers = yield from self._by_length("char_lm", "score", texts)
        return [
            Score(_float(one["bits_per_char"]), _floats(one["char_log_probs"])[: int(one["length"])]) for one in answers
        ]

    def log_probs(self, text: str) -> Plan[np.ndarray]:
        state = yield from self._zero_state()
        outputs = yield self._ask("char_lm", "step", {"char": _objects([b""]), **state})
        found = [np.zeros(0, np.float32)]
        for start in range(0, len(text), SYMBOLS_READ):
            state = {name: _floats(outputs[name]) for name in state}
            piece = _packed(text[start : start + SYMBOLS_READ])
            outputs = yield self._ask("char_lm", "read", {"text": _objects([piece]), **state})
            found.append(_floats(outputs["char_log_probs"])[0, : int(outputs["length"][0])])
        return np.concatenate(found)

    def symbols(self) -> Plan[list[bytes]]:
        if not self._spelling:
            outputs = yield self._ask("char_lm", "encode", {"text": _objects([b""])})
            self._spelling = [_unpacked(one) for one in outputs["symbols_bytes"][0]]
        return self._spelling

    def gates(self, text: Text) -> Plan[Gates]:
        outputs = yield self._ask("char_lm", "gates", {"text": _objects([_packed(text)])})
        length = int(outputs.pop("length")[0])
        return Gates({name: _floats(value)[0, :length] for name, value in outputs.items()})

    def translate(self, texts: Sequence[Text]) -> Plan[list[Translation]]:
        answers = yield from self._by_length("translation", "serving_default", texts)
        return [Translation(_text(one["translation"]), _float(one["score"])) for one in answers]

    def n_best(self, texts: Sequence[Text], beam_size: int) -> Plan[list[list[Translation]]]:
        beam_sizes = np.full(len(texts), beam_size, np.int32)
        answers = yield from self._by_length("translation", "n_best", texts, beam_size=beam_sizes)
        return [
            [
                Translation(_text(text), _float(score))
                for text, score in zip(one["translations"], one["scores"], strict=True)
                if score > -1e8  # beyond it there is none
            ]
            for one in answers
        ]

    def explain_translation(self, texts: Sequence[Text]) -> Plan[list[AttendedTranslation]]:
        answers = yield from self._by_length("translation", "explain", texts)
        found = []
        for one in answers:
            source, target = int(one["source_length"]), int(one["target_length"])
            found.append(
                AttendedTranslation(
                    _text(one["translation"]),
                    _float(one["score"]),
                    tuple(_text(piece) for piece in one["source_pieces"][:source]),
                    tuple(_text(piece) for piece in one["target_pieces"][:target]),
                    _floats(one["attention"])[:source, :target],
                )
            )
        return found

    def _zero_state(self) -> Plan[dict[str, np.ndarray]]:
        model = self._names.get("char_lm", "char_lm")
        if model not in self._states:
            shapes = yield AskInputs(model, "step")
            self._states[model] = {name: shape[1] for name, shape in shapes.items() if name != "char"}
        return {name: np.zeros([1, units], np.float32) for name, units in self._states[model].items()}

    def stream(
        self, prompt: str, length: int, temperature: float, top_k: int, top_p: float, seed: int, stop: str
    ) -> Generator[Ask | AskInputs | str, Any, None]:
        """Like a plan, but with strings among what it yields, that are the text."""
        spelling = yield from self.symbols()
        state = yield from self._zero_state()
        units = prompt.encode("utf-8", "replace") if len(spelling) == 256 else prompt
        chars = [b"", *([bytes([one]) for one in units] if isinstance(units, bytes) else map(_packed, units))]
        drawn, until, number = random.Random(seed), UntilStop(stop), 0
        decoder = codecs.getincrementaldecoder("utf-8")()
        for written in range(-len(chars), length):
            char = chars[written] if written < 0 else spelling[number]
            if written >= 0:
                if told := until.take(decoder.decode(char)):
                    yield told
                if until.ended or written == length - 1:
                    break
            outputs = yield self._ask("char_lm", "step", {"char": _objects([char]), **state})
            state = {name: _floats(outputs[name]) for name in state}
            if written >= -1:
                log_probs = _floats(outputs["log_probs"])[0].astype(np.float64)
                log_probs[_forbidden(spelling, decoder)] = -np.inf
                number = sample(log_probs, temperature, top_k, top_p, drawn.random())
        yield until.rest()


def _forbidden(spelling: Sequence[bytes], decoder: codecs.IncrementalDecoder) -> list[int]:
    """What must not be written next: the unknown character, or a byte that would break UTF-8."""
    if len(spelling) != 256:
        return [0]
    begun = decoder.getstate()[0]
    forbidden = []
    for number, byte in enumerate(spelling):
        try:
            codecs.getincrementaldecoder("utf-8")().decode(begun + byte)
        except UnicodeDecodeError:
            forbidden.append(number)
    return forbidden


def sample(log_probs: np.ndarray, temperature: float, top_k: int, top_p: float, uniform: float) -> int:
    r"""Draw a symbol from :math:`p^{1/\tau}`, cut to its likeliest part, as the models do it in graph.

    >>> sample(np.log([0.1, 0.9]), temperature=1.0, top_k=0, top_p=1.0, uniform=0.95)
    0

    Args:
        log_probs: `(symbols,)`; -inf where a symbol may not stand.
        temperature: 0 takes the likeliest.
        top_k: draw from so many likeliest alone; 0 for all.
        top_p: draw from the likeliest that make up this probability alone; 1 for all.
        uniform: in [0, 1).
    """
    order = np.argsort(-log_probs, kind="stable")
    if temperature <= 0:
        return int(order[0])
    if top_k > 0:
        order = order[:top_k]
    mass = np.exp((log_probs[order] - log_probs[order[0]]) / temperature)
    reach = np.cumsum(mass)
    if top_p < 1:
        kept = int(np.sum(reach - mass < top_p * reach[-1]))
        order, reach = order[:kept], reach[:kept]
    return int(order[np.searchsorted(reach, uniform * reach[-1], side="right")])


class Client:
    """Asks a server and waits for its answers; safe to share among threads.

    >>> client = Client("http://localhost:8501", Patience(timeout=5.0, retries=0))
    >>> client.close()

    Texts may be `str` or `bytes`. Of any number of texts so many are sent at once as a server takes; results have the
    order of the texts. What a model reads of a long text, its card tells.

    Args:
        url: of the server: `http://host:8501`, `https://…` or `grpc://host:8500`.
        patience: how long to wait, and how often to try again (after 503 and errors of the connection alone).
        names: where the server has other names than `sentiment`, `char_lm` and `translation`, from these to those.
        label: of the version to ask, such as `canary`; the latest without one.
        rows: texts of a request at the most.
        padded_bytes: rows times the bytes of the longest text of a request at the most.

    Raises:
        UserError: if the URL is none, or a package is missing; and each method `ServingError`, which is one, if the
            server cannot be reached or refuses.
    """

    def __init__(
        self,
        url: str,
        patience: Patience = Patience(),  # noqa: B008
        names: Mapping[str, str] | None = None,
        label: str = "",
        rows: int = ROWS,
        padded_bytes: int = PADDED_BYTES,
    ):
        url = checked_url(url)
        self._plans = _Plans(names or {}, rows, padded_bytes)
        self._asking = Grpc(url, patience, label) if is_grpc(url) else _RestAsking(url, patience, label)

    def close(self) -> None:
        """Give the connections up."""
        self._asking.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _result(self, plan: Plan[Result]) -> Result:
        plan = _checked(plan, self._asking.url)
        try:
            ask = next(plan)
            while True:
                try:
                    answer = self._asking.ask(ask)
                except NoSignatureError as error:
                    ask = plan.throw(error)
                else:
                    ask = plan.send(answer)
        except StopIteration as end:
            return end.value

    def predict(self, model: str, signature: str, inputs: Mapping[str, Any], only_output: str = "") -> Answer:
        """Any signature of any model: its outputs by name, as they come.

        Args:
            model: by the name that the server has for it.
            signature: its name.
            inputs: arrays `(batch, ...)` by name; lists of text as well.
            only_output: the name of the output, where there is but one: REST leaves it out.
        """
        arrays = {name: _array(value) for name, value in inputs.items()}
        return self._asking.ask(Ask(model, signature, arrays, only_output))

    def sentiment(self, texts: Sequence[Text]) -> list[Sentiment]:
        """Label and P(positive) of each text."""
        return self._result(self._plans.sentiment(texts))

    def explain(self, texts: Sequence[Text]) -> list[SentimentShares]:
        """What each token of each text did for its verdict."""
        return self._result(self._plans.explain(texts))

    def prefixes(self, texts: Sequence[Text]) -> list[PrefixScores]:
        """P(positive) of each text up to each of its tokens; models exported by an earlier version do not tell it."""
        return self._result(self._plans.prefixes(texts))

    def units(self, texts: Sequence[Text]) -> list[Answer]:
        """The units whose shares of each text's logit are the largest: the outputs of `units` for each, by name."""
        return self._result(self._plans.units(texts))

    def has_signature(self, app: str, signature: str) -> bool:
        """Whether the model of an app, by its usual name, has a signature."""
        return self._result(self._plans.has_signature(app, signature))

    def generate(
        self,
        prompts: Sequence[Text],
        length: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:
        """Each prompt with its continuation; a seed settles a text, whatever is asked beside it.

        Args:
            prompts: what to go on with.
            length: symbols to write.
            temperature: 0 takes the likeliest.
            top_k: draw from so many likeliest symbols alone; 0 for all.
            top_p: draw from the likeliest symbols that make up this probability alone; 1 for all.
            seed: one for all prompts, or one for each.
        """
        return self._result(self._plans.generate(prompts, length, temperature, top_k, top_p, seed))

    def stream(
        self,
        prompt: str,
        length: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: str = "",
    ) -> Iterator[str]:
        """Yield the continuation of a prompt character by character, with a request to `step` each.

        The state goes to and fro, the server keeps none. The symbols are drawn here, with Python's random numbers: a
        seed settles the text, but it is another text than that of `generate` (for the temperature 0 it is the same).

        Args:
            prompt: what to go on with.
            length: and the others as in `generate`.
            stop: end before this string.
        """
        streaming = self._plans.stream(prompt, length, temperature, top_k, top_p, seed, stop)
        plan = _checked(streaming, self._asking.url)
        answer: Answer | None = None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(step, str):
                if step:
                    yield step
            else:
                answer = self._asking.ask(step)

    def likeliest(self, prompts: Sequence[Text], length: int = 200, beam_size: int = 4) -> list[Likeliest]:
        """Each prompt with the continuation that the model finds likeliest, as far as a beam search sees."""
        return self._result(self._plans.likeliest(prompts, length, beam_size))

    def score(self, texts: Sequence[Text]) -> list[Score]:
        """How likely the model finds each symbol of each text; of a long one its beginning (8,192 symbols)."""
        return self._result(self._plans.score(texts))

    def log_probs(self, text: str) -> np.ndarray:
        """The log-probability of each symbol of a text of any length, `(symbols,)`, by repeated `read`."""
        return self._result(self._plans.log_probs(text))

    def symbols(self) -> list[bytes]:
        """What each id of the character model stands for."""
        return self._result(self._plans.symbols())

    def gates(self, text: Text) -> Gates:
        """Every gate and state of every unit while a text is read (1,024 symbols, 85 MB of JSON, at the most)."""
        return self._result(self._plans.gates(text))

    def translate(self, texts: Sequence[Text]) -> list[Translation]:
        """The best translation of each text."""
        return self._result(self._plans.translate(texts))

    def n_best(self, texts: Sequence[Text], beam_size: int = 5) -> list[list[Translation]]:
        """The best translations of each text, at most `beam_size`, the best first."""
        return self._result(self._plans.n_best(texts, beam_size))

    def explain_translation(self, texts: Sequence[Text]) -> list[AttendedTranslation]:
        """The best translation of each text, and what was looked at for each piece of it."""
        return self._result(self._plans.explain_translation(texts))


class AsyncClient:
    """`Client` for asyncio, by REST.

    >>> async def label():
    ...     async with AsyncClient("http://localhost:8501") as client:
    ...         return (await client.sentiment(["A fine film."]))[0].label
    >>> asyncio.run(label())  # doctest: +SKIP
    'positive'

    Args and errors are those of `Client`.
    """

    def __init__(
        self,
        url: str,
        patience: Patience = Patience(),  # noqa: B008
        names: Mapping[str, str] | None = None,
        label: str = "",
        rows: int = ROWS,
        padded_bytes: int = PADDED_BYTES,
    ):
        url = checked_url(url)
        if is_grpc(url):
            raise UserError(f"AsyncClient speaks REST alone, got '{url}': name the server's REST port, or take Client")
        self._httpx = _httpx()
        self._rest, self._patience = Rest(url, label), patience
        self._plans = _Plans(names or {}, rows, padded_bytes)
        self._client = self._httpx.AsyncClient(timeout=patience.timeout)

    async def close(self) -> None:
        """Give the connections up."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _ask(self, ask: Ask | AskInputs) -> Answer:
        method, url, body = self._rest.request(ask)
        for tries in range(1, self._patience.retries + 2):
            is_last = tries > self._patience.retries
            try:
                answer = await self._client.request(method, url, content=body, headers=_HEADERS)
            except self._httpx.TimeoutException:
                raise self._rest.timed_out(self._patience.timeout) from None
            except self._httpx.TransportError as error:
                if is_last:
                    raise self._rest.unreachable(error) from None
                await asyncio.sleep(self._patience.pause(tries))
                continue
            if answer.status_code != 503 or is_last:
                return self._rest.answer(ask, answer.status_code, answer.content)
            await asyncio.sleep(self._patience.pause(tries, answer.headers.get("retry-after")))
        raise AssertionError("the last try returns or raises")

    async def _result(self, plan: Plan[Result]) -> Result:
        plan = _checked(plan, self._rest.url)
        try:
            ask = next(plan)
            while True:
                try:
                    answer = await self._ask(ask)
                except NoSignatureError as error:
                    ask = plan.throw(error)
                else:
                    ask = plan.send(answer)
        except StopIteration as end:
            return end.value

    async def predict(self, model: str, signature: str, inputs: Mapping[str, Any], only_output: str = "") -> Answer:
        """See `Client.predict`."""
        arrays = {name: _array(value) for name, value in inputs.items()}
        return await self._ask(Ask(model, signature, arrays, only_output))

    async def sentiment(self, texts: Sequence[Text]) -> list[Sentiment]:
        """See `Client.sentiment`."""
        return await self._result(self._plans.sentiment(texts))

    async def explain(self, texts: Sequence[Text]) -> list[SentimentShares]:
        """See `Client.explain`."""
        return await self._result(self._plans.explain(texts))

    async def prefixes(self, texts: Sequence[Text]) -> list[PrefixScores]:
        """P(positive) of each text up to each of its tokens; models exported by an earlier version do not tell it."""
        return await self._result(self._plans.prefixes(texts))

    async def units(self, texts: Sequence[Text]) -> list[Answer]:
        """The units whose shares of each text's logit are the largest: the outputs of `units` for each, by name."""
        return await self._result(self._plans.units(texts))

    async def has_signature(self, app: str, signature: str) -> bool:
        """Whether the model of an app, by its usual name, has a signature."""
        return await self._result(self._plans.has_signature(app, signature))

    async def generate(
        self,
        prompts: Sequence[Text],
        length: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int | Sequence[int] = 0,
    ) -> list[str]:
        """See `Client.generate`."""
        return await self._result(self._plans.generate(prompts, length, temperature, top_k, top_p, seed))

    async def stream(
        self,
        prompt: str,
        length: int = 200,
        temperature: float = 0.8,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
        stop: str = "",
    ) -> AsyncIterator[str]:
        """See `Client.stream`."""
        streaming = self._plans.stream(prompt, length, temperature, top_k, top_p, seed, stop)
        plan = _checked(streaming, self._rest.url)
        answer: Answer | None = None
        while True:
            try:
                step = plan.send(answer)
            except StopIteration:
                return
            answer = None
            if isinstance(step, str):
                if step:
                    yield step
            else:
                answer = await self._ask(step)

    async def likeliest(self, prompts: Sequence[Text], length: int = 200, beam_size: int = 4) -> list[Likeliest]:
        """See `Client.likeliest`."""
        return await self._result(self._plans.likeliest(prompts, length, beam_size))

    async def score(self, texts: Sequence[Text]) -> list[Score]:
        """See `Client.score`."""
        return await self._result(self._plans.score(texts))

    async def log_probs(self, text: str) -> np.ndarray:
        """See `Client.log_probs`."""
        return await self._result(self._plans.log_probs(text))

    async def symbols(self) -> list[bytes]:
        """See `Client.symbols`."""
        return await self._result(self._plans.symbols())

    async def gates(self, text: Text) -> Gates:
        """See `Client.gates`."""
        return await self._result(self._plans.gates(text))

    async def translate(self, texts: Sequence[Text]) -> list[Translation]:
        """See `Client.translate`."""
        return await self._result(self._plans.translate(texts))

    async def n_best(self, texts: Sequence[Text], beam_size: int = 5) -> list[list[Translation]]:
        """See `Client.n_best`."""
        return await self._result(self._plans.n_best(texts, beam_size))

    async def explain_translation(self, texts: Sequence[Text]) -> list[AttendedTranslation]:
        """See `Client.explain_translation`."""
        return await self._result(self._plans.explain_translation(texts))


_HEADERS = {"content-type": "application/json"}


class _RestAsking:
    """Asks by REST and waits."""

    def __init__(self, url: str, patience: Patience, label: str):
        self._httpx = _httpx()
        self.url, self._rest, self._patience = url, Rest(url, label), patience
        self._client = self._httpx.Client(timeout=patience.timeout)

    def close(self) -> None:
        self._client.close()

    def ask(self, ask: Ask | AskInputs) -> Answer:
        method, url, body = self._rest.request(ask)
        for tries in range(1, self._patience.retries + 2):
            is_last = tries > self._patience.retries
            try:
                answer = self._client.request(method, url, content=body, headers=_HEADERS)
            except self._httpx.TimeoutException:
                raise self._rest.timed_out(self._patience.timeout) from None
            except self._httpx.TransportError as error:
                if is_last:
                    raise self._rest.unreachable(error) from None
                time.sleep(self._patience.pause(tries))
                continue
            if answer.status_code != 503 or is_last:
                return self._rest.answer(ask, answer.status_code, answer.content)
            time.sleep(self._patience.pause(tries, answer.headers.get("retry-after")))
        raise AssertionError("the last try returns or raises")


def _httpx() -> Any:
    try:
        import httpx
    except ModuleNotFoundError:
        raise UserError('a server is asked by httpx, which is not installed: pip install "nlp_lstm[client]"') from None
    return httpx


def _checked(plan: Generator[Asked, Any, Result], url: str) -> Generator[Asked, Any, Result]:
    """A plan that tells of answers without what it looks for."""
    try:
        return (yield from plan)
    except (KeyError, IndexError, TypeError) as error:
        raise ServingError(
            f"the server at '{url}' answers otherwise than a model of this app ({type(error).__name__}: {error}): look "
            "what it serves"
        ) from None


def _packed(text: Text) -> bytes:
    """Bytes of a text; what came from a command line may hold any, as lone surrogates."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _objects(values: Sequence[bytes]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = list(values)
    return array


def _array(value: Any) -> np.ndarray:
    if isinstance(value, Sequence) and value and isinstance(value[0], str | bytes):
        return _objects([_packed(one) for one in value])
    return np.asarray(value)


def _taken(value: np.ndarray, places: list[int]) -> np.ndarray:
    return value[places]


def _text(value: Any) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _unpacked(value: Any) -> bytes:
    """Of an output in bytes: base64 in REST."""
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else bytes(value)


def _float(value: Any) -> float:
    return float(np.float32(value))


def _floats(value: Any) -> np.ndarray:
    return np.asarray(value, np.float32)
