// The commands about API keys: exo key add, list, rm (key_keeper.h says where the keys are).
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace exo::app {

struct KeyOptions {
  std::string name;
  std::vector<std::string> scopes = {};  // empty: infer
  std::string rate, quota;               // as typed; empty: no limit
  bool json = false;
};

Result<void> RunKeyAdd(const KeyOptions& options);
Result<void> RunKeyList(const KeyOptions& options);
Result<void> RunKeyRemove(const KeyOptions& options);

// "60" or "60/min". Errors: kInvalid.
Result<uint32_t> ParseRate(const std::string& text);
// "100000", "100k", "2M", perhaps with "/day" behind it: powers of 1000. Errors: kInvalid.
Result<uint64_t> ParseQuota(const std::string& text);

}  // namespace exo::app
