#include "service/prompts.h"

#include <limits>

#include "service/fields.h"

namespace exo::service {

Parsed<std::vector<TokenId>> ReadTokenIds(const Json& list, const char* field) {
  constexpr TokenId kMost = std::numeric_limits<TokenId>::max();
  std::vector<TokenId> ids;
  ids.reserve(list.size());
  for (const Json& id : list) {
    if (!id.is_number_integer() || id < 0 || id > kMost) {
      return BadValue(field, fmt::format("'{}' has {} where a token id, a whole number from 0 to "
                                         "{}, is due",
                                         field, Shown(id), kMost));
    }
    ids.push_back(id.get<TokenId>());
  }
  return ids;
}

namespace {

Parsed<node::GenerateRequest> ReadOne(const Json& text, const char* field,
                                      const node::GenerateRequest& like, PromptRules rules) {
  node::GenerateRequest request = like;
  if (text.is_string()) {
    request.prompt = text.get<std::string>();
    if (request.prompt->empty() && !rules.may_be_empty)
      return BadValue(field, fmt::format("'{}' has an empty text", field));
    return request;
  }
  if (!text.is_array() || text.empty()) {
    return BadValue(field, fmt::format("'{}' must be a text, a list of texts, or token ids, not {}",
                                       field, Shown(text)));
  }
  request.prompt_ids = TRY(ReadTokenIds(text, field));
  return request;
}

}  // namespace

Parsed<std::vector<node::GenerateRequest>> ReadPrompts(const Json& body, const char* field,
                                                       const node::GenerateRequest& like,
                                                       PromptRules rules) {
  const Json* given = Find(body, field);
  if (given == nullptr) {
    return std::unexpected(
        ApiError{400, fmt::format("'{}' is missing", field), field, "missing_required_parameter"});
  }
  std::vector<node::GenerateRequest> requests;
  if (!given->is_array() || (!given->empty() && (*given)[0].is_number())) {
    requests.push_back(TRY(ReadOne(*given, field, like, rules)));
    return requests;
  }
  if (rules.most == 1 && given->size() > 1) {
    return NotSupported(field, fmt::format("'{}' has {} texts, but this route takes one: send a "
                                           "request for each, or all to /v1/completions",
                                           field, given->size()));
  }
  if (given->empty() || given->size() > rules.most) {
    return BadValue(field, fmt::format("'{}' has {} texts, but must have 1 to {}", field,
                                       given->size(), rules.most));
  }
  for (const Json& text : *given) requests.push_back(TRY(ReadOne(text, field, like, rules)));
  return requests;
}

}  // namespace exo::service
