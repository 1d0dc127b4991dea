#include "chat/gbnf_texts.h"

#include <fmt/format.h>

#include <algorithm>

#include "chat/literal.h"

namespace exo::chat {

std::string QuotedLiteral(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '\n') {
      quoted += "\\n";
    } else if (c == '\r' || c == '\t') {
      quoted += c == '\r' ? "\\r" : "\\t";
    } else {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += c;
    }
  }
  return quoted + '"';
}

std::vector<TextPart> GbnfTexts::Parts(std::string_view text) const {
  std::vector<TextPart> parts;
  for (size_t at = 0; at < text.size();) {
    const ControlToken* first = nullptr;
    size_t begin = text.size();
    for (const ControlToken& one : controls_) {
      const size_t found = text.find(one.text, at);
      if (one.text.empty() || found > begin) continue;
      if (found == begin && (first == nullptr || first->text.size() > one.text.size())) continue;
      begin = found;
      first = &one;
    }
    if (begin > at) parts.push_back({.text = std::string(text.substr(at, begin - at))});
    if (first == nullptr || first->ends) break;
    parts.push_back({.text = first->text, .control = first});
    at = begin + first->text.size();
  }
  return parts;
}

std::string GbnfTexts::Sequence(const std::vector<TextPart>& parts) {
  std::string all;
  for (const TextPart& part : parts) {
    all += part.control != nullptr ? fmt::format("<[{}]> ", part.control->id)
                                   : QuotedLiteral(part.text) + " ";
  }
  return all;
}

std::string GbnfTexts::Until(std::string_view end) const {
  end.remove_prefix(std::min(end.find_first_not_of(" \t\r\n"), end.size()));
  const std::vector<TextPart> parts = Parts(end);
  if (parts.empty()) return ".* ";
  if (parts.front().control != nullptr) return ".* " + Sequence(parts);
  const std::string_view first = parts.front().text;
  const std::string_view mark = Trimmed(first), space = first.substr(mark.size());
  return "%until " + QuotedLiteral(mark) + " " + (space.empty() ? "" : QuotedLiteral(space) + " ") +
         Sequence({parts.begin() + 1, parts.end()});
}

}  // namespace exo::chat
