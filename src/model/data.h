// A JSON value as plain data, for what templates get beside text: arguments of tool calls and
// descriptions of tools. Parsing JSON is the service's business.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace exo::model {

struct Data;
using DataList = std::vector<Data>;
using DataMap = std::vector<std::pair<std::string, Data>>;  // in the order of the text

struct Data {
  std::variant<std::monostate, bool, int64_t, double, std::string, DataList, DataMap> value;
};

}  // namespace exo::model
