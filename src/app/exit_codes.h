// Exit codes of the program (docs/cli.md).
#pragma once

#include "base/result.h"

namespace exo::app {

inline constexpr int kExitOk = 0;
inline constexpr int kExitError = 1;     // it was understood and failed
inline constexpr int kExitUsage = 2;     // wrong command line or value
inline constexpr int kExitNoNode = 3;    // no node runs on this machine
inline constexpr int kExitNotFound = 4;  // no such model, file or device
inline constexpr int kExitNoPlan = 5;    // does not fit, or busy
inline constexpr int kExitInterrupted = 130;

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
    case ErrorCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitError;
  }
}

}  // namespace exo::app
