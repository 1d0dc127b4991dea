// Exit codes of the program: docs/cli.md and the manual pages have the same table.
#pragma once

#include "base/result.h"

namespace exo::app {

inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitNoNode = 3;
inline constexpr int kExitNotFound = 4;
inline constexpr int kExitNoPlan = 5;
inline constexpr int kExitDenied = 6;
inline constexpr int kExitInterrupted = 130;

struct ExitMeaning {
  int code;
  const char* meaning;
};
inline constexpr ExitMeaning kExitMeanings[] = {
    {kExitOk, "done"},
    {kExitError, "it was understood and failed"},
    {kExitUsage,
     "wrong command line, a value out of range, or an input that cannot be used (a broken file, a "
     "prompt beyond the context)"},
    {kExitNoNode, "no node runs on this machine, or it went away"},
    {kExitNotFound, "no such model, file or device"},
    {kExitNoPlan,
     "does not fit, busy, the model runs with another context, KV type, draft or adapters, or the "
     "data folder is held by another exo"},
    {kExitDenied, "not allowed: the node does not take this machine's token, or the key's scope"},
    {kExitInterrupted, "interrupted"}};

constexpr int ExitCodeFor(ErrorCode code) {
  switch (code) {
    case ErrorCode::kInvalid:
      return kExitUsage;
    case ErrorCode::kNotFound:
      return kExitNotFound;
    case ErrorCode::kOverloaded:
      return kExitNoPlan;
    case ErrorCode::kDisconnected:
      return kExitNoNode;
    case ErrorCode::kDenied:
      return kExitDenied;
    case ErrorCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitError;
  }
}

}  // namespace exo::app
