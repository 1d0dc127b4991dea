# Sourced by tools/test and tools/test-more: runs named parts, times them, counts them.
# One cache for every clone: paths inside the tree do not count.
export CCACHE_BASEDIR="$PWD" CCACHE_NOHASHDIR=1 CCACHE_SLOPPINESS=pch_defines,time_macros
parts_passed=0
parts_failed=0
parts_summary=""

# part NAME COMMAND...: runs it; a failure is counted and the run goes on, except that without a build
# nothing else makes sense.
part() {
  local name=$1 start=$SECONDS rc=0
  shift
  echo "== $name"
  "$@" || rc=$?
  local line
  line=$(printf '%-28s %5.1f min' "$name" "$(awk "BEGIN{print ($SECONDS-$start)/60}")")
  if [ "$rc" -eq 0 ]; then
    parts_passed=$((parts_passed + 1))
  else
    parts_failed=$((parts_failed + 1))
    line="$line  FAILED (exit $rc)"
  fi
  parts_summary="$parts_summary$line"$'\n'
  case "$name:$rc" in
    packages:0|configure*:0|build*:0) ;;
    packages:*|configure*:*|build*:*) finish ;;
  esac
  return 0
}

finish() {
  printf '\n%s' "$parts_summary"
  echo "$parts_passed passed, $parts_failed failed"
  [ "$parts_failed" -eq 0 ]
  exit $?
}
