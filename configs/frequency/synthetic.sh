#!/usr/bin/env bash
# Do networks find a planted frequency, and does Top-K change what they lean on? On the band-biased sets Syn_1 to Syn_4:
# the network of configs/classifier/synthetic.yaml, dense and with Top-K 20 % after layer2, three seeds each.
#
# Command:   bash configs/frequency/synthetic.sh syn results/frequency/synthetic
# Data:      made by the first line
# Hardware:  two CPU cores; per network 40 s of training, 21,000 filtered images for the map, 4,000 for the bands
# Result:    the second table of "Do Top-K networks use fewer frequency shortcuts?" in docs/frequency.md
#
# What is done already is not done again, so a stopped run continues.
set -eu
data=${1:-syn}
out=${2:-results/frequency/synthetic}

python synthesize.py band-sets --out "$data"
for seed in 0 1 2; do
  for kind in dense topk; do
    fraction=0.2
    if [ "$kind" = dense ]; then fraction=1; fi
    for band in 1 2 3 4; do
      run="syn_${band}_${kind}_$seed"
      python train.py classifier --config configs/classifier/synthetic.yaml --data.path "$data/syn_$band" \
        --topk.fraction "$fraction" --seed "$seed" --out "$out/networks/$run"
      python evaluate.py frequency bands --data "$data/syn_$band/test" --weights "$out/networks/$run" \
        --out "$out/$run/bands"
      if [ "$seed" = 0 ]; then
        python evaluate.py frequency dfm --data "$data/syn_$band/test" --weights "$out/networks/$run" --patch 1 \
          --per_class 10 --out "$out/$run/dfm"
      fi
    done
  done
done
python configs/frequency/tables.py synthetic "$out"
