// The filters by name, in three files: text, lists and the rest.
#pragma once

#include <span>

#include "model/jinja/interpreter.h"

namespace exo::model::jinja {

using FilterFunction = Result<Value> (*)(Interpreter&, const Value&, const Arguments&);
struct FilterEntry {
  std::string_view name;
  FilterFunction function;
};

std::span<const FilterEntry> TextFilters();
std::span<const FilterEntry> ListFilters();
std::span<const FilterEntry> ValueFilters();

// An argument's truth, text and number with what holds when it is absent. Errors: kInvalid (wrong
// type).
bool BoolArgument(const Arguments& arguments, size_t index, std::string_view name, bool absent);
Result<Text> TextArgumentOr(const Arguments& arguments, size_t index, std::string_view name,
                            std::string_view absent);

}  // namespace exo::model::jinja
