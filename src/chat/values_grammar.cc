#include "chat/values_grammar.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "chat/literal.h"

namespace exo::chat {
namespace {

constexpr int kMaxLevels = 8;     // of a schema: what lies deeper may be anything
constexpr int kAnyLevels = 4;     // of lists and objects in a value that may be anything
constexpr int kMaxListed = 1000;  // items that a schema may ask for one by one
constexpr size_t kMaxTypes = 8;   // of one value; JSON has seven
// Values of one tool that are written as their schemas say: lists of types multiply.
constexpr size_t kMaxValues = 4096;

// Strings between quotes as JSON has them: every value may then be JSON.
bool HasJsonValues(const CallSyntax& syntax) {
  return syntax.string_quote == "\"";
}

// The schema with the definitions of the whole, which it may refer to.
std::string JsonOf(const OrderedJson& schema, const OrderedJson& whole) {
  if (!schema.is_object()) return "%json {} ";
  const std::string text = Dump(schema);
  if (!text.contains("\"$ref\"")) return "%json " + text + " ";
  OrderedJson with_shared = schema;
  for (const char* shared : {"$defs", "definitions"}) {
    if (whole.contains(shared) && !schema.contains(shared)) with_shared[shared] = whole[shared];
  }
  return "%json " + Dump(with_shared) + " ";
}

// A number, a truth value or nothing: what says something about them is no list or object.
std::string ScalarOf(const OrderedJson& schema, const std::string& type) {
  OrderedJson scalar = {{"type", type}};
  for (const auto& [name, value] : schema.items()) {
    if (name != "type" && !value.is_structured()) scalar[name] = value;
  }
  return "%json " + Dump(scalar) + " ";
}

// A limit of a list's length.
std::optional<double> LengthOf(const OrderedJson& schema, const char* name) {
  const OrderedJson* value = MemberOf(schema, name);
  return value != nullptr && value->is_number() ? std::optional(value->get<double>())
                                                : std::nullopt;
}

const OrderedJson* ListOf(const OrderedJson& schema, const char* name) {
  const OrderedJson* list = MemberOf(schema, name);
  return list != nullptr && list->is_array() && !list->empty() ? list : nullptr;
}

class RuleWriter {
 public:
  RuleWriter(const CallSyntax& syntax, const GbnfTexts& texts, const OrderedJson& whole,
             std::string name)
      : syntax_(syntax), texts_(texts), whole_(whole), name_(std::move(name)) {}

  std::string Run() {
    const std::string body = Object(whole_, syntax_.values_open, syntax_.values_close, 0);
    return name_ + " ::= " + body + "\n" + rules_;
  }

 private:
  // A rule of its own; what calls it.
  std::string AddRule(const std::string& body) {
    const std::string name = fmt::format("{}-{}", name_, ++count_);
    rules_ += name + " ::= " + body + "\n";
    return name + " ";
  }
  std::string Key(const std::string& key) const {
    const bool plain = !key.empty() && std::ranges::all_of(key, &IsNameChar);
    if (HasJsonValues(syntax_) && !plain) return QuotedLiteral(Dump(OrderedJson(key))) + " ";
    const std::string& quote = plain ? "" : syntax_.string_quote;
    return texts_.Literal(quote + key + quote);
  }
  std::string Separator() const { return texts_.Literal(syntax_.values_between); }

