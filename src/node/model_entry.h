// What Models remembers of one file.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "node/models.h"

namespace exo::node {

struct Models::Entry {
  enum class State : uint8_t {
    kSettling,  // was written to a moment ago
    kReading,
    kReady,
    kFailed,
  };

  std::string path;
  std::string canonical;
  std::string name;
  std::string folder;  // that it was found in; empty: it was named
  uint64_t order = 0;  // of the claim of its name
  State state = State::kSettling;
  sys::FileStamp seen;  // what is being read or was
  File file;            // ready
  Error error;          // failed
  std::vector<Opened> waiting;
  // Bytes hashed by the running read.
  std::shared_ptr<std::atomic<uint64_t>> progress;
  uint64_t progress_seen = 0;
  Time last_sign{};  // when the read moved on, or the settling file changed
  Time settling_since{};
};

}  // namespace exo::node
