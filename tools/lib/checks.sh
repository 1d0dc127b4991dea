# Sourced by tools/test-more and tools/test-aside: what is built and run by sanitizers and on other processors.
export EXO_SHARED="${EXO_SHARED:-$PWD/../shared}"
# A report ends with another code than a failed expectation (TSan: 66).
export ASAN_OPTIONS=detect_leaks=1:exitcode=86 LSAN_OPTIONS=exitcode=86 UBSAN_OPTIONS=print_stacktrace=1:exitcode=86
CLANG="cmake -G Ninja -DCMAKE_CXX_COMPILER=clang++-19 -S ."

# Everything but the slow whole models.
ASAN_CLOCK="sys_test net_test node_test service_test engine_test"
ASAN_ASIDE="kernels_test sim_test backend_test model_test store_test cluster_test app_test"
ASAN_ASIDE+=" checkpoint_test fetch_test tensor_test damaged_gguf_test wire_test base_test grammar_test chat_test"
# Four minutes of chat_test: the calls of 65 families. The others there run the same code.
ASAN_SLOW="CallGrammarTest.WhateverItAllowsIsReadBackAsCalls"
# Seven minutes of engine_test that no clock rules.
ASAN_LONG="Formats/*:Kinds/ServingTest*"
# What has threads. Nine formats of weights and one kind of model for all switches are enough here: they differ in code that
# knows no threads.
TSAN_TESTS="sys_test net_test engine_test node_test store_test backend_test service_test"
TSAN_FILTER='*:-Formats/*/9:Formats/*/1?:Kinds/ServingTest.*/1:Kinds/ServingTest.*/2'
# Whole models included: their logits must have the bits that tests/golden recorded on x86.
ARM_TESTS="tensor_test kernels_test model_test golden_test"
ARM_RUN="qemu-aarch64 -L build/sysroot-arm64"
# `make test-whole` sets it. Else, for CI, the long ones are shorter: fewer seeds, and on Arm's further processors only what
# differs there, which is the kernels.
EXO_WHOLE="${EXO_WHOLE:-}"
ASAN_SEEDS=$([ -n "$EXO_WHOLE" ] && echo 200 || echo 50)

# binary FOLDER TEST: where it was built.
binary() { find "$1" -maxdepth 2 -name "$2" -type f; }

# asan_aside, arm_tests: lines "NAME|COMMAND". Arm's processors stand for the three kernel sets, which kernels_test must find.
asan_aside() {
  local test
  echo "asan engine_test, long|build/asan/engine_test --gtest_brief=1 --gtest_filter='$ASAN_LONG'"
  for test in $ASAN_ASIDE; do
    echo "asan $test|EXO_SIM_SEEDS=$ASAN_SEEDS $(binary build/asan "$test") --gtest_brief=1 --gtest_filter='-$ASAN_SLOW'"
  done
}

arm_tests() {
  local processor test tests
  for processor in cortex-a53:neon cortex-a76:neon-dotprod max:neon-i8mm; do
    tests=$ARM_TESTS
    [ -n "$EXO_WHOLE" ] || [ "$processor" = max:neon-i8mm ] || tests=kernels_test
    for test in $tests; do
      echo "${processor%:*} $test|EXO_BEST_ISA=${processor#*:} qemu-aarch64 -cpu ${processor%:*} -L build/sysroot-arm64" \
        "$(binary build/arm "$test") --gtest_brief=1"
    done
  done
}
