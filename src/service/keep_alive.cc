#include "service/keep_alive.h"

#include <algorithm>

#include "base/units.h"
#include "service/fields.h"
#include "wire/messages.h"

namespace exo::service {

Parsed<std::optional<uint64_t>> ReadKeepAlive(const Json& body) {
  const Json* value = Find(body, "keep_alive");
  if (value == nullptr) return std::nullopt;
  if (!value->is_number() && !value->is_string()) {
    return BadValue("keep_alive", fmt::format("'keep_alive' is {}, but must be a number of seconds "
                                              "or a text as \"5m\"",
                                              Shown(*value)));
  }
  const auto time = ParseDuration(value->is_string() ? value->get<std::string>() : value->dump());
  if (!time) return BadValue("keep_alive", "'keep_alive': " + time.error().message);
  if (time->count() < 0) return 0;
  return std::max<uint64_t>(static_cast<uint64_t>(time->count()), wire::kKeepUntilIdle);
}

}  // namespace exo::service
