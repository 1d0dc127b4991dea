// Checks of option values that CLI11's own let through.
#pragma once

#include <CLI/CLI.hpp>

namespace exo::app {

// A finite number from `low` to `high`: CLI::Range takes nan.
CLI::Validator Between(double low, double high);
// A whole number that 64 bits hold, with or without sign: CLI11 clips what they do not.
CLI::Validator Whole64();
// A time, as ParseDuration reads it.
CLI::Validator IsDuration();

inline constexpr double kMaxThreads = 1024, kMaxPositions = 1 << 24;

}  // namespace exo::app
