// SHA-256 (FIPS 180-4) over OpenSSL: identities of nodes, models, tensors and plans.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string_view>

#include "base/ids.h"

namespace exo {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  Sha256& Update(std::span<const std::byte> bytes);
  Sha256& Update(std::string_view text);
  // Little-endian 8 bytes: use it in front of variable-length parts, so that no two inputs collide.
  Sha256& UpdateU64(uint64_t value);
  // Ends the computation; the object may not be used afterwards.
  Hash256 Finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

Hash256 Sha256Of(std::span<const std::byte> bytes);

}  // namespace exo
