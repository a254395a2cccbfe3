"""A server of canned answers, made of the standard library alone, that remembers what it was asked."""

import base64
import contextlib
import http.server
import json
import math
import threading


class FakeServer:
    """Answers by `answer(method, path, body)`: an object, or a status and an object, bytes or headers with it.

    `asked` holds what came in, `(method, path, body)`, bodies as JSON.
    """

    def __init__(self, answer):
        self.asked = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body go out together: else each answer waits for an acknowledgement of the first

            def do(self):
                size = int(self.headers.get("content-length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                outer.asked.append((self.command, self.path, body))
                found = answer(self.command, self.path, body)
                if found is None:  # the connection breaks
                    self.close_connection = True
                    return
                status, content, *headers = found if isinstance(found, tuple) else (200, found)
                packed = content if isinstance(content, bytes) else json.dumps(content).encode()
                self.send_response(status)
                for name, value in dict(*headers).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(packed)))
                self.end_headers()
                self.wfile.write(packed)

            do_GET = do_POST = do

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self):
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._server.shutdown()
            self._server.server_close()


def sentiment_answer(body):
    """What a model would say that goes by the lengths of texts."""
    texts = body["inputs"]["text"]
    score = [len(text) / 1000 for text in texts]
    return {"outputs": {"label": ["positive" if one > 0.5 else "negative" for one in score], "score": score}}


LETTERS = [b"\xef\xbf\xbd", *(bytes([one]) for one in b"abcdefghij")]


def counting_model(method, path, body):
    """A model whose state counts the symbols that it has read, and for which the next letter is likeliest."""
    if path.endswith("/metadata"):
        dims = {"tensor_shape": {"dim": [{"size": "-1"}, {"size": "1"}]}}
        inputs = {"char": {"tensor_shape": {"dim": [{"size": "-1"}]}}, "hidden_1": dims, "cell_1": dims}
        return {"metadata": {"signature_def": {"signature_def": {"step": {"inputs": inputs}}}}}
    if body["signature_name"] == "encode":
        spelled = [{"b64": base64.b64encode(one).decode()} for one in LETTERS]
        return {"outputs": {"ids": [[0]], "length": [0], "symbols_bytes": [spelled]}}
    inputs = body["inputs"]
    (read,) = inputs["hidden_1"][0]
    (char,) = inputs["char"]
    assert read == inputs["cell_1"][0][0]
    assert (char == "") == (read == 0)
    place = 0 if char == "" else LETTERS.index(char.encode())
    log_probs = [math.log(0.9 if one == place % 10 + 1 else 0.01) for one in range(len(LETTERS))]
    log_probs[0] = 0.0  # the unknown character, which must not be written
    state = {name: [[read + 1]] for name in ("hidden_1", "cell_1")}
    return {"outputs": {"log_probs": [log_probs], **state}}
