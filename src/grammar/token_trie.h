// The tokens of a vocabulary by their bytes, as a tree in depth-first order: what may come next is
// found by walking over it with the grammar, where a byte that does not fit cuts off all tokens
// that have it there.
//
// Immutable. Thread: any.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"

namespace exo::grammar {

struct VocabularyTokens {
  std::vector<std::string> bytes;  // of each token; empty: it writes nothing
  std::vector<bool> special;       // of each token: a control token
  std::vector<TokenId> ends;       // tokens that end an answer
};

class TokenTrie {
 public:
  struct Node {
    uint32_t end = 0;     // behind the last node below
    uint32_t first = 0;   // place of its first token, or of the first one below, in `order`
    uint32_t own = 0;     // tokens that end here
    uint32_t below = 0;   // index of `contents`
    uint16_t depth = 0;   // bytes from the root, that of the node included
    uint16_t chars = 0;   // characters that begin below, on the longest way
    uint16_t before = 0;  // characters that begin from the root to here
    uint8_t byte = 0;
    bool boundary = false;    // the bytes to here are whole characters
    bool utf8_below = false;  // what is below goes on as UTF-8 does
    bool separates = false;   // the last character is U+2028 or U+2029
  };
  // Which bytes there are below a node.
  struct Contents {
    uint64_t low = 0, high = 0;  // bit b: byte b, or 64 + b
    bool wide = false;           // bytes from 128 on
    bool separators = false;     // U+2028 or U+2029: what `.` of an expression is not
    friend auto operator<=>(const Contents&, const Contents&) = default;
  };

  explicit TokenTrie(VocabularyTokens tokens);

  std::span<const Node> nodes() const { return nodes_; }
  const Contents& contents(const Node& node) const { return contents_[node.below]; }
  // Characters that begin in each token of `order`.
  std::span<const uint16_t> chars() const { return chars_; }
  // Token ids in the order of the nodes.
  std::span<const TokenId> order() const { return order_; }
  const std::string& bytes(TokenId id) const { return tokens_.bytes[static_cast<size_t>(id)]; }
  bool IsSpecial(TokenId id) const { return tokens_.special[static_cast<size_t>(id)]; }
  std::span<const TokenId> ends() const { return tokens_.ends; }
  std::span<const TokenId> specials() const { return specials_; }
  size_t vocab() const { return tokens_.bytes.size(); }
  size_t longest() const { return longest_; }

 private:
  void Build(std::span<const TokenId> sorted);
  void FindContents();

  VocabularyTokens tokens_;
  std::vector<Node> nodes_;
  std::vector<Contents> contents_;
  std::vector<TokenId> order_, specials_;
  std::vector<uint16_t> chars_;
  size_t longest_ = 0;
};

}  // namespace exo::grammar
