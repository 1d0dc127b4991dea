#include "node/presets.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <ranges>
#include <string_view>

#include "base/text.h"

namespace exo::node {
namespace {

using Json = nlohmann::json;

Json ToJson(const Preset& preset) {
  Json messages = Json::array(), adapters = Json::array();
  for (const PresetMessage& one : preset.messages)
    messages.push_back({{"role", one.role}, {"content", one.content}});
  for (const AdapterChoice& one : preset.adapters)
    adapters.push_back({{"file", one.file}, {"scale", one.scale}});
  return {{"name", preset.name},
          {"base", preset.base},
          {"system", preset.system},
          {"template", preset.chat_template},
          {"parameters", preset.parameters},
          {"license", preset.license},
          {"messages", std::move(messages)},
          {"adapters", std::move(adapters)},
          {"created", preset.created}};
}

Preset FromJson(const Json& json) {
  Preset preset{.name = json.at("name"),
                .base = json.at("base"),
                .system = json.at("system"),
                .chat_template = json.at("template"),
                .parameters = json.at("parameters"),
                .license = json.at("license"),
                .created = json.at("created")};
  for (const Json& one : json.at("messages"))
    preset.messages.push_back({.role = one.at("role"), .content = one.at("content")});
  for (const Json& one : json.at("adapters"))
    preset.adapters.push_back({.file = one.at("file"), .scale = one.at("scale")});
  return preset;
}

size_t BytesOf(const Preset& preset) {
  size_t bytes = preset.system.size() + preset.chat_template.size() + preset.parameters.size() +
                 preset.license.size();
  for (const PresetMessage& one : preset.messages) bytes += one.role.size() + one.content.size();
  for (const AdapterChoice& one : preset.adapters) bytes += one.file.size();
  return bytes;
}

bool IsNamePart(std::string_view part) {
  const auto is_letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !part.empty() && (is_letter(part.front()) || part.front() == '_') &&
         std::ranges::all_of(
             part, [&](char c) { return is_letter(c) || c == '.' || c == '_' || c == '-'; });
}

// As Ollama names models: PART/PART:TAG.
bool MayBeNamed(std::string_view name) {
  if (name.size() > wire::kMaxName) return false;
  if (const size_t tag = name.rfind(':'); tag != std::string_view::npos) {
    if (!IsNamePart(name.substr(tag + 1))) return false;
    name = name.substr(0, tag);
  }
  return std::ranges::all_of(
             std::views::split(name, '/'),
             [](auto part) { return IsNamePart(std::string_view(part.begin(), part.end())); }) &&
         !name.empty();
}

}  // namespace

Result<Presets> Presets::Parse(std::string_view text) {
  Presets presets;
  try {
    for (const Json& one : Json::parse(text)) TRY(presets.Put(FromJson(one)));
  } catch (const Json::exception& error) {
    return Fail(ErrorCode::kCorrupt, "{}", error.what());
  }
  return presets;
}

std::string Presets::Text(const List& presets) {
  Json list = Json::array();
  for (const auto& preset : presets) list.push_back(ToJson(*preset));
  return list.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::shared_ptr<const Preset> Presets::Find(const std::string& name) const {
  const auto found = all_.find(name);
  return found == all_.end() ? nullptr : found->second;
}

Result<void> Presets::Put(Preset preset) {
  if (!MayBeNamed(preset.name)) {
    return Fail(ErrorCode::kInvalid,
                "'{}' cannot be the name of a model: it has up to {} letters, digits, '.', '_' and "
                "'-', may have '/' between parts and one ':' before a tag, and each part begins "
                "with a letter, a digit or '_'",
                Printable(preset.name.substr(0, wire::kMaxName)), wire::kMaxName);
  }
  if (const size_t bytes = BytesOf(preset); bytes > kMaxPresetBytes) {
    return Fail(ErrorCode::kInvalid, "what '{}' says has {} bytes ({} at most)", preset.name, bytes,
                kMaxPresetBytes);
  }
  if (all_.size() >= kMaxPresets && !all_.contains(preset.name)) {
    return Fail(ErrorCode::kOverloaded,
                "there are {} created models already, as many as there may be; delete one",
                kMaxPresets);
  }
  std::string name = preset.name;
  all_[std::move(name)] = std::make_shared<const Preset>(std::move(preset));
  return {};
}

Presets::List Presets::All() const {
  List all;
  for (const auto& [name, preset] : all_) all.push_back(preset);
  return all;
}

}  // namespace exo::node
