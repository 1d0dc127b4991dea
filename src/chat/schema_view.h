// What formats in which arguments are not JSON ask of a tool's schema: they write members one by
// one, and hold what they know how to write.
//
// Thread: pure, any.
#pragma once

#include <functional>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace exo::chat {

using OrderedJson = nlohmann::ordered_json;

// Compact; text that is not UTF-8 is replaced.
std::string Dump(const OrderedJson& json);

// Null: there is none, or `object` is no object.
const OrderedJson* MemberOf(const OrderedJson& object, const char* name);

bool IsRequired(const OrderedJson& schema, const std::string& name);

// The name of the first member that is none of `held` and says something about values; empty: there
// is none.
std::string OtherThan(const OrderedJson& schema, std::initializer_list<std::string_view> held);

// A keyword of an object's schema that members one by one, those of `properties`, do not keep;
// `of_value` says the same of a property's. Empty: there is none. Of schemas that compile.
std::string KeywordNotHeldOfObject(const OrderedJson& schema,
                                   const std::function<std::string(const OrderedJson&)>& of_value);

}  // namespace exo::chat
