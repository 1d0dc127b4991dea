// Template source to tokens: text between tags with Jinja's white-space rules applied (trim_blocks
// and lstrip_blocks on, as Hugging Face renders), and the tokens inside tags.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace exo::model::jinja {

enum class TokenKind {
  kData,
  kPrintBegin,
  kPrintEnd,
  kTagBegin,
  kTagEnd,
  kName,
  kInteger,
  kFloat,
  kString,
  kOperator,
  kEnd
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // data, name, digits, the string's value, or the operator
  int line = 1;
};

// Errors: kInvalid with the line. The last token is kEnd.
Result<std::vector<Token>> Tokenize(std::string_view source);

}  // namespace exo::model::jinja
