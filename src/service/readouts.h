// Several texts read by a model: embeddings and scores, in any dialect. Some are in work at a time;
// the client's going away cancels all.
//
// Thread: the event loop.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "service/errors.h"
#include "service/http/dialect.h"
#include "service/json.h"

namespace exo::service {

struct Readouts {
  std::vector<std::vector<float>> values;  // of each text, in their order
  uint64_t prompt_tokens = 0;              // of all
  double milliseconds = 0;
};

// What a route's `read` returns. A request without a model gets DefaultModel. Errors go through
// `fail`, with `field` as the one that holds the texts; the first one ends the rest. What is read
// counts for the caller's key, and nothing more is read once its quota is used up.
struct ReadoutRoute {
  std::function<HttpResponse(const Readouts&)> render;
  std::function<HttpResponse(const ApiError&)> fail;
  const char* field = "input";
};
Action ReadTexts(node::Api& api, std::vector<node::GenerateRequest> requests, ReadoutRoute route,
                 Caller caller);

// "[0.5,-1]": the shortest text of each that is read back as the same value.
std::string NumbersJson(std::span<const float> values);

// Between 0 and 1, from the logits of "yes" and "no".
double RelevanceOf(std::span<const float> yes_no);

// A request for the logits of "yes" and "no" behind a pair.
node::GenerateRequest PairRequest(const node::GenerateRequest& like, std::string query,
                                  std::string document);

}  // namespace exo::service
