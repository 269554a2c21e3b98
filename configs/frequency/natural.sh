#!/usr/bin/env bash
# Do Top-K networks use fewer frequency shortcuts? On CIFAR-10: the network of configs/classifier/tiny.yaml, dense and
# with Top-K 20 % after layer2, three seeds each. Masks are chosen on every other test image and tested on the others.
#
# Command:   bash configs/frequency/natural.sh cifar10 results/frequency/natural
# Data:      cifar10 is a folder with train/<class>/… (500 images each) and test/<class>/… (100 each)
# Hardware:  two CPU cores; per network 82 s of training (configs/classifier/tiny.yaml), 258,000 filtered images for the
#            map, 121,000 for the test
# Result:    the first table of "Do Top-K networks use fewer frequency shortcuts?" in docs/frequency.md
#
# What is done already is not done again, so a stopped run continues.
set -eu
data=${1:-cifar10}
out=${2:-results/frequency/natural}

python evaluate.py frequency adcs --data "$data/test" --size 32 --out "$out/adcs"
for seed in 0 1 2; do
  for kind in dense topk; do
    fraction=0.2
    if [ "$kind" = dense ]; then fraction=1; fi
    network="$out/networks/${kind}_$seed"
    python train.py classifier --config configs/classifier/tiny.yaml --data.path "$data" \
      --topk.fraction "$fraction" --seed "$seed" --out "$network"
    python evaluate.py frequency dfm --data "$data/test" --weights "$network" --patch 1 --select even \
      --out "$out/${kind}_$seed/dfm"
    python evaluate.py frequency test --data "$data/test" --weights "$network" --masks "$out/${kind}_$seed/dfm" \
      --select odd --out "$out/${kind}_$seed/test"
  done
done
python evaluate.py frequency compare --runs "$out"/dense_? "$out"/topk_? --out "$out/compare"
python configs/frequency/tables.py natural "$out"
