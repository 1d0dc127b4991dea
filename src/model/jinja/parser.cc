#include "model/jinja/parser.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "model/jinja/parser_base.h"

namespace exo::model::jinja {
namespace {

class Parser final : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Result<Body> ParseTemplate() {
    Body body = TRY(ParseBody({}));
    if (Peek().kind != TokenKind::kEnd) return Unexpected("the end of the template");
    return body;
  }

 private:
  using Words = std::vector<std::string_view>;

  static bool Contains(const Words& words, const Token& token) {
    return token.kind == TokenKind::kName && std::ranges::find(words, token.text) != words.end();
  }

  // Statements up to a tag that begins with one of `ends` (left in place behind its "{%").
  Result<Body> ParseBody(const Words& ends) {
    const Nested nested(depth_);
    TRY(CheckDepth());
    Body body;
    for (;;) {
      switch (Peek().kind) {
        case TokenKind::kData: {
          auto stmt = NewStmt(StmtKind::kData);
          stmt->data = Take().text;
          body.push_back(std::move(stmt));
          break;
        }
        case TokenKind::kPrintBegin: {
          auto stmt = NewStmt(StmtKind::kPrint);
          Take();
          stmt->expr = TRY(ParseTuple());
          TRY(ExpectKind(TokenKind::kPrintEnd, "'}}'"));
          body.push_back(std::move(stmt));
          break;
        }
        case TokenKind::kTagBegin:
          Take();
          if (Contains(ends, Peek())) return body;
          TRY(ParseStatement(body));
          break;
        default:
          if (!ends.empty()) return Unexpected(fmt::format("{{% {} %}}", fmt::join(ends, " or ")));
          return body;
      }
    }
  }

  std::unique_ptr<Stmt> NewStmt(StmtKind kind) const {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = Peek().line;
    return stmt;
  }
  Result<void> ExpectKind(TokenKind kind, std::string_view name) {
    if (Peek().kind != kind) return Unexpected(name);
    Take();
    return {};
  }
  Result<void> EndTag() { return ExpectKind(TokenKind::kTagEnd, "'%}'"); }
  // The word of a closing tag and its "%}".
  Result<void> Close() {
    Take();
    return EndTag();
  }

  Result<void> ParseStatement(Body& body) {
    const std::string word = Peek().kind == TokenKind::kName ? Peek().text : "";
    auto stmt = NewStmt(StmtKind::kData);
    Take();
    if (word == "if") {
      TRY(ParseIf(*stmt));
    } else if (word == "for") {
      TRY(ParseFor(*stmt));
    } else if (word == "set") {
      TRY(ParseSet(*stmt));
    } else if (word == "macro") {
      stmt->kind = StmtKind::kMacro;
      stmt->macro = TRY(ParseMacro(TRY(ExpectName()), "endmacro"));
    } else if (word == "call") {
      TRY(ParseCall(*stmt));
    } else if (word == "filter") {
      TRY(ParseFilterBlock(*stmt));
    } else if (word == "with") {
      TRY(ParseWith(*stmt));
    } else if (word == "break" || word == "continue") {
      if (loops_ == 0)
        return Fail(ErrorCode::kInvalid, "line {}: {} outside of a loop", stmt->line, word);
      stmt->kind = word == "break" ? StmtKind::kBreak : StmtKind::kContinue;
      TRY(EndTag());
    } else if (word == "generation") {
      return ParseGeneration(body);
    } else {
      return Refuse(word, stmt->line);
    }
    body.push_back(std::move(stmt));
    return {};
  }

  static std::unexpected<Error> Refuse(std::string_view word, int line) {
    static constexpr std::array<std::string_view, 7> kKnown = {
        "block", "extends", "include", "import", "from", "do", "autoescape"};
    if (std::ranges::find(kKnown, word) != kKnown.end()) {
      return Fail(ErrorCode::kUnsupported, "line {}: the tag '{}'", line, word);
    }
    return Fail(ErrorCode::kInvalid, "line {}: an unknown tag '{}'", line, word);
  }

  // Hugging Face's mark around what the assistant says: it prints its body.
  Result<void> ParseGeneration(Body& body) {
    TRY(EndTag());
    Body inner = TRY(ParseBody({"endgeneration"}));
    TRY(Close());
    std::ranges::move(inner, std::back_inserter(body));
    return {};
  }

  Result<void> ParseIf(Stmt& stmt) {
    const Nested conditional(conditions_);
    stmt.kind = StmtKind::kIf;
    for (;;) {
      Branch branch;
      branch.condition = TRY(ParseTuple());
      TRY(EndTag());
      branch.body = TRY(ParseBody({"elif", "else", "endif"}));
      stmt.branches.push_back(std::move(branch));
      if (!Accept("elif")) break;
    }
    if (Accept("else")) {
      TRY(EndTag());
      stmt.branches.push_back({nullptr, TRY(ParseBody({"endif"}))});
    }
    return Close();
  }

