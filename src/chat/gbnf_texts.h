// A format's texts in GBNF, with the control tokens of the vocabulary where they hold some.
//
// Thread: pure, any.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace exo::chat {

// A control token of the vocabulary that a format's texts hold.
struct ControlToken {
  std::string text;
  TokenId id = -1;
  bool ends = false;  // ends a generation
};

// A literal of GBNF.
std::string QuotedLiteral(std::string_view text);

// A part of a text: a control token, or what stands between two of them.
struct TextPart {
  std::string text;
  const ControlToken* control = nullptr;
};

class GbnfTexts {
 public:
  // `controls` must outlive it.
  explicit GbnfTexts(const std::vector<ControlToken>& controls) : controls_(controls) {}

  // Up to the first token that ends an answer.
  std::vector<TextPart> Parts(std::string_view text) const;
  static std::string Sequence(const std::vector<TextPart>& parts);
  // Both end in a space, or are empty.
  std::string Literal(std::string_view text) const { return Sequence(Parts(text)); }
  // Any text up to `end`, and that. White space in front of it belongs to the text, as readers
  // see it: what ends a text does so wherever it stands.
  std::string Until(std::string_view end) const;

 private:
  const std::vector<ControlToken>& controls_;
};

}  // namespace exo::chat