  std::string Object(const OrderedJson& schema, std::string_view open, std::string_view close,
                     int level) {
    const OrderedJson* properties = MemberOf(schema, "properties");
    if (properties != nullptr && properties->is_object())
      return texts_.Literal(open) + Members(schema, *properties, level) + texts_.Literal(close);
    const OrderedJson* others = MemberOf(schema, "additionalProperties");
    const bool none = others != nullptr && *others == false;
    return texts_.Literal(open) + (none ? "" : AnyMembers(0)) + texts_.Literal(close);
  }
  // Those that are required come; commas stand between those that come. A rule for what may follow
  // the members before, and one for what may stand first.
  std::string Members(const OrderedJson& schema, const OrderedJson& properties, int level) {
    std::string first = "\"\" ", next = "\"\" ";
    for (auto at = properties.rbegin(); at != properties.rend(); ++at) {
      const std::string member = AddRule(Key(at.key()) + texts_.Literal(syntax_.value_begin) +
                                         Value(at.value(), level + 1));
      const bool required = IsRequired(schema, at.key());
      first = AddRule(member + next + (required ? "" : "| " + first));
      next =
          AddRule((required ? "" : "( ") + Separator() + member + (required ? "" : ")? ") + next);
    }
    return first;
  }
  std::string AnyMembers(int level) {
    const std::string member = AddRule("[a-zA-Z0-9_.-]{1,64} " +
                                       texts_.Literal(syntax_.value_begin) + AnyValue(level + 1));
    return "( " + member + "( " + Separator() + member + ")* )? ";
  }

  std::string Value(const OrderedJson& schema, int level) {
    if (HasJsonValues(syntax_)) return JsonValue(schema);
    if (!schema.is_object() || level > kMaxLevels || ++values_ > kMaxValues) return AnyValue(0);
    if (const OrderedJson* values = ListOf(schema, "enum")) return OneOf(*values);
    if (const OrderedJson* value = MemberOf(schema, "const"))
      return OneOf(OrderedJson::array({*value}));
    for (const char* ways : {"anyOf", "oneOf"}) {
      if (const OrderedJson* list = ListOf(schema, ways))
        return Either(*list, [&](const OrderedJson& way) { return Value(way, level + 1); });
    }
    const OrderedJson* type = MemberOf(schema, "type");
    if (type == nullptr) return AnyValue(0);
    if (!type->is_array()) return OfType(schema, *type, level);
    const size_t types = std::min(type->size(), kMaxTypes);
    return Either(OrderedJson(type->begin(), type->begin() + static_cast<std::ptrdiff_t>(types)),
                  [&](const OrderedJson& one) { return OfType(schema, one, level); });
  }
  // A program's words for truth values and nothing are read, too.
  std::string JsonValue(const OrderedJson& schema) const {
    const OrderedJson* type = schema.is_object() ? MemberOf(schema, "type") : nullptr;
    const bool alone = type != nullptr && OtherThan(schema, {"type"}).empty();
    if (alone && *type == "boolean") return R"(( "true" | "false" | "True" | "False" ) )";
    if (alone && *type == "null") return R"(( "null" | "None" ) )";
    return JsonOf(schema, whole_);
  }
  std::string OfType(const OrderedJson& schema, const OrderedJson& type, int level) {
    if (!type.is_string()) return AnyValue(0);
    if (type == "string") return AnyText();
    if (type == "object") return AddRule(Object(schema, "{", "}", level));
    if (type == "array") return List(schema, level);
    return ScalarOf(schema, type.get<std::string>());
  }
  std::string AnyText() const {
    return texts_.Literal(syntax_.string_quote) + texts_.Until(syntax_.string_quote);
  }
  // Lists and objects among the values are left out.
  std::string OneOf(const OrderedJson& values) const {
    std::string ways;
    for (const OrderedJson& value : values) {
      if (value.is_structured()) continue;
      if (!ways.empty()) ways += "| ";
      ways += value.is_string() ? texts_.Literal(syntax_.string_quote + value.get<std::string>() +
                                                 syntax_.string_quote)
                                : QuotedLiteral(Dump(value)) + " ";
    }
    return ways.empty() ? AnyText() : "( " + ways + ") ";
  }
  template <class Write>
  std::string Either(const OrderedJson& list, Write write) const {
    std::string ways;
    for (const OrderedJson& one : list) ways += (ways.empty() ? "" : "| ") + write(one);
    return "( " + ways + ") ";
  }
  std::string List(const OrderedJson& schema, int level) {
    const auto limit = [&](const char* name, int otherwise) {
      const double length = LengthOf(schema, name).value_or(otherwise);
      return static_cast<int>(std::clamp(length, -1.0, double{kMaxListed}));
    };
    const int least = limit("minItems", 0), most = limit("maxItems", -1);  // -1: any number
    if (most == 0) return R"("[]" )";
    const OrderedJson* items = MemberOf(schema, "items");
    const std::string item = AddRule(items == nullptr ? AnyValue(0) : Value(*items, level + 1));
    const std::string more = fmt::format("( \",\" {}){{{},{}}} ", item, std::max(least - 1, 0),
                                         most > 0 ? std::to_string(most - 1) : "");
    return "\"[\" " + (least <= 0 ? "( " + item + more + ")? " : item + more) + "\"]\" ";
  }
  // Not nested too deeply to be read.
  std::string AnyValue(int level) {
    if (HasJsonValues(syntax_)) return "%json {} ";
    std::string& rule = any_[static_cast<size_t>(std::min(level, kAnyLevels))];
    if (!rule.empty()) return rule;
    std::string ways = AnyText() + "| %json {\"type\":[\"number\",\"boolean\",\"null\"]} ";
    if (level < kAnyLevels) {
      const std::string item = AnyValue(level + 1);
      ways += "| \"[\" ( " + item + "( \",\" " + item + ")* )? \"]\" | \"{\" " + AnyMembers(level) +
              "\"}\" ";
    }
    rule = AddRule(ways);
    return rule;
  }

