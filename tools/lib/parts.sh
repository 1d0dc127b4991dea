# Sourced by tools/test and tools/test-more: runs named parts, times them, counts them.
# One cache for every clone: paths inside the tree do not count. Without a preprocessor run of its own a miss costs a sixth less.
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros CCACHE_DEPEND=1
parts_passed=0
parts_failed=0
parts_summary=""
parts_failures=""
parts_again=""
parts_logs=$(mktemp -d)
trap 'rm -rf "$parts_logs"' EXIT

# logged NAME COMMAND...: runs it, and keeps what it prints for the end, should it fail. Does not wait for what holds its
# output longer than itself.
logged() {
  local log="$parts_logs/$1"
  shift
  "$@" > >(tee "$log") 2>&1
}

# count NAME EXIT SECONDS: one part is over.
count() {
  local line
  line=$(printf '%-28s %5.1f min' "$1" "$(awk "BEGIN{print $3/60}")")
  if [ "$2" -eq 0 ]; then
    parts_passed=$((parts_passed + 1))
  else
    parts_failed=$((parts_failed + 1))
    line="$line  FAILED (exit $2)"
    parts_failures="$parts_failures$line"$'\n'"$(tail -n 60 "$parts_logs/$1" 2>/dev/null)"$'\n'
  fi
  parts_summary="$parts_summary$line"$'\n'
}

# record FOLDER NAME COMMAND...: runs it for a part that is counted later: what it prints goes to FOLDER/NAME.log and, once it
# has ended, its exit status and seconds to FOLDER/NAME.end.
record() {
  local folder=$1 name=$2 start=$SECONDS rc=0
  shift 2
  "$@" >"$folder/$name.log" 2>&1 </dev/null || rc=$?
  echo "$rc $((SECONDS - start))" >"$folder/$name.ending"
  mv "$folder/$name.ending" "$folder/$name.end"
}

# record_together FOLDER: records each line "NAME|COMMAND" of standard input, as many at once as there are cores. Not for what
# measures time.
record_together() {
  local folder=$1 name command
  while IFS='|' read -r name command; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
    record "$folder" "$name" bash -c "$command" &
  done
  wait
}

# part_recorded FOLDER NAME: what was recorded becomes a part; what left no end has failed.
part_recorded() {
  local rc=1 seconds=0
  echo "== $2"
  tee "$parts_logs/$2" <"$1/$2.log"
  [ ! -e "$1/$2.end" ] || read -r rc seconds <"$1/$2.end"
  count "$2" "$rc" "$seconds"
  needed "$2" "$rc"
}

# parts_together: a part for each line "NAME|COMMAND" of standard input.
parts_together() {
  local folder lines line
  folder=$(mktemp -d)
  mapfile -t lines
  printf '%s\n' "${lines[@]}" | record_together "$folder"
  for line in "${lines[@]}"; do part_recorded "$folder" "${line%%|*}"; done
  rm -r "$folder"
}

# start_aside: the checks of tools/test-aside begin, unless whoever called this program began them; they end with it.
start_aside() {
  [ -z "${PARTS_ASIDE:-}" ] || return 0
  rm -rf build/aside  # what an earlier run recorded
  set -m  # a group of processes of its own, which can be ended as one
  tools/test-aside &
  set +m
  export PARTS_ASIDE=$!
  trap 'kill -- "-$PARTS_ASIDE" 2>/dev/null; rm -rf "$parts_logs"' EXIT
}

# part_aside NAME: waits for a check of tools/test-aside.
part_aside() {
  local waited=0
  while [ ! -e "build/aside/$1.end" ] && kill -0 "$PARTS_ASIDE" 2>/dev/null; do
    sleep 1
    waited=$((waited + 1))
    [ $((waited % 60)) -ne 0 ] || echo "waiting for $1: $(tail -n 1 build/aside/"$1".log 2>/dev/null)"
  done
  part_recorded build/aside "$1"
}

# part NAME COMMAND...: runs it; a failure is counted and the run goes on, unless it is needed.
part() {
  local name=$1 start=$SECONDS rc=0
  shift
  echo "== $name"
  logged "$name" "$@" || rc=$?
  count "$name" "$rc" "$((SECONDS - start))"
  needed "$name" "$rc"
}

# needed NAME EXIT: without packages and a build nothing else makes sense.
needed() {
  case "$1:$2" in
    packages:0|configure*:0|build*:0) ;;
    packages:*|configure*:*|build*:*) finish ;;
  esac
}

# part_by_clock NAME COMMAND...: for what a clock or a socket rules, which a machine that stands still for a while can fail.
# A failed expectation (exit 1) gets a second try, and the summary names those that needed it: one that is named again and
# again is a defect. A crash or a sanitizer's report (any other exit) gets none: a race need not show itself twice.
part_by_clock() {
  local name=$1 start=$SECONDS rc=0
  shift
  echo "== $name"
  logged "$name" "$@" || rc=$?
  if [ "$rc" -eq 1 ]; then
    echo "== $name again"
    rc=0
    logged "$name" "$@" || rc=$?
    [ "$rc" -ne 0 ] || parts_again="$parts_again $name,"
  fi
  count "$name" "$rc" "$((SECONDS - start))"
  return 0
}

# The failures once more at the end, with the last that they printed: whoever sees only the last lines must not have to guess.
finish() {
  printf '\n%s' "$parts_summary"
  echo "$parts_passed passed, $parts_failed failed"
  [ -z "$parts_again" ] || echo "passed at the second try:${parts_again%,}"
  printf '%s' "$parts_failures"
  [ "$parts_failed" -eq 0 ]
  exit $?
}
