// The settings of a node, checked: from the command line, the environment, exo.toml and the
// defaults, in this order of precedence. A list replaces the list of a lower source as a whole.
//
// One table (settings.cc) says for every setting its type, range and text; the file, the
// environment (EXO_ and the key in capitals) and `exo up --key` all follow from it.
// docs/settings.md lists them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "base/result.h"
#include "wire/messages.h"

namespace exo::app {

inline constexpr uint16_t kDefaultApiPort = 52415;
inline constexpr uint16_t kDefaultPeerPort = 52416;
inline constexpr uint16_t kDefaultListenPort = 52417;

struct Settings {
  std::string name;  // empty: the host's
  uint16_t port = kDefaultPeerPort;
  uint16_t api_port = kDefaultApiPort;
  uint16_t ollama_port = 0;         // 0: none
  std::vector<std::string> listen;  // ADDRESS:PORT, numeric
  std::string tls_cert, tls_key;    // files; empty: the data folder's own
  std::vector<std::string> allow_origins;
  bool share_prefixes = false;
  bool loopback = false;
  bool discovery = true;
  std::vector<std::string> peers;        // HOST:PORT
  std::optional<uint64_t> memory_limit;  // bytes; unset: what is free
  uint32_t threads = 0;                  // 0: all usable cores
  std::string isa;                       // empty: the best
  std::vector<std::string> models;       // folders, besides the data folder's and the bundled one
  // Of models that are pulled by a plain name.
  std::string registry = "https://registry.ollama.ai";
  std::optional<uint64_t> download_space;  // bytes; unset or 0: no limit
  std::optional<uint64_t> tensor_cache;    // bytes; unset: the node's default
  std::optional<uint64_t> prefix_store;    // bytes on disk; unset or 0: none
  uint32_t default_context = 0;            // tokens; 0: as trained, as far as memory allows
  std::string keep_alive;                  // a time; empty: until the memory is needed
  std::string kv = "f16";                  // type of the KV cache
  uint32_t target_gap = 250;               // milliseconds
  bool prefix_cache = true;
  bool speculation = true;
  bool copy_prepared = true;
  bool stream_models = true;
  std::vector<std::string> lora;       // MODEL=FILE[:SCALE]
  std::string conversations = "kept";  // or "off"
  // Percent of this device's speed that models may count on, by reason; see node/share_policy.h.
  uint32_t min_charge = 30;
  uint32_t battery_share = 50;
  uint32_t hot_share = 50;
  uint32_t owner_share = 50;
  std::vector<std::string> hours;  // "22:00-07:00"; empty: always
  bool keep_awake = true;
  LogLevel log = LogLevel::kWarning;
  std::string log_format = "text";
  bool log_prompts = false;
  std::string cluster_secret;  // empty: the data folder's

  // Which source a setting has its value from: "exo.toml line 3", "EXO_PORT", "--port"; a key that
  // is not here has its default.
  std::map<std::string, std::string> origins;
  bool IsDefault(const std::string& key) const { return !origins.contains(key); }
};

// An entry of `listen`: a numeric address of this device, perhaps with a port (0: any free one).
// Errors: kInvalid.
Result<wire::Address> ParseListen(const std::string& text);

// What the program was given, by key. Values of one setting that is no list are one string.
using GivenSettings = std::map<std::string, std::vector<std::string>>;

struct SettingInfo {
  std::string key;      // "api_port"
  std::string what;     // for help texts
  std::string accepts;  // "an integer from 0 to 65535"
  bool is_list = false;
  bool is_number = false;  // a whole one, as the file writes it
  bool is_flag = false;
  bool is_on = false;  // a flag's default
  bool is_secret = false;
};
const std::vector<SettingInfo>& SettingInfos();
// Its value as exo.toml writes it; a default that depends on the machine in parentheses.
std::string SettingText(const Settings& settings, const std::string& key);

// Its value as one text, or those of a list; none where it is unset.
std::vector<std::string> SettingTexts(const Settings& settings, const std::string& key);

struct SettingSources {
  GivenSettings command_line;
  GivenSettings environment;  // FromEnvironment()
  std::string file;           // empty: DATA/exo.toml, which may be absent
};
// The file that `sources` name.
std::string SettingsPath(const SettingSources& sources);
// The settings that EXO_* variables give.
GivenSettings FromEnvironment();
// A sentence about each EXO_* variable that means nothing.
std::vector<std::string> StrayVariables();
// Errors: kInvalid naming the source, the value and what is accepted; kNotFound for a missing file.
Result<Settings> ReadSettings(const SettingSources& sources);

// One file's settings; `path` is only for messages. Errors: kInvalid with the line.
Result<void> ApplyFile(const std::string& text, const std::string& path, Settings& settings);

}  // namespace exo::app
