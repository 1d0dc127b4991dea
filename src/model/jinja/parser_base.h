// Token access shared by the two halves of the parser (statements and expressions).
#pragma once

#include <algorithm>

#include "model/jinja/ast.h"
#include "model/jinja/lexer.h"

namespace exo::model::jinja {

// Tallest expression tree: a chain of 200 operators; published templates stay below 30.
inline constexpr int kMaxHeight = 200;

class ParserBase {
 public:
  explicit ParserBase(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  const Token& Peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  Token Take() {
    const Token token = Peek();
    if (at_ + 1 < tokens_.size()) ++at_;
    return token;
  }
  bool IsOperator(std::string_view text, size_t ahead = 0) const {
    return Peek(ahead).kind == TokenKind::kOperator && Peek(ahead).text == text;
  }
  bool IsName(std::string_view text, size_t ahead = 0) const {
    return Peek(ahead).kind == TokenKind::kName && Peek(ahead).text == text;
  }
  bool Accept(std::string_view text) {
    const bool found = IsOperator(text) || IsName(text);
    if (found) Take();
    return found;
  }
  Result<void> Expect(std::string_view text) {
    if (Accept(text)) return {};
    return Unexpected(fmt::format("'{}'", text));
  }
  Result<std::string> ExpectName() {
    if (Peek().kind != TokenKind::kName) return Unexpected("a name");
    return Take().text;
  }
  std::unexpected<Error> Unexpected(std::string_view wanted) const {
    const Token& token = Peek();
    static constexpr std::string_view kKinds[] = {"text",
                                                  "{{",
                                                  "}}",
                                                  "{%",
                                                  "%}",
                                                  "name",
                                                  "number",
                                                  "number",
                                                  "string",
                                                  "",
                                                  "the end of the template"};
    return Fail(ErrorCode::kInvalid, "line {}: {} was expected, found {} '{}'", token.line, wanted,
                kKinds[static_cast<size_t>(token.kind)], token.text.substr(0, 40));
  }

  // One level of nesting while it lives.
  class Nested {
   public:
    explicit Nested(int& depth) : depth_(++depth) {}
    ~Nested() { --depth_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;

   private:
    int& depth_;
  };
  Result<void> CheckDepth() const;

  int depth_ = 0;

 private:
  std::vector<Token> tokens_;
  size_t at_ = 0;
};

// Parses expressions by precedence, lowest first: conditional, or, and, not, comparison, + -, ~, *
// / // %, unary, **, postfix, filters and tests.
class ExpressionParser : public ParserBase {
 public:
  using ParserBase::ParserBase;

 protected:
  Result<ExprPtr> ParseExpression(bool with_condition = true);
  // a, b or (a, b): a tuple where a comma follows.
  Result<ExprPtr> ParseTuple(bool with_condition = true);
  Result<ExprPtr> ParseFilters(ExprPtr value);
  Result<std::vector<Argument>> ParseArguments();
  Result<ExprPtr> Finish(std::unique_ptr<Expr> expr) const;
  std::unique_ptr<Expr> New(ExprKind kind) const;

  // Unknown filters and tests inside of an {% if %} fail only when they run: templates test for
  // them.
  int conditions_ = 0;

 private:
  Result<ExprPtr> ParseOr();
  Result<ExprPtr> ParseAnd();
  Result<ExprPtr> ParseNot();
  Result<ExprPtr> ParseCompare();
  Result<ExprPtr> ParseSum();
  Result<ExprPtr> ParseConcat();
  Result<ExprPtr> ParseProduct();
  Result<ExprPtr> ParsePower();
  Result<ExprPtr> ParseUnary(bool with_filters);
  Result<ExprPtr> ParsePrimary();
  Result<ExprPtr> ParseNameOrLiteral();
  Result<ExprPtr> ParseNumber();
  Result<ExprPtr> ParseList();
  Result<ExprPtr> ParseDict();
  Result<ExprPtr> ParsePostfix(ExprPtr value);
  Result<ExprPtr> ParseAttribute(ExprPtr value);
  Result<ExprPtr> ParseSubscript(ExprPtr value);
  Result<ExprPtr> ParseFiltersAndTests(ExprPtr value);
  Result<ExprPtr> ParseFilter(ExprPtr value);
  Result<ExprPtr> ParseTest(ExprPtr value);
  Result<ExprPtr> Binary(std::string name, ExprPtr left, ExprPtr right);
};

// Whether the interpreter has a filter or test of this name (filters.cc, tests.cc).
bool HasFilter(std::string_view name);
bool HasTest(std::string_view name);

}  // namespace exo::model::jinja
