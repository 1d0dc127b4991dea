#include "app/command_tree.h"

#include <algorithm>
#include <sstream>
#include <string_view>
#include <utility>

namespace exo::app {
namespace {

// CLI11 keeps the members of IsMember in the name of the value's type only: "TEXT:{auto,layer}".
std::vector<std::string> ChoicesIn(const std::string& type) {
  const size_t begin = type.find('{'), end = type.find('}');
  std::vector<std::string> choices;
  if (begin == std::string::npos || end == std::string::npos || end < begin) return choices;
  std::istringstream list(type.substr(begin + 1, end - begin - 1));
  for (std::string one; std::getline(list, one, ',');) choices.push_back(one);
  return choices;
}

OptionInfo DescribeOption(const CLI::Option& option) {
  OptionInfo info{.takes_value = option.get_items_expected_max() > 0,
                  .choices = ChoicesIn(option.get_type_name()),
                  .required = option.get_required(),
                  .what = option.get_description()};
  for (const std::string& name : option.get_lnames()) info.names.push_back("--" + name);
  for (const std::string& name : option.get_snames()) info.names.push_back("-" + name);
  if (info.names.empty()) info.names.push_back(option.get_name(true, false));
  return info;
}

void Describe(const CLI::App& command, std::vector<std::string> path,
              std::vector<CommandInfo>& all) {
  CommandInfo info{
      .path = path, .aliases = command.get_aliases(), .what = command.get_description()};
  for (const CLI::Option* option : command.get_options()) {
    if (option->get_group().empty()) continue;
    auto& list = option->get_positional() ? info.arguments : info.options;
    list.push_back(DescribeOption(*option));
  }
  all.push_back(std::move(info));
  for (const CLI::App* one : command.get_subcommands([](const CLI::App*) { return true; })) {
    if (one->get_group().empty()) continue;
    path.push_back(one->get_name());
    Describe(*one, path, all);
    path.pop_back();
  }
}

}  // namespace

std::string CommandInfo::Name() const {
  std::string name = "exo";
  for (const std::string& word : path) name += " " + word;
  return name;
}

std::vector<CommandInfo> DescribeCommands(const CLI::App& app) {
  std::vector<CommandInfo> all;
  Describe(app, {}, all);
  return all;
}

ValueKind KindOf(const OptionInfo& option) {
  constexpr std::pair<std::string_view, ValueKind> kKinds[] = {
      {"MODEL", ValueKind::kModel},     {"--model", ValueKind::kModel},
      {"--draft", ValueKind::kModel},   {"IN", ValueKind::kModel},
      {"DEVICE", ValueKind::kDevice},   {"ID", ValueKind::kDevice},
      {"OUT", ValueKind::kFile},        {"--out", ValueKind::kFile},
      {"--file", ValueKind::kFile},     {"--lora", ValueKind::kFile},
      {"--config", ValueKind::kFile},   {"--cluster", ValueKind::kFile},
      {"--replay", ValueKind::kFile},   {"--tls-cert", ValueKind::kFile},
      {"--tls-key", ValueKind::kFile},  {"DIR", ValueKind::kFolder},
      {"--models", ValueKind::kFolder}, {"SHELL", ValueKind::kShell}};
  for (const auto& [name, kind] : kKinds) {
    if (option.takes_value && std::ranges::find(option.names, name) != option.names.end())
      return kind;
  }
  return ValueKind::kNone;
}

}  // namespace exo::app
