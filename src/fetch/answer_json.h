// JSON of servers: what they send is theirs to choose, and this device's memory is not.
// Thread: pure, any thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace exo::fetch {

// The value, without what is nested deeper than any answer that is of use; "discarded" where it is
// no JSON.
inline nlohmann::json ParseAnswer(const std::string& body) {
  constexpr int kMaxDepth = 16;
  using Event = nlohmann::json::parse_event_t;
  return nlohmann::json::parse(
      body, [](int depth, Event, nlohmann::json&) { return depth < kMaxDepth; }, false);
}

}  // namespace exo::fetch
