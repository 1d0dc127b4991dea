// A JSON value as plain data, for what templates get beside text: arguments of tool calls and
// descriptions of tools. Parsing JSON is the service's business.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace exo::model {

struct Data;
struct DataMember;
using DataList = std::vector<Data>;
using DataMap = std::vector<DataMember>;  // in the order of the text

struct Data {
  std::variant<std::monostate, bool, int64_t, double, std::string, DataList, DataMap> value;
};
struct DataMember {
  std::string key;
  Data value;
};

}  // namespace exo::model
