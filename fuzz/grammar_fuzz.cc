// Any bytes as a schema, an expression, a grammar or choices: they compile or fail within the
// limits, random texts of what compiles can always be ended, and any bytes as a place do no harm.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "grammar/grammar.h"
#include "grammar/matcher.h"

namespace {

// Each byte is a token, and a few longer ones.
std::shared_ptr<const exo::grammar::TokenTrie> Tokens() {
  exo::grammar::VocabularyTokens tokens{.bytes = {""}, .special = {true}, .ends = {0}};
  for (int byte = 0; byte < 256; ++byte) tokens.bytes.emplace_back(1, static_cast<char>(byte));
  for (const char* text : {"{\"", "\":", "\": \"", "\",\"", "[[", "aaaa", "12", "true"})
    tokens.bytes.emplace_back(text);
  tokens.special.resize(tokens.bytes.size());
  return std::make_shared<const exo::grammar::TokenTrie>(std::move(tokens));
}

}  // namespace

// The first byte is the kind; the text up to a zero byte; behind it choices of tokens.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace exo;
  if (size < 2) return 0;
  static const auto kTokens = Tokens();
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  const size_t end = std::min(input.find('\0'), input.size());
  const auto kind = static_cast<wire::GrammarKind>(data[0] % 4);
  auto grammar = grammar::WholeAnswer(kind, std::string(input.substr(0, end)));
  if (data[0] >= 128) {
    grammar.triggered = true;
    grammar.repeated = (data[0] & 64) != 0;
    grammar.parts[0].begin = "<a";
  }
  const auto automaton = grammar::Compile(grammar);
  if (!automaton) {
    if (automaton.error().message.empty()) std::abort();
    return 0;
  }
  grammar::Matcher matcher(*automaton, kTokens);
  const std::string_view choices = end < input.size() ? input.substr(end + 1) : "";
  matcher.MayEnd({reinterpret_cast<const uint8_t*>(choices.data()), choices.size()});
  std::vector<uint8_t> place;
  for (size_t i = 0; i < std::min<size_t>(choices.size(), 64); ++i) {
    std::vector<uint64_t> allowed((kTokens->vocab() + 63) / 64);
    matcher.Allow(place, allowed);
    std::vector<TokenId> may;
    for (size_t t = 1; t < kTokens->vocab(); ++t) {
      if ((allowed[t / 64] >> t % 64 & 1) != 0) may.push_back(static_cast<TokenId>(t));
    }
    // Nothing may come only where the text may end.
    if (may.empty() && !matcher.MayEnd(place)) std::abort();
    if (may.empty()) break;
    place = matcher.Next(place, may[static_cast<uint8_t>(choices[i]) % may.size()]);
  }
  return 0;
}
