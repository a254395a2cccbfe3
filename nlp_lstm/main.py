"""The command `nlp-lstm`: the three apps under one name, wherever the package is installed."""

import sys


def main(arguments: list[str] | None = None, program: str = "nlp-lstm") -> int:
    """Run an app and return the exit status, as `nlp_lstm.cli.run` does; 2 where the apps' packages are missing.

    >>> main(["--version"])
    0.1.0
    0
    """
    try:
        from nlp_lstm import __version__, cli
        from nlp_lstm.bulk.commands import app as bulk
        from nlp_lstm.char_lm.commands import app as char_lm
        from nlp_lstm.playground.commands import app as playground
        from nlp_lstm.sentiment.commands import app as sentiment
        from nlp_lstm.translation.commands import app as translation
    except ModuleNotFoundError as error:
        missing = str(error.name).partition(".")[0]
        if missing == "nlp_lstm":
            raise
        told = (
            f'{program}: the apps need packages that are not installed, such as {missing}: pip install "nlp_lstm[apps]"'
        )
        print(told, file=sys.stderr)
        return 2
    app = cli.App(name=program, help="One LSTM layer, three applications.", version=__version__)
    named = {"sentiment": sentiment, "char-lm": char_lm, "translation": translation, "playground": playground}
    named["bulk"] = bulk
    for name, one in named.items():
        app.command(one, name=name)
    return cli.run(app, arguments)
