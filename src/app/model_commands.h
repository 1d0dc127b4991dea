// Commands that write files about models: prepare, quantize, convert.
#pragma once

#include <string>

#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct PrepareOptions {
  std::string model;
  bool remove = false;
  unsigned threads = 0;  // 0: all cores
  bool json = false;
};
// Packs a model for this machine's instruction set once, so that later starts map it; or removes
// that file again.
Result<void> RunPrepare(const Settings& settings, const PrepareOptions& options);

struct QuantizeOptions {
  std::string source;
  std::string target;
  std::string type;      // empty: the matrices stay as they are
  bool force = false;    // replace an existing target
  unsigned threads = 0;  // 0: all cores
  bool json = false;
};
// Writes a model as one GGUF file, its matrices as they are or as another type (store/quantize.h).
Result<void> RunQuantize(const Settings& settings, const QuantizeOptions& options);

}  // namespace exo::app
