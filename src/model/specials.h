// Finds special tokens that are written out in text. Longer tokens win over shorter ones wherever
// they stand (llama.cpp's rule), then earlier ones; user-defined tokens are found everywhere,
// control tokens only where every character is trusted. Immutable, any thread.
#pragma once

#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/tokenizer.h"
#include "model/vocabulary.h"

namespace exo::model {

// A stretch of the text: ordinary (token == -1) or one special token.
struct Fragment {
  size_t begin = 0;
  size_t end = 0;
  TokenId token = -1;
};

class SpecialFinder {
 public:
  explicit SpecialFinder(const Vocabulary& vocabulary);

  // `trusted_until[i]`: the end of the trusted stretch that byte i is in, i itself when it is in
  // none. Cost: one walk down the trie per byte.
  std::vector<Fragment> Split(std::string_view text, std::span<const size_t> trusted_until) const;

 private:
  struct Node {
    TokenId token = -1;
    bool control = false;
  };
  struct Match {
    size_t begin;
    size_t length;
    TokenId token;
  };
  void Insert(std::string_view text, TokenId token, bool control);
  std::vector<Match> FindAll(std::string_view text, std::span<const size_t> trusted_until) const;

  std::vector<Node> nodes_;
  std::unordered_map<uint64_t, uint32_t> children_;  // node << 8 | byte
  bool first_bytes_[256] = {};
};

}  // namespace exo::model
