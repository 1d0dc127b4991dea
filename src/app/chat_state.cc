#include "app/chat_state.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "app/output.h"
#include "base/text.h"
#include "sys/files.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr size_t kMaxChatFile = 64u << 20;

std::string Trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(" \t\n");
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(" \t\n") + 1 - begin);
}

template <class T>
Result<std::optional<T>> ReadNumberIn(const std::string& text, const std::string& name, T low,
                                      T high) {
  if (text == "default") return std::optional<T>();
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() ||
      !(value >= low && value <= high)) {
    return Fail(ErrorCode::kInvalid, "{} is a number from {} to {}, or default; not '{}'", name,
                low, high, Printable(text));
  }
  return std::optional<T>(value);
}

Result<std::optional<bool>> ReadSwitch(const std::string& text, const std::string& name) {
  if (text == "on") return std::optional(true);
  if (text == "off") return std::optional(false);
  if (text == "default") return std::optional<bool>();
  return Fail(ErrorCode::kInvalid, "{} is on, off or default; not '{}'", name, Printable(text));
}

template <class T>
std::string Shown(const std::optional<T>& value) {
  return value ? fmt::format("{}", *value) : "default";
}
std::string ShownSwitch(const std::optional<bool>& value) {
  return !value ? "default" : *value ? "on" : "off";
}

using Read = Result<void> (*)(ChatSettings&, const std::string& name, const std::string& text);
struct SettingOfChat {
  const char* name;
  const char* what;
  Read read;
  std::string (*show)(const ChatSettings&);
};

template <auto Member, auto Low, auto High>
Result<void> ReadInto(ChatSettings& settings, const std::string& name, const std::string& text) {
  using T = typename std::remove_reference_t<decltype(settings.*Member)>::value_type;
  settings.*Member = TRY(ReadNumberIn<T>(text, name, T(Low), T(High)));
  return {};
}
template <auto Member>
std::string Show(const ChatSettings& settings) {
  return Shown(settings.*Member);
}

constexpr int64_t kMost = int64_t{1} << 53;  // what JSON readers take exactly

const SettingOfChat kSettings[] = {
    {"system", "what the model is told about its part",
     [](ChatSettings& settings, const std::string&, const std::string& text) -> Result<void> {
       settings.system = text == "default" ? "" : text;
       return {};
     },
     [](const ChatSettings& settings) {
       return settings.system.empty() ? std::string("default") : settings.system;
     }},
    {"temperature", "0: always the likeliest token; to 2",
     &ReadInto<&ChatSettings::temperature, 0, 2>, &Show<&ChatSettings::temperature>},
    {"top_k", "only the so many likeliest tokens; 0: all",
     &ReadInto<&ChatSettings::top_k, 0, 10'000'000>, &Show<&ChatSettings::top_k>},
    {"top_p", "only the likeliest tokens that make up this part",
     &ReadInto<&ChatSettings::top_p, 0, 1>, &Show<&ChatSettings::top_p>},
    {"min_p", "only tokens of at least this part of the likeliest",
     &ReadInto<&ChatSettings::min_p, 0, 1>, &Show<&ChatSettings::min_p>},
    {"seed", "same seed, same answer", &ReadInto<&ChatSettings::seed, 0, kMost>,
     &Show<&ChatSettings::seed>},
    {"max_tokens", "of an answer at most", &ReadInto<&ChatSettings::max_tokens, 1, 10'000'000>,
     &Show<&ChatSettings::max_tokens>},
    {"think", "whether the model thinks first: on or off",
     [](ChatSettings& settings, const std::string& name, const std::string& text) -> Result<void> {
       settings.think = TRY(ReadSwitch(text, name));
       return {};
     },
     [](const ChatSettings& settings) { return ShownSwitch(settings.think); }},
    {"verbose", "figures behind each answer: on or off",
     [](ChatSettings& settings, const std::string& name, const std::string& text) -> Result<void> {
       settings.verbose = TRY(ReadSwitch(text, name)).value_or(false);
       return {};
     },
     [](const ChatSettings& settings) { return ShownSwitch(settings.verbose); }}};

Result<std::string> ChatPath(const std::string& folder, const std::string& name) {
  const bool plain = !name.empty() && name.size() <= 100 && !name.starts_with('.') &&
                     name.find('/') == std::string::npos && Printable(name) == name;
  if (plain) return folder + "/" + name + ".json";
  return Fail(ErrorCode::kInvalid, "'{}' is no name of a chat: say letters and digits",
              Printable(name));
}

json SettingsJson(const ChatSettings& settings) {
  json saved = json::object();
  for (const SettingOfChat& one : kSettings) saved[one.name] = one.show(settings);
  return saved;
}

