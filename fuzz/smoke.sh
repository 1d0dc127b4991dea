#!/usr/bin/env bash
# fuzz/smoke.sh [seconds [seed] | --build]: builds every fuzz target, in the build folder of the ASan tests, and (unless
# --build) runs each for that long (default 30) over a copy of its kept corpus, as many at once as there are cores. A seed
# makes a run begin as the last one with it did; without one, each looks elsewhere. New inputs stay in the build folder; a
# crash leaves its input there and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
seed=${2:-0}
build=${EXO_FUZZ_BUILD:-build/asan}
cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="${CXX:-clang++-19}" -DEXO_FUZZ=ON -DEXO_TESTS=ON \
  -DEXO_UNITY=ON -DEXO_SANITIZE=address,undefined >/dev/null
targets=()
for source in fuzz/*_fuzz.cc; do targets+=("$(basename "$source" .cc)"); done
ninja -C "$build" "${targets[@]}"
[ "$seconds" != --build ] || exit 0

# smoke TARGET: its log and, in TARGET.end, its exit status.
smoke() {
  local target=$1 subject=${1%_fuzz} kept=() status=0
  mkdir -p "$build/corpus/$subject" "$build/findings"
  rm -f "$build/$target.end"
  [ -d "fuzz/corpus/$subject" ] && kept=("fuzz/corpus/$subject")
  "$build/fuzz/$target" -max_total_time="$seconds" -seed="$seed" -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$build/findings/$target-" "$build/corpus/$subject" "${kept[@]}" 2>"$build/$target.log" || status=$?
  echo "$status" >"$build/$target.end"
}

for target in "${targets[@]}"; do
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
  smoke "$target" &
done
wait
failed=""
for target in "${targets[@]}"; do
  echo "== $target: $seconds s"
  if [ "$(cat "$build/$target.end")" != 0 ]; then  # absent: failed too
    tail -50 "$build/$target.log"
    failed="$failed$target: $(grep -m 1 '^SUMMARY' "$build/$target.log" || echo 'no end')"$'\n'
  fi
  grep -E "number_of_executed_units|average_exec_per_sec" "$build/$target.log" || true
done
printf '%s' "$failed"
[ -z "$failed" ]
