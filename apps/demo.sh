#!/bin/sh
# The main job, end to end, on what is in the repository: train, judge, export, serve from the export, look inside.
# `make demo` calls it with the Python of .venv.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

say() { printf '\n== %s\n' "$*"; }

say "Train on the sample: $(wc -l < nlp_lstm/datasets/sample_reviews.tsv) lines of short reviews, far too few for a good model"
"$PYTHON" apps/sentiment.py train --data sample --run "$out/run" --pretraining-epochs 0 --embedding-size 32 --units 32 \
    --epochs 12 --patience 4 --learning-rate 0.01 --tokens-per-batch 1024 --dropout 0.3 --word-dropout 0.2

say "Judge it on the sample's test split"
"$PYTHON" apps/sentiment.py evaluate --run "$out/run" --data sample --split test

say "Export it, and judge what was exported"
"$PYTHON" apps/sentiment.py export --run "$out/run" --to "$out/saved_models/sentiment"
"$PYTHON" apps/sentiment.py evaluate --model "$out/saved_models/sentiment" --data sample --split test --json

say "The shipped model, trained on 22,492 long reviews, on the same split"
"$PYTHON" apps/sentiment.py evaluate --data sample --split test
"$PYTHON" apps/sentiment.py predict "One of the best films of the year." "A dull, lifeless mess."

say "What its gates do"
"$PYTHON" apps/sentiment.py explain "It isn't a great film, but its heart is in the right place." --plot "$out/gates.png"
mkdir -p build
cp "$out/gates.png" build/gates.png
echo "heat map: build/gates.png"

say "A character language model of a short text: train, export, write"
"$PYTHON" apps/char_lm.py train --data sample --run "$out/char_run" --units 96 --embedding-size 32 --epochs 6 --window 32 \
    --batch-size 8 --averaging 0.9 --learning-rate 0.01 --hidden-dropout 0.1 --output-dropout 0.1 --recurrent-kernel-dropout 0
"$PYTHON" apps/char_lm.py export --run "$out/char_run" --to "$out/saved_models/char_lm"
"$PYTHON" apps/char_lm.py evaluate --model "$out/saved_models/char_lm" --data sample --json
"$PYTHON" apps/char_lm.py generate --model "$out/saved_models/char_lm" --prompt "The ferry" --length 80

say "The shipped one, trained on a million characters of Shakespeare"
"$PYTHON" apps/char_lm.py generate --prompt "ROMEO:" --length 300 --temperature 0.8 --seed 7
"$PYTHON" apps/char_lm.py score "To be, or not to be" "eb ot ton ro ,eb oT"

say "What its units do"
"$PYTHON" apps/char_lm.py generate --prompt "JULIET:" --length 400 --seed 1 > "$out/text.txt"
"$PYTHON" apps/char_lm.py explain --file "$out/text.txt" --follow line_position --count 3 --html "$out/activity.html"
cp "$out/activity.html" build/activity.html
echo "page: build/activity.html"

say "A translator of some hundred sentences: train, export, translate; far too few to translate well"
"$PYTHON" apps/translation.py train --data sample --run "$out/translation_run" --subwords 500 --embedding-size 48 \
    --encoder-units 32 --decoder-units 48 --attention-size 32 --epochs 6 --tokens-per-batch 512 --averaging 0.9 \
    --learning-rate 0.01 --subword-sampling 0
"$PYTHON" apps/translation.py export --run "$out/translation_run" --to "$out/saved_models/translation"
"$PYTHON" apps/translation.py evaluate --model "$out/saved_models/translation" --data sample --split test --json

say "The shipped one, trained on 29,000 captions"
"$PYTHON" apps/translation.py translate "A man is riding a bike." "Two dogs are playing in the snow." --n-best 2

say "What it looked at"
"$PYTHON" apps/translation.py explain "A man is riding a bike." --html "$out/attention.html"
cp "$out/attention.html" build/attention.html
echo "page: build/attention.html"
