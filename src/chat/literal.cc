#include "chat/literal.h"

namespace exo::chat {

std::string_view Trimmed(std::string_view text) {
  while (!text.empty() && IsSpace(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsSpace(text.back())) text.remove_suffix(1);
  return text;
}

Match MatchLiteral(std::string_view text, std::string_view literal) {
  const bool space_first = !literal.empty() && IsSpace(literal.front());
  literal = Trimmed(literal);
  size_t at = 0;
  const auto skip = [&] {
    while (at < text.size() && IsSpace(text[at])) ++at;
  };
  if (space_first) skip();
  for (size_t i = 0; i < literal.size(); ++i) {
    if (IsSpace(literal[i])) {
      skip();
      continue;
    }
    if (at == text.size()) return {.kind = Match::Kind::kPart, .size = 0};
    if (text[at] != literal[i]) return {};
    ++at;
  }
  return {.kind = Match::Kind::kWhole, .size = at};
}

size_t FindLiteral(std::string_view text, std::string_view literal, size_t from) {
  literal = Trimmed(literal);
  if (literal.empty()) return std::string_view::npos;
  for (size_t at = text.find(literal.front(), from); at != std::string_view::npos;
       at = text.find(literal.front(), at + 1)) {
    if (MatchLiteral(text.substr(at), literal).kind != Match::Kind::kNo) return at;
  }
  return std::string_view::npos;
}

}  // namespace exo::chat
