// What every answer of OpenAI's API is named and dated by.
#pragma once

#include <chrono>
#include <string>

#include "sys/files.h"

namespace exo::service::openai {

// "chatcmpl-" and 32 random digits.
inline std::string NewId(const char* prefix) {
  return fmt::format("{}{:016x}{:016x}", prefix, sys::RandomValue<uint64_t>(),
                     sys::RandomValue<uint64_t>());
}

// Since 1970.
inline int64_t SecondsNow() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

}  // namespace exo::service::openai
