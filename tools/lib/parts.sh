# Sourced by tools/test and tools/test-more: runs named parts, times them, counts them.
# One cache for every clone: paths inside the tree do not count. Without a preprocessor run of its own a miss costs a sixth less.
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_DEPEND=1
parts_passed=0
parts_failed=0
parts_summary=""
parts_failures=""
parts_again=""

# count NAME EXIT SECONDS: one part is over.
count() {
  local line
  line=$(printf '%-28s %5.1f min' "$1" "$(awk "BEGIN{print $3/60}")")
  if [ "$2" -eq 0 ]; then
    parts_passed=$((parts_passed + 1))
  else
    parts_failed=$((parts_failed + 1))
    line="$line  FAILED (exit $2)"
    parts_failures="$parts_failures$line"$'\n'
  fi
  parts_summary="$parts_summary$line"$'\n'
}

# parts_together: a part for each line "NAME|COMMAND" of standard input, as many at once as there are cores. Not for what
# measures time.
parts_together() {
  local folder names=() name command i
  folder=$(mktemp -d)
  while IFS='|' read -r name command; do
    i=${#names[@]}
    names+=("$name")
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    (
      start=$SECONDS rc=0
      bash -c "$command" >"$folder/$i.log" 2>&1 </dev/null || rc=$?
      echo "$rc $((SECONDS - start))" >"$folder/$i.end"
    ) &
  done
  wait
  for i in "${!names[@]}"; do
    echo "== ${names[$i]}"
    cat "$folder/$i.log"
    rc=1 seconds=0  # what left no end has failed
    read -r rc seconds <"$folder/$i.end" || true
    count "${names[$i]}" "$rc" "$seconds"
  done
  rm -r "$folder"
}

# part NAME COMMAND...: runs it; a failure is counted and the run goes on, except that without a build
# nothing else makes sense.
part() {
  local name=$1 start=$SECONDS rc=0
  shift
  echo "== $name"
  "$@" || rc=$?
  count "$name" "$rc" "$((SECONDS - start))"
  case "$name:$rc" in
    packages:0|configure*:0|build*:0) ;;
    packages:*|configure*:*|build*:*) finish ;;
  esac
  return 0
}

# part_by_clock NAME COMMAND...: for what a clock or a socket rules, which a machine that stands still for a while can fail.
# A failed expectation (exit 1) gets a second try, and the summary names those that needed it: one that is named again and
# again is a defect. A crash or a sanitizer's report (any other exit) gets none: a race need not show itself twice.
part_by_clock() {
  local name=$1 start=$SECONDS rc=0
  shift
  echo "== $name"
  "$@" || rc=$?
  if [ "$rc" -eq 1 ]; then
    echo "== $name again"
    rc=0
    "$@" || rc=$?
    [ "$rc" -ne 0 ] || parts_again="$parts_again $name,"
  fi
  count "$name" "$rc" "$((SECONDS - start))"
  return 0
}

# The failures once more at the end: whoever sees only the last lines must not have to guess.
finish() {
  printf '\n%s' "$parts_summary"
  echo "$parts_passed passed, $parts_failed failed"
  [ -z "$parts_again" ] || echo "passed at the second try:${parts_again%,}"
  printf '%s' "$parts_failures"
  [ "$parts_failed" -eq 0 ]
  exit $?
}
