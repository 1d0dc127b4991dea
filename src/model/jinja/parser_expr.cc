#include <algorithm>
#include <charconv>

#include "model/chat_template.h"
#include "model/jinja/parser_base.h"

namespace exo::model::jinja {

Result<void> ParserBase::CheckDepth() const {
  if (depth_ <= static_cast<int>(kMaxTemplateDepth)) return {};
  return Fail(ErrorCode::kOverloaded, "line {}: nested deeper than {}", Peek().line,
              kMaxTemplateDepth);
}

std::unique_ptr<Expr> ExpressionParser::New(ExprKind kind) const {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = Peek().line;
  return expr;
}

Result<ExprPtr> ExpressionParser::Finish(std::unique_ptr<Expr> expr) const {
  for (const ExprPtr& part : expr->parts) {
    if (part) expr->height = std::max(expr->height, part->height + 1);
  }
  for (const Argument& argument : expr->arguments)
    expr->height = std::max(expr->height, argument.value->height + 1);
  if (expr->height > kMaxHeight) {
    return Fail(ErrorCode::kOverloaded, "line {}: an expression of more than {} levels", expr->line,
                kMaxHeight);
  }
  return ExprPtr(std::move(expr));
}

Result<ExprPtr> ExpressionParser::Binary(std::string name, ExprPtr left, ExprPtr right) {
  auto expr = New(ExprKind::kBinary);
  expr->name = std::move(name);
  expr->parts.push_back(std::move(left));
  expr->parts.push_back(std::move(right));
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseExpression(bool with_condition) {
  const Nested nested(depth_);
  TRY(CheckDepth());
  ExprPtr value = TRY(ParseOr());
  while (with_condition && Accept("if")) {
    auto expr = New(ExprKind::kCondition);
    expr->parts.push_back(std::move(value));
    expr->parts.push_back(TRY(ParseOr()));
    ExprPtr otherwise;
    if (Accept("else")) otherwise = TRY(ParseExpression());
    expr->parts.push_back(std::move(otherwise));
    value = TRY(Finish(std::move(expr)));
  }
  return value;
}

Result<ExprPtr> ExpressionParser::ParseTuple(bool with_condition) {
  ExprPtr first = TRY(ParseExpression(with_condition));
  if (!IsOperator(",")) return first;
  auto expr = New(ExprKind::kTuple);
  expr->parts.push_back(std::move(first));
  while (Accept(",")) {
    const TokenKind kind = Peek().kind;
    if (kind == TokenKind::kPrintEnd || kind == TokenKind::kTagEnd || IsOperator(")") ||
        IsOperator("="))
      break;
    expr->parts.push_back(TRY(ParseExpression(with_condition)));
  }
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseOr() {
  ExprPtr left = TRY(ParseAnd());
  while (Accept("or")) {
    auto expr = New(ExprKind::kOr);
    expr->parts.push_back(std::move(left));
    expr->parts.push_back(TRY(ParseAnd()));
    left = TRY(Finish(std::move(expr)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::ParseAnd() {
  ExprPtr left = TRY(ParseNot());
  while (Accept("and")) {
    auto expr = New(ExprKind::kAnd);
    expr->parts.push_back(std::move(left));
    expr->parts.push_back(TRY(ParseNot()));
    left = TRY(Finish(std::move(expr)));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::ParseNot() {
  if (!IsName("not") || IsName("in", 1)) return ParseCompare();
  const Nested nested(depth_);
  TRY(CheckDepth());
  auto expr = New(ExprKind::kNot);
  Take();
  expr->parts.push_back(TRY(ParseNot()));
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseCompare() {
  ExprPtr left = TRY(ParseSum());
  auto expr = New(ExprKind::kCompare);
  expr->parts.push_back(std::move(left));
  for (;;) {
    static constexpr std::string_view kOperators[] = {"==", "!=", "<=", ">=", "<", ">"};
    std::string name;
    for (const std::string_view text : kOperators) {
      if (IsOperator(text)) name = text;
    }
    if (IsName("in")) name = "in";
    if (IsName("not") && IsName("in", 1)) {
      Take();
      name = "not in";
    }
    if (name.empty()) break;
    Take();
    expr->names.push_back(name);
    expr->parts.push_back(TRY(ParseSum()));
  }
  if (expr->names.empty()) return std::move(expr->parts[0]);
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseSum() {
  ExprPtr left = TRY(ParseConcat());
  while (IsOperator("+") || IsOperator("-")) {
    std::string name = Take().text;
    left = TRY(Binary(std::move(name), std::move(left), TRY(ParseConcat())));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::ParseConcat() {
  ExprPtr first = TRY(ParseProduct());
  if (!IsOperator("~")) return first;
  auto expr = New(ExprKind::kConcat);
  expr->parts.push_back(std::move(first));
  while (Accept("~")) expr->parts.push_back(TRY(ParseProduct()));
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseProduct() {
  ExprPtr left = TRY(ParsePower());
  while (IsOperator("*") || IsOperator("/") || IsOperator("//") || IsOperator("%")) {
    std::string name = Take().text;
    left = TRY(Binary(std::move(name), std::move(left), TRY(ParsePower())));
  }
  return left;
}

Result<ExprPtr> ExpressionParser::ParsePower() {
  ExprPtr left = TRY(ParseUnary(true));
  while (Accept("**")) left = TRY(Binary("**", std::move(left), TRY(ParseUnary(true))));
  return left;
}

Result<ExprPtr> ExpressionParser::ParseUnary(bool with_filters) {
  const Nested nested(depth_);
  TRY(CheckDepth());
  ExprPtr value;
  if (IsOperator("-") || IsOperator("+")) {
    auto expr = New(IsOperator("-") ? ExprKind::kNegate : ExprKind::kPlus);
    Take();
    expr->parts.push_back(TRY(ParseUnary(false)));
    value = TRY(Finish(std::move(expr)));
  } else {
    value = TRY(ParsePrimary());
  }
  value = TRY(ParsePostfix(std::move(value)));
  return with_filters ? ParseFiltersAndTests(std::move(value)) : Result<ExprPtr>(std::move(value));
}

Result<ExprPtr> ExpressionParser::ParseNameOrLiteral() {
  auto expr = New(ExprKind::kLiteral);
  const std::string name = Take().text;
  if (name == "true" || name == "True") {
    expr->value = true;
  } else if (name == "false" || name == "False") {
    expr->value = false;
  } else if (name == "none" || name == "None") {
    expr->value = None{};
  } else {
    expr->kind = ExprKind::kName;
    expr->name = name;
  }
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseNumber() {
  auto expr = New(ExprKind::kLiteral);
  const Token token = Take();
  int64_t integer = 0;
  const char* end = token.text.data() + token.text.size();
  const auto [rest, error] = std::from_chars(token.text.data(), end, integer);
  if (token.kind == TokenKind::kInteger && error == std::errc() && rest == end) {
    expr->value = integer;
  } else if (token.kind == TokenKind::kInteger) {
    return Fail(ErrorCode::kUnsupported, "line {}: the integer {} has more than 64 bits",
                token.line, token.text);
  } else {
    double number = 0;
    std::from_chars(token.text.data(), end, number);
    expr->value = number;
  }
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParsePrimary() {
  const Token& token = Peek();
  switch (token.kind) {
    case TokenKind::kName:
      return ParseNameOrLiteral();
    case TokenKind::kInteger:
    case TokenKind::kFloat:
      return ParseNumber();
    case TokenKind::kString: {
      auto expr = New(ExprKind::kLiteral);
      std::string text;
      while (Peek().kind == TokenKind::kString) text += Take().text;  // neighbors are one string
      expr->value = Value::String(text);
      return Finish(std::move(expr));
    }
    default:
      break;
  }
  if (IsOperator("[")) return ParseList();
  if (IsOperator("{")) return ParseDict();
  if (!Accept("(")) return Unexpected("an expression");
  if (Accept(")")) return Finish(New(ExprKind::kTuple));
  ExprPtr value = TRY(ParseTuple());
  TRY(Expect(")"));
  return value;
}

Result<ExprPtr> ExpressionParser::ParseList() {
  auto expr = New(ExprKind::kList);
  Take();
  while (!IsOperator("]")) {
    expr->parts.push_back(TRY(ParseExpression()));
    if (!Accept(",")) break;
  }
  TRY(Expect("]"));
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseDict() {
  auto expr = New(ExprKind::kDict);
  Take();
  while (!IsOperator("}")) {
    expr->parts.push_back(TRY(ParseExpression()));
    TRY(Expect(":"));
    expr->parts.push_back(TRY(ParseExpression()));
    if (!Accept(",")) break;
  }
  TRY(Expect("}"));
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParsePostfix(ExprPtr value) {
  for (;;) {
    if (IsOperator(".")) {
      value = TRY(ParseAttribute(std::move(value)));
    } else if (IsOperator("[")) {
      value = TRY(ParseSubscript(std::move(value)));
    } else if (IsOperator("(")) {
      auto expr = New(ExprKind::kCall);
      expr->parts.push_back(std::move(value));
      expr->arguments = TRY(ParseArguments());
      value = TRY(Finish(std::move(expr)));
    } else {
      return value;
    }
  }
}

Result<ExprPtr> ExpressionParser::ParseAttribute(ExprPtr value) {
  auto expr = New(ExprKind::kAttribute);
  Take();
  expr->parts.push_back(std::move(value));
  if (Peek().kind == TokenKind::kInteger) {
    expr->kind = ExprKind::kItem;
    expr->parts.push_back(TRY(ParseNumber()));
  } else {
    expr->name = TRY(ExpectName());
  }
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseSubscript(ExprPtr value) {
  auto expr = New(ExprKind::kItem);
  Take();
  expr->parts.push_back(std::move(value));
  ExprPtr bounds[3];
  int part = 0;
  bool slice = false;
  while (!IsOperator("]")) {
    if (IsOperator(":") && part < 2) {
      Take();
      slice = true;
      ++part;
    } else if (bounds[part] == nullptr) {
      bounds[part] = TRY(ParseExpression());
    } else {
      return Unexpected("']'");
    }
  }
  TRY(Expect("]"));
  if (!slice && bounds[0] == nullptr) return Unexpected("an index");
  if (slice) {
    expr->kind = ExprKind::kSlice;
    for (ExprPtr& bound : bounds) expr->parts.push_back(std::move(bound));
  } else {
    expr->parts.push_back(std::move(bounds[0]));
  }
  return Finish(std::move(expr));
}

Result<std::vector<Argument>> ExpressionParser::ParseArguments() {
  std::vector<Argument> arguments;
  TRY(Expect("("));
  while (!IsOperator(")")) {
    if (IsOperator("*") || IsOperator("**")) {
      return Fail(ErrorCode::kUnsupported, "line {}: {} in arguments", Peek().line, Peek().text);
    }
    Argument argument;
    if (Peek().kind == TokenKind::kName && IsOperator("=", 1)) {
      argument.name = Take().text;
      Take();
    }
    argument.value = TRY(ParseExpression());
    arguments.push_back(std::move(argument));
    if (!Accept(",")) break;
  }
  TRY(Expect(")"));
  return arguments;
}

Result<ExprPtr> ExpressionParser::ParseFiltersAndTests(ExprPtr value) {
  for (;;) {
    if (IsOperator("|")) {
      value = TRY(ParseFilter(std::move(value)));
    } else if (IsName("is")) {
      value = TRY(ParseTest(std::move(value)));
    } else if (IsOperator("(")) {
      value = TRY(ParsePostfix(std::move(value)));
    } else {
      return value;
    }
  }
}

Result<ExprPtr> ExpressionParser::ParseFilters(ExprPtr value) {
  while (IsOperator("|")) value = TRY(ParseFilter(std::move(value)));
  return value;
}

Result<ExprPtr> ExpressionParser::ParseFilter(ExprPtr value) {
  auto expr = New(ExprKind::kFilter);
  Take();
  expr->name = TRY(ExpectName());
  if (conditions_ == 0 && !HasFilter(expr->name)) {
    return Fail(ErrorCode::kUnsupported, "line {}: the filter '{}'", expr->line, expr->name);
  }
  expr->parts.push_back(std::move(value));
  if (IsOperator("(")) expr->arguments = TRY(ParseArguments());
  return Finish(std::move(expr));
}

Result<ExprPtr> ExpressionParser::ParseTest(ExprPtr value) {
  auto expr = New(ExprKind::kTest);
  Take();
  expr->negated = Accept("not");
  expr->name = TRY(ExpectName());
  if (conditions_ == 0 && !HasTest(expr->name))
    return Fail(ErrorCode::kUnsupported, "line {}: the test '{}'", expr->line, expr->name);
  expr->parts.push_back(std::move(value));
  const Token& next = Peek();
  const bool literal = next.kind == TokenKind::kString || next.kind == TokenKind::kInteger ||
                       next.kind == TokenKind::kFloat || IsOperator("[") || IsOperator("{") ||
                       (next.kind == TokenKind::kName && next.text != "else" && next.text != "or" &&
                        next.text != "and" && next.text != "if" && next.text != "is" &&
                        next.text != "not" && next.text != "in" && next.text != "recursive");
  if (IsOperator("(")) {
    expr->arguments = TRY(ParseArguments());
  } else if (literal) {
    ExprPtr argument = TRY(ParsePrimary());
    expr->arguments.push_back({"", TRY(ParsePostfix(std::move(argument)))});
  }
  return Finish(std::move(expr));
}

}  // namespace exo::model::jinja
