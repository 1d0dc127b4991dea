// Who keeps the keys that `exo key` is about: this user's data folder, whose file the command
// writes itself, with a node and without; or, where the folder is another user's (exo service
// install --system), the node that runs on it, which is asked over its API.
//
// Thread: the command's own.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "service/api_keys.h"

namespace exo::app {

struct KeptKey {
  service::ApiKey key;        // without id and hash
  int64_t last_used = 0;      // seconds since 1970; 0: never
  uint64_t tokens_today = 0;  // of prompts and answers
};

class KeyKeeper {
 public:
  virtual ~KeyKeeper() = default;

  // Behind "the key": whose it is, where that is not this user's.
  virtual std::string Owner() const = 0;
  // Returns the text that the key's holder sends. Errors of all three: those of service/api_keys.h;
  // kDenied saying who may, kDisconnected.
  virtual Result<std::string> Add(const service::ApiKey& key) = 0;
  virtual Result<std::vector<KeptKey>> List() = 0;
  virtual Result<void> Remove(const std::string& name) = 0;
};

// The keys of the node that the other commands ask (FindNodeToAsk), else of the data folder.
std::unique_ptr<KeyKeeper> FindKeyKeeper();

}  // namespace exo::app
