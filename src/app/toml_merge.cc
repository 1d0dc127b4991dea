#include "app/toml_merge.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "app/toml.h"

namespace exo::app {
namespace {

void MergeInto(toml::table& table, const nlohmann::json& added) {
  for (const auto& [name, value] : added.items()) {
    if (value.is_object()) {
      if (table[name].as_table() == nullptr) table.insert_or_assign(name, toml::table{});
      MergeInto(*table[name].as_table(), value);
    } else if (value.is_number_integer()) {
      table.insert_or_assign(name, value.get<int64_t>());
    } else {
      table.insert_or_assign(name, value.get<std::string>());
    }
  }
}

}  // namespace

Result<std::string> MergeToml(const std::string& file, const std::string& text,
                              const nlohmann::json& added) {
  toml::parse_result parsed = toml::parse(text, file);
  if (!parsed) {
    return Fail(ErrorCode::kCorrupt, "{} line {} is no TOML ({}); exo leaves it as it is", file,
                parsed.error().source().begin.line, parsed.error().description());
  }
  MergeInto(parsed.table(), added);
  std::ostringstream out;
  out << parsed.table() << "\n";
  return out.str();
}

}  // namespace exo::app
