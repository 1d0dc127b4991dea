#include "grammar/schema_document.h"

#include <algorithm>
#include <array>

namespace exo::grammar {
namespace {

// Where schemas lie inside a schema: one, a list, or by name.
constexpr std::array kSingle = {"items",
                                "additionalItems",
                                "additionalProperties",
                                "not",
                                "if",
                                "then",
                                "else",
                                "contains",
                                "propertyNames",
                                "unevaluatedItems",
                                "unevaluatedProperties"};
constexpr std::array kLists = {"allOf", "anyOf", "oneOf", "prefixItems", "items"};
constexpr std::array kMaps = {"properties",  "patternProperties", "$defs",
                              "definitions", "dependentSchemas",  "dependencies"};

class DepthLimit final : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return false; }
  bool key(string_t&) override { return true; }
  bool start_object(size_t) override { return ++depth_ <= kMaxSchemaNesting; }
  bool start_array(size_t) override { return ++depth_ <= kMaxSchemaNesting; }
  bool end_object() override { return --depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    position_ = position;
    return false;
  }
  size_t depth() const { return depth_; }
  size_t position() const { return position_; }

 private:
  size_t depth_ = 0, position_ = 0;
};

// RFC 3986, as far as schemas use it: what `reference` means in the document `base`.
std::string Absolute(const std::string& base, const std::string& reference) {
  if (reference.empty()) return base;
  const size_t colon = reference.find(':');
  if (colon != std::string::npos && reference.find('/') > colon) return reference;
  const size_t scheme = base.find("://");
  const size_t path = scheme == std::string::npos ? 0 : base.find('/', scheme + 3);
  if (reference.front() == '/') return base.substr(0, path) + reference;
  const size_t slash = base.rfind('/');
  if (slash == std::string::npos || (path == std::string::npos)) {
    return (base.empty() || scheme == std::string::npos) ? reference : base + "/" + reference;
  }
  return base.substr(0, slash + 1) + reference;
}