  Result<std::vector<std::string>> ParseTargets() {
    std::vector<std::string> names;
    const bool parentheses = Accept("(");
    do {
      if (parentheses && IsOperator(")")) break;
      names.push_back(TRY(ExpectName()));
    } while (Accept(","));
    if (parentheses) TRY(Expect(")"));
    return names;
  }

  Result<void> ParseFor(Stmt& stmt) {
    stmt.kind = StmtKind::kFor;
    stmt.targets = TRY(ParseTargets());
    TRY(Expect("in"));
    stmt.expr = TRY(ParseTuple(false));
    if (Accept("if")) stmt.condition = TRY(ParseExpression());
    Accept("recursive");  // without loop(…) calls, which fail when they run, it changes nothing
    TRY(EndTag());
    ++loops_;
    auto body = ParseBody({"endfor", "else"});
    --loops_;
    stmt.body = TRY(std::move(body));
    if (Accept("else")) {
      TRY(EndTag());
      stmt.otherwise = TRY(ParseBody({"endfor"}));
    }
    return Close();
  }

  Result<void> ParseSet(Stmt& stmt) {
    stmt.targets = TRY(ParseTargets());
    if (stmt.targets.size() == 1 && Accept(".")) stmt.attribute = TRY(ExpectName());
    if (Accept("=")) {
      stmt.kind = StmtKind::kSet;
      stmt.expr = TRY(ParseTuple());
      return EndTag();
    }
    stmt.kind = StmtKind::kSetBlock;
    if (stmt.targets.size() != 1) return Unexpected("'='");
    stmt.expr = TRY(ParseFilters(TRY(Finish(New(ExprKind::kCaptured)))));
    TRY(EndTag());
    stmt.body = TRY(ParseBody({"endset"}));
    return Close();
  }

  Result<std::unique_ptr<const MacroDef>> ParseMacro(std::string name, std::string_view end) {
    auto macro = std::make_unique<MacroDef>();
    macro->name = std::move(name);
    TRY(ParseParameters(*macro));
    TRY(EndTag());
    const int loops = std::exchange(loops_, 0);
    auto body = ParseBody({end});
    loops_ = loops;
    macro->body = TRY(std::move(body));
    TRY(Close());
    return std::unique_ptr<const MacroDef>(std::move(macro));
  }

  Result<void> ParseParameters(MacroDef& macro) {
    TRY(Expect("("));
    while (!IsOperator(")")) {
      macro.parameters.push_back(TRY(ExpectName()));
      ExprPtr fallback;
      if (Accept("=")) fallback = TRY(ParseExpression());
      macro.defaults.push_back(std::move(fallback));
      if (!Accept(",")) break;
    }
    return Expect(")");
  }

  Result<void> ParseCall(Stmt& stmt) {
    stmt.kind = StmtKind::kCallBlock;
    auto caller = std::make_unique<MacroDef>();
    caller->name = "caller";
    if (IsOperator("(")) TRY(ParseParameters(*caller));
    stmt.expr = TRY(ParseExpression());
    if (stmt.expr->kind != ExprKind::kCall) return Unexpected("a call");
    TRY(EndTag());
    const int loops = std::exchange(loops_, 0);
    auto body = ParseBody({"endcall"});
    loops_ = loops;
    caller->body = TRY(std::move(body));
    stmt.macro = std::move(caller);
    return Close();
  }

  Result<void> ParseFilterBlock(Stmt& stmt) {
    stmt.kind = StmtKind::kFilterBlock;
    auto first = New(ExprKind::kFilter);
    first->name = TRY(ExpectName());
    if (!HasFilter(first->name)) {
      return Fail(ErrorCode::kUnsupported, "line {}: the filter '{}'", first->line, first->name);
    }
    first->parts.push_back(TRY(Finish(New(ExprKind::kCaptured))));
    if (IsOperator("(")) first->arguments = TRY(ParseArguments());
    stmt.expr = TRY(ParseFilters(TRY(Finish(std::move(first)))));
    TRY(EndTag());
    stmt.body = TRY(ParseBody({"endfilter"}));
    return Close();
  }

  Result<void> ParseWith(Stmt& stmt) {
    stmt.kind = StmtKind::kWith;
    while (Peek().kind == TokenKind::kName) {
      stmt.targets.push_back(Take().text);
      TRY(Expect("="));
      stmt.values.push_back(TRY(ParseExpression()));
      if (!Accept(",")) break;
    }
    TRY(EndTag());
    stmt.body = TRY(ParseBody({"endwith"}));
    return Close();
  }

  int loops_ = 0;
};

}  // namespace

Result<Body> Parse(std::string_view source) {
  Parser parser(TRY(Tokenize(source)));
  return parser.ParseTemplate();
}

}  // namespace exo::model::jinja
