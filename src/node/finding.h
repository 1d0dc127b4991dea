// One result of `exo doctor`: something that was looked at, how it is, and what to do about it.
#pragma once

#include <cstdint>
#include <string>

namespace exo::node {

enum class FindingState : uint8_t { kOk, kWarning, kProblem, kUnknown };
constexpr const char* FindingStateName(FindingState state) {
  constexpr const char* kNames[] = {"ok", "warning", "problem", "unknown"};
  return kNames[static_cast<size_t>(state)];
}

struct Finding {
  std::string id;  // of what was looked at: "disk", "clock", …
  FindingState state = FindingState::kOk;
  std::string title;   // in a few words: "the disk is nearly full"
  std::string detail;  // with the values
  std::string fix;     // what to do; empty: nothing
};

}  // namespace exo::node
