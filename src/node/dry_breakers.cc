#include "node/dry_breakers.h"

#include <algorithm>
#include <set>

#include "wire/limits.h"

namespace exo::node {
namespace {

// Lengths of beginnings of `breaker` at which `word` ends, at each place where they may begin.
template <class Visit>
void ForEachOverlap(const std::string& word, const std::string& breaker, Visit visit) {
  const size_t shortest = word.size() > breaker.size() ? word.size() - breaker.size() : 0;
  for (size_t at = shortest; at < word.size(); ++at) {
    const size_t length = word.size() - at;
    if (length < breaker.size() && breaker.starts_with(std::string_view(word).substr(at)))
      visit(length);
  }
}

}  // namespace

Result<DryBreakers> FindDryBreakers(const model::Tokenizer& tokenizer,
                                    std::span<const std::string> breakers) {
  DryBreakers found;
  std::set<std::vector<TokenId>> sequences;
  size_t size = 0;
  for (TokenId token = 0; token < static_cast<TokenId>(tokenizer.vocab_size()); ++token) {
    const std::string word = tokenizer.Bytes(token, true);
    const bool whole = std::ranges::any_of(breakers, [&](const std::string& breaker) {
      return word.find(breaker) != std::string::npos;
    });
    if (whole) found.tokens.push_back(token);
    for (const std::string& breaker : breakers) {
      if (word.find(breaker) != std::string::npos) continue;
      ForEachOverlap(word, breaker, [&](size_t length) {
        std::vector<TokenId> sequence = tokenizer.Encode(breaker.substr(length), false);
        if (sequence.size() > kMaxDryBreakerTail) sequence.resize(kMaxDryBreakerTail);
        sequence.insert(sequence.begin(), token);
        const size_t more = sequence.size() + 1;
        if (sequences.insert(std::move(sequence)).second) size += more;
      });
    }
    if (size > wire::kMaxDryBreaks || found.tokens.size() > wire::kMaxDryBreaks) {
      return Fail(ErrorCode::kInvalid,
                  "'dry_sequence_breakers' begin in more tokens of this model's vocabulary than a "
                  "request may name ({}); give fewer or others",
                  wire::kMaxDryBreaks);
    }
  }
  for (const std::vector<TokenId>& sequence : sequences) {
    found.sequences.insert(found.sequences.end(), sequence.begin(), sequence.end());
    found.sequences.push_back(-1);
  }
  return found;
}

}  // namespace exo::node
