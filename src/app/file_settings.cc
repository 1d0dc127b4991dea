#include "app/file_settings.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "app/settings_file.h"
#include "base/text.h"
#include "sys/files.h"

namespace exo::app {
namespace {

using service::Json;

constexpr size_t kMaxFile = 1 << 20;

std::string KindOfOrigin(const std::string& origin) {
  if (origin.empty()) return "default";
  if (origin.starts_with("--")) return "flag";
  return origin.starts_with("EXO_") ? "environment" : "file";
}

std::string OriginOf(const Settings& settings, const std::string& key) {
  const auto found = settings.origins.find(key);
  return found == settings.origins.end() ? "" : found->second;
}

// What a change writes into the file. Errors: kInvalid (JSON that no setting is).
Result<std::string> TomlOf(const service::SettingChange& change) {
  const Json& value = change.value;
  if (value.is_boolean() || value.is_number_integer()) return service::Dump(value);
  if (value.is_string()) return TomlString(value.get<std::string>());
  const bool is_list = value.is_array() &&
                       std::ranges::all_of(value, [](const Json& one) { return one.is_string(); });
  if (!is_list) {
    return Fail(ErrorCode::kInvalid,
                "'{}' cannot be {}; a setting is a text, a whole number, true or false, a list of "
                "texts, or null for its default",
                change.name, service::Dump(value).substr(0, 64));
  }
  std::string list;
  for (const Json& one : value)
    list += fmt::format("{}{}", list.empty() ? "" : ", ", TomlString(one.get<std::string>()));
  return "[" + list + "]";
}

Result<void> CheckName(const std::string& name) {
  const auto& infos = SettingInfos();
  const auto found = std::ranges::find(infos, name, &SettingInfo::key);
  if (found == infos.end())
    return Fail(ErrorCode::kInvalid, "there is no setting '{}'", Printable(name.substr(0, 64)));
  if (!found->is_secret) return {};
  return Fail(ErrorCode::kInvalid,
              "'{}' is not changed here: exo secret --rotate replaces it on all devices", name);
}

}  // namespace

Json SettingJson(const Settings& settings, const SettingInfo& info) {
  const std::vector<std::string> texts = SettingTexts(settings, info.key);
  if (info.is_list) return texts;
  if (texts.empty()) return {};
  if (info.is_flag) return texts[0] == "true";
  if (info.is_number) return std::stoull(texts[0]);  // the table has checked it
  return texts[0];
}

service::SettingsView FileSettings::Read() {
  service::SettingsView view{.file = SettingsPath(sources_)};
  const auto next = ReadSettings(sources_);
  if (!next) view.problem = next.error().message;
  const Settings defaults;
  for (const SettingInfo& info : SettingInfos()) {
    const std::string source = OriginOf(running_, info.key);
    service::SettingView one{.name = info.key,
                             .origin = KindOfOrigin(source),
                             .source = source,
                             .kind = info.accepts,
                             .help = info.what,
                             .is_secret = info.is_secret};
    if (!info.is_secret) {
      one.value = SettingJson(running_, info);
      one.fallback = SettingJson(defaults, info);
      const Json later = next ? SettingJson(*next, info) : one.value;
      if (later != one.value) one.next = later;
    }
    view.settings.push_back(std::move(one));
  }
  return view;
}

Result<service::SettingsChanged> FileSettings::Change(
    const std::vector<service::SettingChange>& changes) {
  // A link stays one: what it leads to is written.
  const std::string path = sys::CanonicalPath(SettingsPath(sources_));
  std::string text;
  if (sys::NameExists(path)) text = TRY(sys::ReadPlainFile(path, kMaxFile));
  for (const service::SettingChange& change : changes) {
    TRY(CheckName(change.name));
    std::optional<std::string> value;
    if (!change.value.is_null()) value = TRY(TomlOf(change));
    text = TRY(ChangeSettingsFile(text, path, change.name, value));
  }
  Settings checked;
  TRY(ApplyFile(text, path, checked));
  TRY(sys::WriteFileAtomically(path, text, 0600));
  service::SettingsChanged done;
  for (const service::SettingChange& change : changes) {
    const std::string source = OriginOf(running_, change.name);
    const std::string kind = KindOfOrigin(source);
    if (kind == "flag" || kind == "environment") done.hidden.emplace_back(change.name, source);
    done.later.push_back(change.name);
  }
  return done;
}

}  // namespace exo::app
