// Whether a value satisfies a schema: which values of an enumeration may be written, and whether
// the alternatives of a oneOf exclude each other.
//
// Thread: one caller at a time.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "grammar/char_dfa.h"
#include "grammar/schema_document.h"

namespace exo::grammar {

// 1 and 1.0 are equal, and the order of an object's keys does not matter.
bool SameValue(const Json& a, const Json& b);
// Also 1.0 is an integer.
bool IsInteger(const Json& value);

// Texts that a pattern finds something in, and those of a format. Kept, since both occur often.
class TextRules {
 public:
  // Errors: those of ParseRegex and ToDfa.
  Result<const CharDfa*> Pattern(const std::string& pattern);
  // Errors: kUnsupported (names the format).
  Result<const CharDfa*> Format(const std::string& format);

 private:
  std::map<std::string, CharDfa> known_;
};

// The regular expression of a format of JSON schema, anchored; null: not one that we write.
const char* FormatPattern(std::string_view format);

class SchemaChecker {
 public:
  SchemaChecker(const SchemaDocument& document, TextRules& texts)
      : document_(document), texts_(texts) {}
  // Errors: kUnsupported (a keyword, named), kInvalid (the schema; a reference that leads to
  // itself).
  Result<bool> Satisfies(const Json& value, const Json& schema, size_t depth = 0);
  // The same, where a wrong "no" would do harm: a text that a format may or may not allow is
  // kUnsupported.
  Result<bool> SatisfiesExactly(const Json& value, const Json& schema, size_t depth = 0);

 private:
  bool Lists(const Json& values, const Json& value);
  Result<bool> Applied(const Json& value, const Json& schema, size_t depth);
  Result<bool> Conditions(const Json& value, const Json& schema, size_t depth);
  Result<bool> Number(const Json& value, const Json& schema) const;
  Result<bool> Text(const std::string& value, const Json& schema);
  Result<bool> Array(const Json& value, const Json& schema, size_t depth);
  Result<bool> Object(const Json& value, const Json& schema, size_t depth);
  Result<bool> Members(const Json& value, const Json& schema, size_t depth);

  const SchemaDocument& document_;
  TextRules& texts_;
  std::map<const Json*, std::set<std::string>> texts_of_;  // of lists of the document
  uint64_t work_ = 0;
  int exact_ = 0;  // > 0: within SatisfiesExactly
};

}  // namespace exo::grammar
