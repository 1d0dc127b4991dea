// From the facts of a schema to expressions, type by type. Private to schema*.cc.
#pragma once

#include <map>
#include <vector>

#include "grammar/json_rules.h"
#include "grammar/schema.h"
#include "grammar/schema_facts.h"

namespace exo::grammar {

class SchemaWriter {
 public:
  SchemaWriter(const SchemaDocument& document, const SchemaOptions& options, JsonRules& json);
  // The rule of the values that satisfy all of these.
  Result<RuleId> ValueOf(const Goal& goal);

 private:
  // Members in the order in which they are written.
  struct Member {
    ExprId pair = 0;
    bool required = false;
  };
  struct Members {
    std::vector<Member> named;
    std::vector<ExprId> others;  // pairs of which any number may follow
  };

  Result<ExprId> Values(const std::vector<Facts>& alternatives, const Goal& goal);
  Result<ExprId> Value(const Facts& facts, const Goal& goal);
  Result<ExprId> Listed(const Facts& facts, const Goal& goal);
  Result<ExprId> Number(const Facts& facts);
  Result<ExprId> Text(const Facts& facts);
  Result<ExprId> Array(const Facts& facts);
  Result<ExprId> Elements(const Facts& facts, uint32_t most);
  Result<ExprId> Containing(const Facts& facts, uint32_t most);
  Result<ExprId> Distinct(const Facts& facts, uint32_t most);
  Result<std::optional<std::vector<Json>>> ValuesOf(const Goal& goal);
  Result<ExprId> Object(const Facts& facts);
  Result<Members> MembersOf(const Facts& facts);
  Result<void> AddOthers(const Facts& facts, const std::vector<std::string>& named,
                         Members& members);
  ExprId Plain(const Members& members, bool may_be_empty);
  Result<ExprId> Counted(const Members& members, const Facts& facts);
  // The texts that patterns, formats and lengths leave, of keys or values.
  Result<CharDfa> TextsOf(const Facts& facts);
  Result<CharDfa> KeysOf(const Facts& facts);
  ExprId Quoted(CharDfa texts);

  TextRules texts_;
  SchemaFacts facts_;
  const SchemaOptions options_;
  JsonRules& json_;
  Rules& rules_;
  std::map<Goal, RuleId> known_;
};

// A keyword that is known and not written.
inline std::unexpected<Error> CannotWrite(const std::string& keyword) {
  return Fail(ErrorCode::kUnsupported,
              "\"{}\" of the schema is not supported; leave it out or say it otherwise", keyword);
}

// The texts of numbers between bounds that are multiples of factors. Errors: kUnsupported.
Result<CharDfa> NumberTexts(const Facts& facts);

}  // namespace exo::grammar
