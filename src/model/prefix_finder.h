// Tokens by their texts: finds all that begin at one place. Immutable after Finish, any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/ids.h"

namespace exo::model {

class PrefixFinder {
 public:
  // A view of `text` is kept. Texts are not empty, and each comes once.
  void Add(std::string_view text, TokenId id) { tokens_.push_back({text, id}); }
  void Finish() { std::ranges::sort(tokens_, {}, &Token::text); }

  // found(length, id) for each token that `text` begins with, shorter ones first. Cost: a binary
  // search for each byte that tokens begin with.
  template <class Found>
  void Each(std::string_view text, const Found& found) const {
    auto first = tokens_.begin(), last = tokens_.end();
    for (size_t length = 1; length <= text.size() && first != last; ++length) {
      const auto byte = [&](const Token& token) {
        return token.text.size() < length ? -1 : static_cast<uint8_t>(token.text[length - 1]);
      };
      const int wanted = static_cast<uint8_t>(text[length - 1]);
      std::tie(first, last) = std::equal_range(first, last, wanted, Compare<decltype(byte)>{byte});
      // Of equal beginnings the shortest is the first.
      if (first != last && first->text.size() == length) found(length, first->id);
    }
  }

 private:
  struct Token {
    std::string_view text;
    TokenId id;
  };
  template <class Byte>
  struct Compare {
    const Byte& byte;
    bool operator()(const Token& token, int wanted) const { return byte(token) < wanted; }
    bool operator()(int wanted, const Token& token) const { return wanted < byte(token); }
  };

  std::vector<Token> tokens_;
};

}  // namespace exo::model
