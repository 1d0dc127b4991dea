// The metadata of one architecture, "llama." + suffix, range-checked. Every number is bounded here,
// so that products of them cannot overflow anywhere else; the limits are about ten times the
// largest published model.
#pragma once

#include <fmt/core.h>

#include <cmath>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "model/gguf.h"

namespace exo::model {

inline constexpr uint64_t kMaxLayers = 1024;
inline constexpr uint64_t kMaxWidth = 65536;
inline constexpr uint64_t kMaxFfnWidth = 1u << 20;
inline constexpr uint64_t kMaxHeads = 1024;
inline constexpr uint64_t kMaxHeadDim = 1024;
inline constexpr uint64_t kMaxVocab = 1u << 22;
inline constexpr uint64_t kMaxContext = 1u << 24;
inline constexpr uint64_t kMaxExperts = 4096;
inline constexpr uint64_t kMaxExpertsUsed = 128;  // of a token: kernels::kMaxMixed

class Keys {
 public:
  Keys(const Gguf& gguf, std::string prefix) : gguf_(gguf), prefix_(std::move(prefix)) {}

  const Gguf& gguf() const { return gguf_; }
  bool Has(std::string_view suffix) const { return gguf_.Find(Name(suffix)) != nullptr; }

  // A number from 1 to `most`. Errors: kCorrupt (missing without `absent`, no number, out of
  // range).
  Result<uint32_t> Uint(std::string_view suffix, uint64_t most,
                        std::optional<uint64_t> absent = {}) const {
    const std::string key = Name(suffix);
    if (absent && gguf_.Find(key) == nullptr) return InRange(key, *absent, most);
    const auto value = gguf_.GetUint(key);
    if (!value) return Bad(value.error());
    return InRange(key, *value, most);
  }

  // A positive finite number. Errors: kCorrupt.
  Result<double> Float(std::string_view suffix, std::optional<double> absent = {}) const {
    const std::string key = Name(suffix);
    if (absent && gguf_.Find(key) == nullptr) return *absent;
    const auto value = gguf_.GetFloat(key);
    if (!value) return Bad(value.error());
    if (!std::isfinite(*value) || *value <= 0) {
      return Fail(ErrorCode::kCorrupt, "the key '{}' is {}, it must be a positive number", key,
                  *value);
    }
    return *value;
  }

  // "" when there is no such text.
  std::string Text(std::string_view suffix) const {
    return gguf_.GetString(Name(suffix)).value_or("");
  }

 private:
  std::string Name(std::string_view suffix) const { return fmt::format("{}.{}", prefix_, suffix); }
  static std::unexpected<Error> Bad(const Error& error) {
    return Fail(ErrorCode::kCorrupt, "the configuration is incomplete: {}", error.message);
  }
  static Result<uint32_t> InRange(std::string_view key, uint64_t value, uint64_t most) {
    if (value >= 1 && value <= most) return static_cast<uint32_t>(value);
    return Fail(ErrorCode::kCorrupt, "the key '{}' is {} (1 to {} is possible)", key, value, most);
  }

  const Gguf& gguf_;
  std::string prefix_;
};

}  // namespace exo::model
