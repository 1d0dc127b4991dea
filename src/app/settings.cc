#include "app/settings.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <limits>
#include <variant>

#include "app/adapter_option.h"
#include "app/pull_sources.h"
#include "app/settings_file.h"
#include "base/text.h"
#include "base/units.h"
#include "net/secret.h"
#include "net/socket.h"
#include "node/share_policy.h"
#include "service/http/guard.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::app {
namespace {

using Texts = std::vector<std::string>;
using Field = std::variant<std::string Settings::*, bool Settings::*, uint16_t Settings::*,
                           uint32_t Settings::*, std::optional<uint64_t> Settings::*,
                           Texts Settings::*, LogLevel Settings::*>;

// What a text means beyond being a string: the node reads it the same way. A text may be written
// anew.
using Check = Result<void> (*)(std::string&);

Result<void> CheckPeer(std::string& text) {
  TRY(net::ParseHostPort(text, 0));
  return {};
}

Result<void> CheckListen(std::string& text) {
  TRY(ParseListen(text));
  return {};
}

Result<void> CheckOrigin(std::string& text) {
  for (char& c : text) c = static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  while (text.ends_with('/')) text.pop_back();
  if (service::IsOrigin(text)) return {};
  return Fail(ErrorCode::kInvalid,
              "\"{}\" is no origin such as https://chat.example or http://localhost:3000; each "
              "one is named, since * and null would let every page use this device",
              text);
}

// An empty one says "the data folder's".
Result<void> CheckSecret(std::string& text) {
  if (!text.empty()) TRY(net::ClusterSecret::Parse(text));
  return {};
}

// A shell expands ~ only where it stands at the front of a word; the settings file knows no shell.
Result<void> ExpandHome(std::string& text) {
  if (!text.starts_with('~')) return {};
  if (text.size() > 1 && text[1] != '/') {
    return Fail(ErrorCode::kInvalid,
                "\"{}\": only ~ and ~/ stand for a home folder; write the whole path", text);
  }
  const std::string home = sys::HomeFolder();
  if (home.empty()) {
    return Fail(ErrorCode::kInvalid, "\"{}\": HOME is not set; write the whole path", text);
  }
  text.replace(0, 1, home);
  return {};
}

// The file of MODEL=FILE[:SCALE] may stand behind ~ too.
Result<void> CheckAdapter(std::string& text) {
  const std::string model = TRY(ParseModelAdapter(text)).model + "=";
  std::string file = text.substr(model.size());
  TRY(ExpandHome(file));
  text = model + file;
  return {};
}

// As other devices and their people read it.
Result<void> CheckDeviceName(std::string& text) {
  constexpr size_t kMaxDeviceName = 64;
  if (text.size() <= kMaxDeviceName && Printable(text) == text) return {};
  return Fail(ErrorCode::kInvalid,
              "{} is no name of a device: at most {} bytes, no control "
              "characters",
              Printable(text.substr(0, kMaxDeviceName)), kMaxDeviceName);
}

Result<void> CheckEndpoint(std::string& text) {
  text = TRY(ParseEndpoint(text));
  return {};
}

Result<void> CheckKeepAlive(std::string& text) {
  const auto time = TRY(ParseDuration(text));
  if (time <= std::chrono::milliseconds(0)) {
    return Fail(ErrorCode::kInvalid,
                "'{}' is no time above zero; leave the setting out to keep models until their "
                "memory is needed",
                text);
  }
  return {};
}

Result<void> CheckHours(std::string& text) {
  TRY(node::ParseDayHours(text));
  return {};
}

struct Setting {
  const char* key;
  Field field;
  const char* what;
  uint64_t min = 0, max = std::numeric_limits<uint64_t>::max();  // of numbers and sizes
  const char* if_unset = "";                                     // shown for an empty value
  std::vector<std::string> choices = {};                         // of texts; empty: any
  Check check = nullptr;                                         // of texts
};

// In the order of LogLevel.
constexpr const char* kLevels[] = {"debug", "info", "warning", "error", "off"};
constexpr const char* kSecret = "cluster_secret";
constexpr uint64_t kMaxSize = uint64_t{1} << 50;

// Where this device is found, and by whom.
std::vector<Setting> NetworkSettings() {
  return {
      {.key = "name",
       .field = &Settings::name,
       .what = "name of this device",
       .if_unset = "the host's name",
       .check = &CheckDeviceName},
      {"port", &Settings::port, "port for other devices; 0: any free one", 0, 65535},
      {"api_port", &Settings::api_port, "port of the API; 0: any free one", 0, 65535},
      {"ollama_port", &Settings::ollama_port, "second port of the API; 0: none", 0, 65535},
      {.key = "listen",
       .field = &Settings::listen,
       .what = "ADDRESS:PORT to serve the API on by TLS, to those who have a key (exo key add)",
       .check = &CheckListen},
      {.key = "tls_cert",
       .field = &Settings::tls_cert,
       .what = "certificate for --listen, a PEM file with its chain",
       .if_unset = "tls-cert.pem in the data folder, made when it is missing",
       .check = &ExpandHome},
      {.key = "tls_key",
       .field = &Settings::tls_key,
       .what = "the certificate's key, a PEM file",
       .if_unset = "tls-key.pem in the data folder, made when it is missing",
       .check = &ExpandHome},
      {.key = "allow_origins",
       .field = &Settings::allow_origins,
       .what = "web pages that may use the API, by their origin: https://chat.example",
       .check = &CheckOrigin},
      {"share_prefixes", &Settings::share_prefixes,
       "API keys share what was computed of prompts that begin alike"},
      {"loopback", &Settings::loopback, "see and serve nodes of this machine only"},
      {"discovery", &Settings::discovery,
       "announce this device on the network and look for others"},
      {.key = "peers",
       .field = &Settings::peers,
       .what = "HOST:PORT of devices that discovery does not find",
       .check = &CheckPeer},
  };
}

std::vector<Setting> ModelSettings() {
  return {
      {"memory_limit", &Settings::memory_limit, "memory for models, for example 8GiB", kMiB,
       kMaxSize, "what is free"},
      {"threads", &Settings::threads, "compute threads", 1, 1024, "all cores"},
      {.key = "isa",
       .field = &Settings::isa,
       .what = "instruction set of the kernels",
       .if_unset = "the best",
       .choices = {"reference", "avx2", "avx-vnni", "avx512", "neon", "neon-dotprod", "neon-i8mm"}},
      {.key = "models",
       .field = &Settings::models,
       .what = "more folders with GGUF files",
       .check = &ExpandHome},
      {.key = "registry",
       .field = &Settings::registry,
       .what = "where models are pulled from by a name such as llama3.2:1b",
       .check = &CheckEndpoint},
      {"download_space", &Settings::download_space,
       "disk space for models that exo downloads; what is least recently used makes room", 0,
       kMaxSize, "no limit"},
      {"tensor_cache", &Settings::tensor_cache, "disk space for tensors pulled from other devices",
       0, kMaxSize, "a tenth of the disk, 20 GiB at most"},
      {"prefix_store", &Settings::prefix_store,
       "disk space for what was computed of prompts and answers, kept across restarts", 0, kMaxSize,
       "off"},
      {"default_context", &Settings::default_context,
       "context of a model that is loaded without a word about it, in tokens; 0: as it was "
       "trained, as far as memory allows",
       0, 1 << 24},
      {.key = "keep_alive",
       .field = &Settings::keep_alive,
       .what = "time after which a model that nobody asks gives its memory back, as 5m",
       .if_unset = "when the memory is needed",
       .check = &CheckKeepAlive},
      {.key = "kv",
       .field = &Settings::kv,
       .what = "type of the KV cache of a model that is loaded without a word about it",
       .choices = {"f16", "q8_0", "f32"}},
      {"target_gap", &Settings::target_gap,
       "how long running answers wait for a token while prompts are computed, in milliseconds", 1,
       60000},
      {"prefix_cache", &Settings::prefix_cache,
       "prompts that begin like earlier ones are computed from where they differ"},
      {"speculation", &Settings::speculation,
       "several tokens a step where the text repeats itself; no answer changes"},
      {"copy_prepared", &Settings::copy_prepared,
       "a prepared model is copied into memory of its own while it is used already"},
      {"stream_models", &Settings::stream_models,
       "of models larger than the memory of all devices, layers are read from this device's disk "
       "for each token"},
      {.key = "lora",
       .field = &Settings::lora,
       .what = "MODEL=FILE[:SCALE]: adapters of models that are loaded without a word about them",
       .check = &CheckAdapter},
  };
}

// What this device keeps to itself, and what it tells.
std::vector<Setting> NodeSettings() {
  return {
      {.key = "conversations",
       .field = &Settings::conversations,
       .what = "kept: conversations of the page are kept by this device and given to the other "
               "members; off: neither",
       .choices = {"kept", "off"}},
      {.key = kSecret,
       .field = &Settings::cluster_secret,
       .what = "secret shared by the devices of a cluster",
       .if_unset = "the data folder's",
       .check = &CheckSecret},
  };
}

std::vector<Setting> LogSettings() {
  return {
      {"log", &Settings::log, "lowest level that is logged"},
      {.key = "log_format",
       .field = &Settings::log_format,
       .what = "how the lines of the log look: for people, or a JSON object each",
       .choices = {"text", "json"}},
      {"log_prompts", &Settings::log_prompts,
       "the text of each prompt is written to the log, at the level info"},
  };
}

// What this device gives of itself.
std::vector<Setting> ShareOfDevice() {
  return {
      {"min_charge", &Settings::min_charge,
       "least charge, in percent, at which a device on its battery takes part in models", 0, 100},
      {"battery_share", &Settings::battery_share,
       "percent of this device's speed that models count on while it runs on its battery; 0: it "
       "takes no part",
       0, 100},
      {"hot_share", &Settings::hot_share, "the same while it is hot", 0, 100},
      {"owner_share", &Settings::owner_share, "the same while somebody works at it", 0, 100},
      {.key = "hours",
       .field = &Settings::hours,
       .what = "times of day, as 22:00-07:00, at which this device takes part in models",
       .if_unset = "always",
       .check = &CheckHours},
      {"keep_awake", &Settings::keep_awake, "this device does not fall asleep while it answers"},
  };
}

const std::vector<Setting>& Table() {
  static const std::vector<Setting> table = [] {
    std::vector<Setting> all = NetworkSettings();
    for (auto* settings : {&ModelSettings, &NodeSettings, &ShareOfDevice, &LogSettings}) {
      for (Setting& one : settings()) all.push_back(std::move(one));
    }
    return all;
  }();
  return table;
}

const Setting* Find(const std::string& key) {
  const auto found = std::ranges::find(Table(), key, [](const Setting& s) { return s.key; });
  return found == Table().end() ? nullptr : &*found;
}

template <class T>
bool Is(const Setting& setting) {
  return std::holds_alternative<T Settings::*>(setting.field);
}

std::string Accepts(const Setting& setting) {
  if (Is<bool>(setting)) return "true or false";
  if (Is<Texts>(setting)) return "a list of strings";
  if (Is<LogLevel>(setting)) return fmt::format("one of {}", fmt::join(kLevels, ", "));
  if (!setting.choices.empty()) return fmt::format("one of {}", fmt::join(setting.choices, ", "));
  if (Is<std::optional<uint64_t>>(setting)) {
    return setting.min == 0 ? "a size such as 8GiB or 450M; 0 or off: none"
                            : fmt::format("a size of at least {}, such as 8GiB or 450M",
                                          FormatSize(setting.min));
  }
  if (Is<std::string>(setting)) return "a string of UTF-8";
  return fmt::format("an integer from {} to {}", setting.min, setting.max);
}

std::optional<uint64_t> Integer(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Sets the field from text; false when the text does not fit.
struct Parser {
  Settings& settings;
  const Setting& setting;
  const Texts& texts;

  const std::string& text() const { return texts.back(); }
  bool InRange(uint64_t value) const { return value >= setting.min && value <= setting.max; }

  bool operator()(std::string Settings::* field) const {
    if (!IsUtf8(text())) return false;
    const auto& choices = setting.choices;
    if (!choices.empty() && std::ranges::find(choices, text()) == choices.end()) return false;
    settings.*field = text();
    return true;
  }
  bool operator()(bool Settings::* field) const {
    if (text() != "true" && text() != "false") return false;
    settings.*field = text() == "true";
    return true;
  }
  template <class T>
    requires std::is_integral_v<T>
  bool operator()(T Settings::* field) const {
    const auto value = Integer(text());
    if (!value || !InRange(*value)) return false;
    settings.*field = static_cast<T>(*value);
    return true;
  }
  bool operator()(std::optional<uint64_t> Settings::* field) const {
    const auto value = text() == "off" ? 0 : ParseSize(text());
    if (!value || !InRange(*value)) return false;
    settings.*field = *value;
    return true;
  }
  bool operator()(Texts Settings::* field) const {
    settings.*field = texts;
    return true;
  }
  bool operator()(LogLevel Settings::* field) const {
    const auto at = std::ranges::find(kLevels, text());
    if (at == std::end(kLevels)) return false;
    settings.*field = static_cast<LogLevel>(at - std::begin(kLevels));
    return true;
  }
};

Result<void> Apply(const std::string& key, Texts texts, const std::string& origin,
                   Settings& settings) {
  const Setting* setting = Find(key);
  if (setting == nullptr)
    return Fail(ErrorCode::kInvalid, "{}: there is no setting '{}'", origin, key);
  for (std::string& text : texts) {
    if (setting->check == nullptr) break;
    if (auto checked = setting->check(text); !checked)
      return Wrap(checked.error(), fmt::format("{}: {}", origin, key));
  }
  if (!std::visit(Parser{settings, *setting, texts}, setting->field)) {
    return Fail(ErrorCode::kInvalid, "{}: {} cannot be '{}'; it is {}", origin, key,
                key == kSecret ? "(hidden)" : fmt::format("{}", fmt::join(texts, ", ")),
                Accepts(*setting));
  }
  settings.origins[key] = origin;
  return {};
}

// EXO_MODELS separates like PATH, other lists by commas.
Texts SplitList(const std::string& text, char separator) {
  Texts parts;
  for (size_t at = 0; at <= text.size();) {
    const size_t end = std::min(text.find(separator, at), text.size());
    if (end > at) parts.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return parts;
}

std::string Upper(std::string text) {
  for (char& c : text) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  return text;
}

std::string Dashed(std::string key) {
  std::ranges::replace(key, '_', '-');
  return key;
}

// The value as text; empty when it is unset.
struct Shower {
  const Settings& settings;

  std::string operator()(std::string Settings::* field) const { return settings.*field; }
  std::string operator()(bool Settings::* field) const {
    return settings.*field ? "true" : "false";
  }
  template <class T>
    requires std::is_integral_v<T>
  std::string operator()(T Settings::* field) const {
    return fmt::format("{}", settings.*field);
  }
  std::string operator()(std::optional<uint64_t> Settings::* field) const {
    return settings.*field ? FormatSize(*(settings.*field)) : "";
  }
  std::string operator()(Texts Settings::* field) const {
    return fmt::format("{}", fmt::join(settings.*field, ", "));
  }
  std::string operator()(LogLevel Settings::* field) const {
    return kLevels[static_cast<int>(settings.*field)];
  }
};

}  // namespace

// A name would have to be looked up at each start, and may have several addresses.
Result<wire::Address> ParseListen(const std::string& text) {
  // Peers are never at port 0, so that it means nothing there.
  const bool any_port =
      text.ends_with(":0") && (text.starts_with('[') || text.find(':') == text.size() - 2);
  wire::Address address = TRY(net::ParseHostPort(
      any_port ? std::string_view(text).substr(0, text.size() - 2) : text, kDefaultListenPort));
  if (!net::IsNumericAddress(address.host)) {
    return Fail(ErrorCode::kInvalid,
                "\"{}\" is no numeric address of this device, such as 192.168.1.5, 0.0.0.0 (all "
                "of IPv4) or [::]:8443",
                text);
  }
  if (any_port) address.port = 0;
  return address;
}

const std::vector<SettingInfo>& SettingInfos() {
  static const std::vector<SettingInfo> infos = [] {
    std::vector<SettingInfo> made;
    for (const Setting& setting : Table()) {
      made.push_back(
          {.key = setting.key,
           .what = setting.what,
           .accepts = Accepts(setting),
           .is_list = Is<Texts>(setting),
           .is_number = Is<uint16_t>(setting) || Is<uint32_t>(setting),
           .is_flag = Is<bool>(setting),
           .is_on = Is<bool>(setting) && Settings{}.*std::get<bool Settings::*>(setting.field),
           .is_secret = std::string_view(setting.key) == kSecret});
    }
    return made;
  }();
  return infos;
}

std::string SettingText(const Settings& settings, const std::string& key) {
  const Setting* setting = Find(key);
  if (setting == nullptr) return "";
  std::string text = std::visit(Shower{settings}, setting->field);
  const bool unset = text.empty() || (settings.IsDefault(key) && text == "0");
  if (unset && *setting->if_unset != 0) return fmt::format("({})", setting->if_unset);
  return key == kSecret ? "(hidden; see exo secret)" : text;
}

std::vector<std::string> SettingTexts(const Settings& settings, const std::string& key) {
  const Setting* setting = Find(key);
  if (setting == nullptr) return {};
  if (const auto* list = std::get_if<Texts Settings::*>(&setting->field)) return settings.**list;
  std::string text = std::visit(Shower{settings}, setting->field);
  if (const auto* size = std::get_if<std::optional<uint64_t> Settings::*>(&setting->field)) {
    const auto& bytes = settings.**size;
    if (bytes && ParseSize(text) != *bytes) text = fmt::format("{}", *bytes);  // it was rounded
  }
  return text.empty() ? Texts{} : Texts{std::move(text)};
}

std::string SettingsPath(const SettingSources& sources) {
  return sources.file.empty() ? sys::DataFolder() + "/exo.toml" : sources.file;
}

GivenSettings FromEnvironment() {
  GivenSettings given;
  for (const Setting& setting : Table()) {
    const char* value = std::getenv(("EXO_" + Upper(setting.key)).c_str());
    if (value == nullptr || *value == 0) continue;
    const char separator = std::string_view(setting.key) == "models" ? ':' : ',';
    given[setting.key] = Is<Texts>(setting) ? SplitList(value, separator) : Texts{value};
  }
  std::erase_if(given, [](const auto& entry) { return entry.second.empty(); });
  return given;
}

std::vector<std::string> StrayVariables() {
  Texts known = {"EXO_HOME"};
  for (const Setting& setting : Table()) known.push_back("EXO_" + Upper(setting.key));
  Texts sentences;
  for (const std::string& name : sys::EnvironmentNames()) {
    if (!name.starts_with("EXO_") || std::ranges::find(known, name) != known.end()) continue;
    const std::string near = Nearest(name, known);
    sentences.push_back(fmt::format("the environment variable {} means nothing{}", name,
                                    near.empty() ? "; `exo config` lists the settings"
                                                 : fmt::format("; did you mean {}?", near)));
  }
  return sentences;
}

Result<void> ApplyFile(const std::string& text, const std::string& path, Settings& settings) {
  const auto entries = TRY(ParseSettingsFile(text, path));
  for (const FileEntry& entry : entries) {
    const std::string origin = fmt::format("{} line {}", path, entry.line);
    const Setting* setting = Find(entry.key);
    if (setting == nullptr) {
      Texts keys;
      for (const Setting& one : Table()) keys.emplace_back(one.key);
      const std::string near = Nearest(entry.key, keys);
      return Fail(
          ErrorCode::kInvalid, "{}: there is no setting '{}'{}", origin, entry.key,
          near.empty() ? "; `exo config` lists them" : fmt::format("; did you mean '{}'?", near));
    }
    const bool number = Is<uint16_t>(*setting) || Is<uint32_t>(*setting);
    const bool size = Is<std::optional<uint64_t>>(*setting);
    const std::string_view wanted = Is<bool>(*setting)    ? "boolean"
                                    : Is<Texts>(*setting) ? "list"
                                    : number              ? "integer"
                                                          : "string";
    if (entry.type != wanted && !(size && entry.type == "integer")) {
      return Fail(ErrorCode::kInvalid, "{}: {} = {} is a TOML {}; it is {}", origin, entry.key,
                  entry.key == kSecret ? "(hidden)" : entry.shown, entry.type, Accepts(*setting));
    }
    TRY(Apply(entry.key, entry.texts, origin, settings));
  }
  return {};
}

Result<Settings> ReadSettings(const SettingSources& sources) {
  Settings settings;
  const std::string path = SettingsPath(sources);
  // A link that leads nowhere is a file that is missing, not one that nobody wants.
  if (!sources.file.empty() || sys::NameExists(path)) {
    TRY(ApplyFile(TRY(sys::ReadPlainFile(path, 1u << 20)), path, settings));
  }
  for (const auto& [key, texts] : sources.environment)
    TRY(Apply(key, texts, "EXO_" + Upper(key), settings));
  for (const auto& [key, texts] : sources.command_line)
    TRY(Apply(key, texts, "--" + Dashed(key), settings));
  return settings;
}

}  // namespace exo::app
