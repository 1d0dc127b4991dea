#include "app/settings_file.h"

#include <algorithm>
#include <sstream>

#include "app/toml.h"

namespace exo::app {
namespace {

constexpr size_t kShown = 60;

std::string Shown(const toml::node& node) {
  std::ostringstream out;
  node.visit([&](const auto& value) { out << toml::toml_formatter(value); });
  std::string text = out.str();
  std::ranges::replace(text, '\n', ' ');
  if (text.size() > kShown) text = text.substr(0, kShown) + "...";
  return text;
}

std::string TypeName(const toml::node& node) {
  if (node.is_string()) return "string";
  if (node.is_integer()) return "integer";
  if (node.is_boolean()) return "boolean";
  if (node.is_floating_point()) return "float";
  if (node.is_table()) return "table";
  if (node.is_array()) return "array";
  return "date or time";
}

FileEntry ToEntry(std::string key, const toml::node& node) {
  FileEntry entry{.key = std::move(key),
                  .type = TypeName(node),
                  .texts = {},
                  .shown = Shown(node),
                  .line = node.source().begin.line};
  if (const auto* text = node.as_string()) {
    entry.texts = {text->get()};
  } else if (const auto* number = node.as_integer()) {
    entry.texts = {std::to_string(number->get())};
  } else if (const auto* flag = node.as_boolean()) {
    entry.texts = {flag->get() ? "true" : "false"};
  } else if (const auto* array = node.as_array()) {
    // An empty list says "none", which a setting's empty list is; one of other things is no list.
    bool all = true;
    for (const toml::node& one : *array) {
      all = all && one.is_string();
      if (all) entry.texts.push_back(one.as_string()->get());
    }
    if (all) entry.type = "list";
  }
  return entry;
}

}  // namespace

Result<std::vector<FileEntry>> ParseSettingsFile(const std::string& text, const std::string& path) {
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    const toml::source_position at = parsed.error().source().begin;
    return Fail(ErrorCode::kInvalid, "{} line {}, column {}: {}", path, at.line, at.column,
                parsed.error().description());
  }
  std::vector<FileEntry> entries;
  for (const auto& [key, node] : parsed.table())
    entries.push_back(ToEntry(std::string(key.str()), node));
  std::ranges::sort(entries, {}, &FileEntry::line);
  return entries;
}

}  // namespace exo::app
