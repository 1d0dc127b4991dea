#include "app/settings_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <utility>

#include "app/commented_list.h"
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

// Where a position of the parser is in the text: it counts code points of a line.
size_t OffsetOf(const std::string& text, const toml::source_position& position) {
  size_t at = 0;
  for (uint32_t line = 1; line < position.line; ++line) at = text.find('\n', at) + 1;
  const auto is_inside = [&](size_t byte) { return (text[byte] & 0xc0) == 0x80; };
  for (uint32_t column = 1; column < position.column && at < text.size(); ++column) {
    do ++at;
    while (at < text.size() && is_inside(at));
  }
  return at;
}

// The text of a list of texts, with the comments that the old one has among those that stay; the
// value as it is where there are none, or where either is no such list.
std::string WithComments(const std::string& text, const toml::node& old, const std::string& value) {
  const toml::parse_result parsed = toml::parse("list = " + value);
  const toml::array* const after = parsed ? parsed.table()["list"].as_array() : nullptr;
  const toml::array* const before = old.as_array();
  if (before == nullptr || after == nullptr) return value;
  const size_t begin = OffsetOf(text, old.source().begin), end = OffsetOf(text, old.source().end);
  std::vector<WrittenItem> items;
  for (const toml::node& one : *before) {
    if (!one.is_string()) return value;
    items.push_back({.begin = OffsetOf(text, one.source().begin) - begin,
                     .end = OffsetOf(text, one.source().end) - begin,
                     .value = one.as_string()->get()});
  }
  std::vector<std::string> values, as_toml;
  for (const toml::node& one : *after) {
    if (!one.is_string()) return value;
    values.push_back(one.as_string()->get());
    as_toml.push_back(TomlString(values.back()));
  }
  const std::string kept = KeepComments(text.substr(begin, end - begin), items, values, as_toml);
  return kept.empty() ? value : kept;
}

// A text without one of its keys: the lines from the key to the end of its value.
std::string WithoutLines(const std::string& text, size_t begin, size_t end) {
  const size_t first = begin == 0 ? 0 : text.rfind('\n', begin - 1) + 1;
  const size_t last = std::min(text.find('\n', end), text.size() - 1);
  return text.substr(0, first) + text.substr(last + 1);
}

// The entries of a file, without where and how they are written.
std::map<std::string, std::pair<std::string, std::vector<std::string>>> MeaningOf(
    const std::vector<FileEntry>& entries) {
  std::map<std::string, std::pair<std::string, std::vector<std::string>>> meaning;
  for (const FileEntry& entry : entries) meaning[entry.key] = {entry.type, entry.texts};
  return meaning;
}

// Whether two texts say the same but for one key, which the second has or has not: a line behind a
// table would be a key of that.
bool SameButFor(const std::string& key, bool has, const std::string& before,
                const std::string& after) {
  const auto old_entries = ParseSettingsFile(before, ""),
             new_entries = ParseSettingsFile(after, "");
  if (!old_entries || !new_entries) return false;
  auto was = MeaningOf(*old_entries), is = MeaningOf(*new_entries);
  was.erase(key);
  return (is.erase(key) > 0) == has && was == is;
}

}  // namespace

std::string TomlString(std::string_view text) {
  std::ostringstream out;
  out << toml::toml_formatter(toml::value<std::string>(std::string(text)),
                              toml::format_flags::none);
  return out.str();
}

Result<std::string> ChangeSettingsFile(const std::string& text, const std::string& path,
                                       const std::string& key,
                                       const std::optional<std::string>& value) {
  const toml::parse_result parsed = toml::parse(text, path);
  if (!parsed) {
    const auto error = ParseSettingsFile(text, path);
    return std::unexpected(error.error());
  }
  std::string changed = text;
  const toml::table& table = parsed.table();
  if (const auto found = table.find(key); found != table.end()) {
    const size_t begin = OffsetOf(text, found->first.source().begin);
    const toml::source_region& region = found->second.source();
    const size_t from = OffsetOf(text, region.begin), to = OffsetOf(text, region.end);
    changed =
        value ? text.substr(0, from) + WithComments(text, found->second, *value) + text.substr(to)
              : WithoutLines(text, begin, to);
  } else if (value) {
    if (!changed.empty() && !changed.ends_with('\n')) changed += '\n';
    changed += fmt::format("{} = {}\n", key, *value);
  }
  if (SameButFor(key, value.has_value(), text, changed)) return changed;
  return Fail(ErrorCode::kInvalid,
              "{} is written in a way that exo cannot change without changing more: change '{}' "
              "there by hand",
              path, key);
}

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