std::string Unescaped(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto hex = [&](size_t at) {
      const char c = at < text.size() ? text[at] : 'x';
      return c >= '0' && c <= '9'                 ? c - '0'
             : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                  : -1;
    };
    if (text[i] == '%' && hex(i + 1) >= 0 && hex(i + 2) >= 0) {
      out += static_cast<char>(hex(i + 1) * 16 + hex(i + 2));
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

// The value at a JSON pointer, null when there is none.
const Json* AtPointer(const Json* at, std::string_view pointer) {
  while (!pointer.empty() && at != nullptr) {
    pointer.remove_prefix(1);  // '/'
    const std::string_view raw = pointer.substr(0, pointer.find('/'));
    pointer.remove_prefix(raw.size());
    std::string name;
    for (size_t i = 0; i < raw.size(); ++i) {
      if (raw[i] == '~' && i + 1 < raw.size()) {
        name += raw[++i] == '1' ? '/' : '~';
      } else {
        name += raw[i];
      }
    }
    if (at->is_object()) {
      const auto found = at->find(name);
      at = found == at->end() ? nullptr : &*found;
    } else if (at->is_array() && !name.empty() && name.size() < 8 &&
               std::ranges::all_of(name, [](char c) { return c >= '0' && c <= '9'; })) {
      const size_t index = std::stoul(name);
      at = index < at->size() ? &(*at)[index] : nullptr;
    } else {
      at = nullptr;
    }
  }
  return at;
}

}  // namespace

Result<Json> ParseOrderedJson(std::string_view text) {
  DepthLimit limit;
  if (!Json::sax_parse(text.begin(), text.end(), &limit)) {
    if (limit.depth() > kMaxSchemaNesting)
      return Fail(ErrorCode::kInvalid, "the JSON is nested more than {} levels deep",
                  kMaxSchemaNesting);
    return Fail(ErrorCode::kInvalid, "it is not valid JSON at byte {}", limit.position());
  }
  Json json = Json::parse(text.begin(), text.end(), nullptr, false);
  if (json.is_discarded()) return Fail(ErrorCode::kInvalid, "it is not valid JSON");
  return json;
}

std::string TextOf(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string Shown(const Json& json) {
  std::string text = TextOf(json);
  if (text.size() > 80) text = text.substr(0, 77) + "...";
  return text;
}

const Json* Keyword(const Json& schema, const char* name) {
  if (!schema.is_object()) return nullptr;
  const auto found = schema.find(name);
  return found == schema.end() ? nullptr : &*found;
}

Result<SchemaDocument> SchemaDocument::Parse(std::string_view text) {
  if (text.size() > kMaxSchemaBytes)
    return Fail(ErrorCode::kInvalid, "the schema has {} bytes, but at most {} are allowed",
                text.size(), kMaxSchemaBytes);
  SchemaDocument document;
  auto json = ParseOrderedJson(text);
  if (!json) return Wrap(json.error(), "the schema");
  document.root_ = std::make_unique<Json>(*std::move(json));
  if (!document.root().is_object() && !document.root().is_boolean())
    return Fail(ErrorCode::kInvalid, "the schema is {}, but must be an object",
                Shown(document.root()));
  document.resources_[""] = document.root_.get();
  document.Index(document.root(), "");
  return document;
}

void SchemaDocument::Index(const Json& schema, const std::string& outer) {
  if (!schema.is_object() && !schema.is_boolean()) return;
  std::string base = outer;
  if (const Json* id = Keyword(schema, "$id"); id != nullptr && id->is_string()) {
    const std::string uri = id->get<std::string>();
    if (uri.starts_with('#')) {  // draft 7's way to write an anchor
      resources_.try_emplace(base + uri, &schema);
    } else {
      base = Absolute(outer, uri.substr(0, uri.find('#')));
      resources_.try_emplace(base, &schema);
    }
  }
  bases_[&schema] = base;
  for (const char* name : {"$anchor", "$dynamicAnchor"}) {
    if (const Json* anchor = Keyword(schema, name); anchor != nullptr && anchor->is_string())
      resources_.try_emplace(base + "#" + anchor->get<std::string>(), &schema);
  }
  for (const char* name : kSingle) {
    if (const Json* inside = Keyword(schema, name)) Index(*inside, base);
  }
  for (const char* name : kLists) {
    const Json* list = Keyword(schema, name);
    if (list == nullptr || !list->is_array()) continue;
    for (const Json& inside : *list) Index(inside, base);
  }
  for (const char* name : kMaps) {
    const Json* map = Keyword(schema, name);
    if (map == nullptr || !map->is_object()) continue;
    for (const Json& inside : *map) Index(inside, base);
  }
}

Result<const Json*> SchemaDocument::Resolve(const Json& schema,
                                            const std::string& reference) const {
  const auto at = bases_.find(&schema);
  const std::string& base = at == bases_.end() ? std::string() : at->second;
  const size_t hash = reference.find('#');
  const std::string uri = Absolute(base, reference.substr(0, hash));
  const std::string fragment =
      hash == std::string::npos ? "" : Unescaped(std::string_view(reference).substr(hash + 1));
  const auto resource = resources_.find(uri);
  if (resource == resources_.end())
    return Fail(ErrorCode::kUnsupported,
                "\"$ref\" to {} lies outside of the schema; put what it refers to into \"$defs\"",
                Shown(reference));
  const Json* found = nullptr;
  if (fragment.empty() || fragment.front() == '/') {
    found = AtPointer(resource->second, fragment);
  } else if (const auto anchor = resources_.find(uri + "#" + fragment);
             anchor != resources_.end()) {
    found = anchor->second;
  }
  if (found == nullptr || (!found->is_object() && !found->is_boolean()))
    return Fail(ErrorCode::kInvalid, "\"$ref\" to {}: the schema has nothing there",
                Shown(reference));
  return found;
}

}  // namespace exo::grammar
