// Commands that write files about models: prepare.
#pragma once

#include <string>

#include "base/result.h"

namespace exo::app {

struct PrepareOptions {
  std::string model;
  bool remove = false;
  unsigned threads = 0;  // 0: all cores
  bool json = false;
};
// Packs a model for this machine's instruction set once, so that later starts map it; or removes that file again.
Result<void> RunPrepare(const PrepareOptions& options);

}  // namespace exo::app
