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
"$PYTHON" apps/sentiment.py evaluate --run "$out/run" --data sample

say "Export it, and judge what was exported"
"$PYTHON" apps/sentiment.py export --run "$out/run" --to "$out/saved_models/sentiment"
"$PYTHON" apps/sentiment.py evaluate --model "$out/saved_models/sentiment" --data sample --json

say "The shipped model, trained on 22,492 long reviews, on the same split"
"$PYTHON" apps/sentiment.py evaluate --data sample
"$PYTHON" apps/sentiment.py predict "One of the best films of the year." "A dull, lifeless mess."

say "What its gates do"
"$PYTHON" apps/sentiment.py explain "It isn't a great film, but its heart is in the right place." --plot "$out/gates.png"
mkdir -p build
cp "$out/gates.png" build/gates.png
echo "heat map: build/gates.png"