bool IsMessage(const json& message) {
  return message.is_object() && message.value("role", json()).is_string() &&
         message.value("content", json()).is_string();
}

}  // namespace

json ChatRequest(const Chat& chat) {
  const ChatSettings& set = chat.settings;
  json body = {{"model", chat.model}, {"stream", true}, {"messages", json::array()}};
  if (!set.system.empty())
    body["messages"].push_back({{"role", "system"}, {"content", set.system}});
  for (const json& message : chat.messages) body["messages"].push_back(message);
  if (set.temperature) body["temperature"] = *set.temperature;
  if (set.top_p) body["top_p"] = *set.top_p;
  if (set.min_p) body["min_p"] = *set.min_p;
  if (set.top_k) body["top_k"] = *set.top_k;
  if (set.seed) body["seed"] = *set.seed;
  if (set.max_tokens) body["max_tokens"] = *set.max_tokens;
  if (set.think) body["enable_thinking"] = *set.think;
  return body;
}

Result<std::string> SetInChat(ChatSettings& settings, const std::string& name,
                              const std::string& value) {
  std::vector<std::string> names;
  for (const SettingOfChat& one : kSettings) {
    names.emplace_back(one.name);
    if (name != one.name) continue;
    if (!value.empty()) TRY(one.read(settings, name, value));
    return fmt::format("{}: {}", name, one.show(settings));
  }
  const std::string near = Nearest(name, names);
  return Fail(ErrorCode::kInvalid,
              "there is nothing called '{}' to set{}; /set shows what there is", Printable(name),
              near.empty() ? "" : fmt::format("; did you mean {}?", near));
}

std::string DescribeSettings(const ChatSettings& settings) {
  std::string text;
  for (const SettingOfChat& one : kSettings)
    text += fmt::format("  {:<12} {:<10} {}\n", one.name, one.show(settings), one.what);
  return text;
}

std::optional<std::string> TakeLastQuestion(Chat& chat) {
  while (!chat.messages.empty()) {
    const json last = chat.messages.back();
    chat.messages.erase(chat.messages.size() - 1);
    if (last.value("role", "") == "user") return last.value("content", "");
  }
  return std::nullopt;
}

Result<std::string> Attachment(const std::string& path) {
  const auto text = sys::ReadPlainFile(path, kMaxAttachment);
  if (!text) return std::unexpected(text.error());
  if (!IsUtf8(*text) || text->find('\0') != std::string::npos) {
    return Fail(ErrorCode::kInvalid, "{} is no text in UTF-8: only texts can be attached", path);
  }
  return fmt::format("File {}:\n```\n{}{}```\n", path.substr(path.rfind('/') + 1), *text,
                     text->ends_with('\n') ? "" : "\n");
}

Result<void> SaveChat(const Chat& chat, const std::string& folder, const std::string& name) {
  const std::string path = TRY(ChatPath(folder, name));
  TRY(sys::MakeFolders(folder));
  const json saved = {{"exo_chat", 1},
                      {"model", chat.model},
                      {"settings", SettingsJson(chat.settings)},
                      {"messages", chat.messages}};
  return sys::WriteFileAtomically(path, ToText(saved) + "\n", 0600);
}

Result<Chat> LoadChat(const std::string& folder, const std::string& name) {
  const std::string path = TRY(ChatPath(folder, name));
  if (!sys::Exists(path)) {
    std::vector<std::string> names;
    for (const std::string& file : sys::ListFolder(folder)) {
      if (file.ends_with(".json")) names.push_back(Printable(file.substr(0, file.size() - 5)));
    }
    return Fail(ErrorCode::kNotFound, "there is no chat '{}'; saved ones: {}", name,
                names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
  }
  const json saved = json::parse(TRY(sys::ReadPlainFile(path, kMaxChatFile)), nullptr, false);
  if (!saved.is_object() || !saved.value("model", json()).is_string() ||
      !saved.value("messages", json()).is_array() ||
      !std::ranges::all_of(saved["messages"], &IsMessage)) {
    return Fail(ErrorCode::kCorrupt, "{} is no saved chat", path);
  }
  Chat chat{.model = saved["model"], .settings = {}, .messages = saved["messages"]};
  const json settings = saved.value("settings", json());
  if (!settings.is_object()) return chat;
  for (const auto& [key, value] : settings.items()) {
    if (value.is_string()) TRY(SetInChat(chat.settings, key, value.get<std::string>()));
  }
  return chat;
}

std::optional<ChatCommand> ParseChatCommand(const std::string& line) {
  const std::string text = Trimmed(line);
  if (!text.starts_with('/')) return std::nullopt;
  const size_t end = std::min(text.find_first_of(" \t\n"), text.size());
  return ChatCommand{.name = text.substr(1, end - 1), .rest = Trimmed(text.substr(end))};
}

}  // namespace exo::app
