// The table of tokens of a tokenizer.json as it grows, in the form that GGUF has it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/result.h"
#include "checkpoint/json_fields.h"
#include "model/keys.h"
#include "model/vocabulary.h"

namespace exo::checkpoint {

struct TokenTable {
  std::vector<std::string> texts;
  std::vector<int32_t> types;  // model::TokenType
  std::vector<float> scores;   // empty: the kind has none
  std::map<std::string, TokenId, std::less<>> ids;

  bool IsFree(size_t id) const {
    return types[id] == static_cast<int32_t>(model::TokenType::kUnused);
  }
  // A token may be put again, as one of another type. Errors: kCorrupt, with `of`'s name, for an id
  // beyond the limit or of another token.
  Result<void> Put(const Fields& of, uint64_t id, const std::string& text, model::TokenType type) {
    if (id >= model::kMaxVocab) {
      return Fail(ErrorCode::kCorrupt, "{}: the token '{}' has the id {} (limit {})", of.document(),
                  text, id, model::kMaxVocab);
    }
    if (id >= texts.size()) {
      texts.resize(id + 1);
      types.resize(id + 1, static_cast<int32_t>(model::TokenType::kUnused));
    }
    if (!IsFree(id) && texts[id] != text) {
      return Fail(ErrorCode::kCorrupt, "{}: the tokens '{}' and '{}' have the same id {}",
                  of.document(), texts[id], text, id);
    }
    texts[id] = text;
    types[id] = static_cast<int32_t>(type);
    ids.insert_or_assign(text, static_cast<TokenId>(id));
    return {};
  }
  std::optional<TokenId> Find(std::string_view text) const {
    const auto found = ids.find(text);
    return found == ids.end() ? std::nullopt : std::optional(found->second);
  }
};

}  // namespace exo::checkpoint