  const CallSyntax& syntax_;
  const GbnfTexts& texts_;
  const OrderedJson& whole_;
  const std::string name_;
  std::string rules_;
  size_t count_ = 0, values_ = 0;
  std::string any_[kAnyLevels + 1];
};

// What RuleWriter::Value leaves out.
std::string NotHeldOfValue(const OrderedJson& schema) {
  if (!schema.is_object()) return "";
  if (const OrderedJson* values = ListOf(schema, "enum")) {
    const bool simple =
        std::ranges::none_of(*values, [](const OrderedJson& one) { return one.is_structured(); });
    return simple ? OtherThan(schema, {"type", "enum"}) : "enum";
  }
  if (const OrderedJson* value = MemberOf(schema, "const"))
    return value->is_structured() ? "const" : OtherThan(schema, {"type", "const"});
  if (const OrderedJson* ways = ListOf(schema, "anyOf")) {
    for (const OrderedJson& way : *ways) {
      if (std::string keyword = NotHeldOfValue(way); !keyword.empty()) return keyword;
    }
    return OtherThan(schema, {"anyOf"});
  }
  const OrderedJson* type = MemberOf(schema, "type");
  if (type == nullptr) return OtherThan(schema, {});
  if (type->is_array()) return OtherThan(schema, {"type"});
  if (*type == "string") return OtherThan(schema, {"type"});
  if (*type == "object") return KeywordNotHeldOfObject(schema, &NotHeldOfValue);
  if (*type != "array") return "";
  std::string keyword = OtherThan(schema, {"type", "items", "minItems", "maxItems"});
  if (!keyword.empty()) return keyword;
  if (LengthOf(schema, "minItems").value_or(0) > kMaxListed) return "minItems";
  const OrderedJson* items = MemberOf(schema, "items");
  return items == nullptr ? "" : NotHeldOfValue(*items);
}

}  // namespace

std::string ValueRules(const CallSyntax& syntax, const GbnfTexts& texts, const OrderedJson& schema,
                       const std::string& name) {
  return RuleWriter(syntax, texts, schema, name).Run();
}

std::string NotHeldOfValues(const CallSyntax& syntax, const OrderedJson& schema) {
  if (HasJsonValues(syntax))
    return KeywordNotHeldOfObject(schema, [](const OrderedJson&) { return std::string(); });
  return KeywordNotHeldOfObject(schema, &NotHeldOfValue);
}

}  // namespace exo::chat
