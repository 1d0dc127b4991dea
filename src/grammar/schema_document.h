// A JSON schema as it is written: the order of its keys kept, its references resolved within
// itself. Nothing is fetched.
//
// Immutable after Parse. Thread: any.
#pragma once

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"

namespace exo::grammar {

using Json = nlohmann::ordered_json;

inline constexpr size_t kMaxSchemaBytes = 256u << 10;
inline constexpr size_t kMaxSchemaNesting = 64;

// Any JSON text. Errors: kInvalid (position), also for deeper nesting. nlohmann's exceptions end
// here.
Result<Json> ParseOrderedJson(std::string_view text);
// Compact; what is not UTF-8 is replaced.
std::string TextOf(const Json& json);
// Short, for messages.
std::string Shown(const Json& json);

// The keyword of a schema, or null.
const Json* Keyword(const Json& schema, const char* name);

class SchemaDocument {
 public:
  // Errors: kInvalid (no JSON, not an object or truth value).
  static Result<SchemaDocument> Parse(std::string_view text);

  const Json& root() const { return *root_; }
  // The schema that `reference`, written in `schema`, means. Errors: kInvalid (there is none),
  // kUnsupported (it lies outside of the document).
  Result<const Json*> Resolve(const Json& schema, const std::string& reference) const;

 private:
  void Index(const Json& schema, const std::string& base);

  std::unique_ptr<Json> root_;
  std::unordered_map<const Json*, std::string> bases_;  // of each schema: its resource's URI
  std::map<std::string, const Json*> resources_;        // by URI, and URI#anchor
};

}  // namespace exo::grammar
