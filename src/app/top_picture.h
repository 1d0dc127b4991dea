// What `exo top` shows: the state that the node's stream of events tells, and its text.
#pragma once

#include <deque>
#include <nlohmann/json.hpp>
#include <string>

#include "app/http_client.h"

namespace exo::app {

// What GET /v1/internal/events has told so far; what was not told is null.
struct TopState {
  nlohmann::json cluster, requests, figures;
  std::deque<nlohmann::json> changes;  // of devices and models, the newest last
  std::string last_event;              // its id: where a stream goes on
  std::string lost;                    // why nothing is heard at the moment; empty: all is well
};

// Takes an event into the state; false: nothing that is shown is another.
bool Apply(const ServerEvent& event, TopState& state);
// Enough was told for a picture.
bool IsWhole(const TopState& state);

// As people read it; `columns`: of the terminal, 0: lines of any length.
std::string TopText(const TopState& state, size_t columns);
// {nodes, instances, requests, links, lost}; `lost` only where something is.
nlohmann::json TopJson(const TopState& state);

}  // namespace exo::app
