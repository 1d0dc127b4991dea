// What every front end (JSON schema, regular expression, GBNF, choices) makes of its text: rules
// that are expressions over bytes, characters and other rules. compile.h makes an automaton of
// them.
//
// Thread: one caller at a time. Owner: a front end, until it is compiled.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "grammar/char_dfa.h"
#include "grammar/char_set.h"

namespace exo::grammar {

using ExprId = uint32_t;
using RuleId = uint32_t;
inline constexpr uint32_t kNoLimit = UINT32_MAX;

// How a character is written: as it is, or as in the text of a JSON string. There a control
// character without a short escape is written only where no other one may stand.
enum class Encoding : uint8_t { kText, kJson };

struct Expression {
  enum class Kind : uint8_t {
    kBytes,     // `bytes`, one after the other
    kUtf8,      // one of `sequences`
    kSequence,  // all of `parts`
    kChoice,    // one of `parts`
    kRepeat,    // parts[0], `least` to `most` times
    kCall,      // rule `rule`
    kDfa,       // a text of `dfa`, written in `encoding`, and `bytes`
    kToken,     // the special token `token`; -1: any one that is not in Rules::begin_tokens
  };
  Kind kind = Kind::kBytes;
  std::string bytes = {};
  std::vector<ByteSequence> sequences = {};
  std::vector<ExprId> parts = {};
  uint32_t least = 0, most = kNoLimit;
  RuleId rule = 0;
  std::shared_ptr<const CharDfa> dfa = {};
  Encoding encoding = Encoding::kText;
  // Of kDfa: what follows where every text is accepted, `bytes` included, if it is a rule of its
  // own.
  RuleId rest = kNoLimit;
  TokenId token = -1;
};

class Rules {
 public:
  ExprId Bytes(std::string_view bytes);
  ExprId Empty() { return Bytes(""); }
  // Nothing, not even the empty text.
  ExprId Never() { return Choice({}); }
  ExprId Char(const CharSet& set, Encoding encoding = Encoding::kText);
  ExprId Sequence(std::vector<ExprId> parts);
  ExprId Choice(std::vector<ExprId> parts);
  ExprId Repeat(ExprId part, uint32_t least, uint32_t most);
  ExprId Optional(ExprId part) { return Choice({part, Empty()}); }
  ExprId Call(RuleId rule);
  ExprId Dfa(CharDfa dfa, Encoding encoding, std::string_view bytes = {}, RuleId rest = kNoLimit);
  ExprId Token(TokenId token);

  RuleId AddRule();
  void Define(RuleId rule, ExprId body) { bodies_[rule] = body; }
  bool IsDefined(RuleId rule) const { return bodies_[rule] != kNoLimit; }

  const Expression& expression(ExprId id) const { return expressions_[id]; }
  ExprId body(RuleId rule) const { return bodies_[rule]; }
  size_t rules() const { return bodies_.size(); }
  size_t size() const { return expressions_.size(); }
  RuleId root = 0;
  std::vector<TokenId> begin_tokens;  // special tokens that mean something wherever they stand

 private:
  ExprId Add(Expression expression);
  ExprId AddChar(const CharSet& set, Encoding encoding);

  std::vector<Expression> expressions_;
  std::map<std::pair<CharSet, Encoding>, ExprId> chars_;
  std::vector<ExprId> bodies_;
};

// The text of a JSON string for one character that must be escaped there; empty: it need not.
std::string JsonEscape(uint32_t c);

}  // namespace exo::grammar
