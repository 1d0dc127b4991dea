#!/usr/bin/env bash
# fuzz/smoke.sh [seconds]: builds every fuzz target with sanitizers and runs each for that long (default 30)
# over a copy of its kept corpus. New inputs stay in the build folder; a crash leaves its input there and fails.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-30}
build=${EXO_FUZZ_BUILD:-build/fuzz}
cmake -S . -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="${CXX:-clang++-19}" -DEXO_FUZZ=ON -DEXO_TESTS=OFF \
  -DEXO_SANITIZE=address,undefined >/dev/null
targets=()
for source in fuzz/*_fuzz.cc; do targets+=("$(basename "$source" .cc)"); done
ninja -C "$build" "${targets[@]}"
for target in "${targets[@]}"; do
  subject=${target%_fuzz}
  mkdir -p "$build/corpus/$subject" "$build/findings"
  kept=()
  [ -d "fuzz/corpus/$subject" ] && kept=("fuzz/corpus/$subject")
  echo "== $target: $seconds s"
  "$build/fuzz/$target" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$build/findings/$target-" "$build/corpus/$subject" "${kept[@]}" 2>"$build/$target.log" ||
    { tail -50 "$build/$target.log"; exit 1; }
  grep -E "number_of_executed_units|average_exec_per_sec" "$build/$target.log"
done
