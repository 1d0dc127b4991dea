#include "app/client_commands.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "app/adapter_option.h"
#include "app/ask.h"
#include "app/chat_command.h"
#include "app/model_path.h"
#include "app/output.h"
#include "app/pull_command.h"
#include "app/terminal.h"
#include "app/waiting_line.h"
#include "base/text.h"
#include "base/units.h"
#include "fetch/reference.h"
#include "service/api_keys.h"
#include "store/model.h"
#include "sys/process.h"
#include "sys/standard_streams.h"
#include "sys/system.h"
#include "wire/plan.h"

namespace exo::app {
namespace {

using nlohmann::json;

// Of an id that people compare: 64 bits cannot be met by trying keys.
constexpr size_t kIdDigits = 16;
constexpr size_t kMaxInput = 64u << 20;
// Ten a second: the node's doctor looks for a second at most, and may be busy.
constexpr int kPatientLooks = 100;
constexpr Time kInputPatience = std::chrono::seconds(5);

// A prompt as one reads it: what was piped in, without a byte order mark and line ends at the end.
Result<std::string> CleanPrompt(std::string text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.erase(0, 3);
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) {
    return Fail(ErrorCode::kInvalid,
                "standard input is UTF-16; give it as UTF-8, for example with: iconv -f UTF-16");
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

Result<std::string> PromptFromInput(Time first_byte) {
  return CleanPrompt(TRY(sys::ReadStandardInput(kMaxInput, first_byte)));
}

// The argument, and behind it what is piped in: `cat notes | exo run M "summarize"`.
Result<std::string> MakePrompt(const std::string& argument) {
  std::string prompt = argument;
  if (argument.empty() || argument == "-") {
    prompt = TRY(PromptFromInput(Time(0)));
  } else if (sys::StandardInputKind() == sys::InputKind::kFileOrPipe) {
    // Many programs hand down a pipe that nobody ever writes to or closes.
    const auto input = PromptFromInput(kInputPatience);
    if (!input && input.error().code != ErrorCode::kDisconnected)
      return std::unexpected(input.error());
    if (!input) Note("exo: {}; asking without it\n", input.error().message);
    if (input && !input->empty()) prompt += "\n\n" + *input;
  }
  if (prompt.empty()) {
    return Fail(ErrorCode::kInvalid,
                "there is no prompt: give it as an argument or on standard input");
  }
  if (!IsUtf8(prompt)) {
    Note("exo: the prompt is not UTF-8; what is not is replaced by U+FFFD\n");
    prompt = ToUtf8(prompt);
  }
  return prompt;
}

// A path is registered with the node and becomes a name; what is named by its place on the internet
// is pulled, unless it was before. OWNER/REPO is a path only where there is one.
Result<std::string> ResolveModel(const HttpClient& api, const std::string& model) {
  if (IsReference(model)) {
    const auto known = api.Post("/v1/internal/plan", {{"model", model}});
    const bool missing = !known && known.error().code == ErrorCode::kNotFound;
    return missing ? PullShown(api, model) : model;
  }
  if (!LooksLikePath(model) || MayBeRepository(model)) return model;
  const json added = TRY(api.Post("/v1/internal/models", {{"path", TRY(PathForNode(model))}}));
  return added.value("model", model);
}

// What is not known here may be known to the hub or the registry.
std::unexpected<Error> WithPull(const Error& error, const std::string& model) {
  const auto reference = fetch::ParseReference(model);
  if (error.code != ErrorCode::kNotFound || !reference) return std::unexpected(error);
  return Fail(error.code, "{}; if {} is a model of the {}, this brings it here: exo pull {}",
              error.message, model,
              reference->kind == fetch::SourceKind::kHub ? "Hugging Face hub" : "registry", model);
}

bool HasOtherDevices(const HttpClient& api) {
  const auto cluster = api.Get("/v1/cluster");
  const json nodes = cluster ? cluster->value("nodes", json::array()) : json::array();
  return std::ranges::any_of(nodes,
                             [](const json& node) { return node.value("state", "") == "alive"; });
}

// Of several stages: layers, parts of every layer, or layers over groups that have parts of them.
std::string SplitOf(const json& stages) {
  const auto is_part = [](const json& stage) { return stage.contains("kv_heads"); };
  if (std::ranges::none_of(stages, is_part)) return "layer";
  return std::ranges::all_of(
             stages,
             [&](const json& stage) {
               return stage.value("layer_begin", 0) == stages[0].value("layer_begin", 0) &&
                      stage.value("layer_end", 0) == stages[0].value("layer_end", 0);
             })
             ? "tensor"
             : "hybrid";
}

// A model that runs stays as it is divided: who asks for another way is told.
void SayHowItRuns(const HttpClient& api, const json& loaded, const PlacingOptions& placing) {
  const std::string wanted = placing.spread ? "layer" : placing.split;
  const json stages = loaded.value("stages", json::array());
  if (!loaded.value("was_running", false) || stages.empty()) return;
  const std::string split = SplitOf(stages);
  const bool alone = stages.size() == 1;
  if (wanted.empty() || wanted == "auto" || (!alone && split == wanted)) return;
  const std::string name = Printable(loaded.value("model", ""));
  const std::string node = Printable(stages[0].value("node", ""));
  if (alone && !HasOtherDevices(api))
    return Note("exo: {} runs on {} alone: no other device is there\n", name, node);
  Note("exo: {} runs already, {}, and stays so; to divide it anew: exo stop {}\n", name,
       alone ? fmt::format("on {} alone", node) : fmt::format("split by {}", split), name);
}

Result<json> AdaptersForNode(const std::vector<std::string>& texts) {
  json adapters = json::array();
  for (const std::string& text : texts) {
    const node::AdapterChoice one = TRY(ParseAdapter(text));
    adapters.push_back({{"file", LooksLikePath(one.file) ? TRY(PathForNode(one.file)) : one.file},
                        {"scale", one.scale}});
  }
  return adapters;
}

std::string Layers(const json& stages, const std::string& node_id) {
  std::string text;
  for (const json& stage : stages) {
    if (stage.value("node_id", "") != node_id) continue;
    const auto begin = stage.value("layer_begin", uint64_t{0});
    const auto end = stage.value("layer_end", uint64_t{0});
    text += begin == end ? "lead" : wire::RangeText(begin, end);
    if (const auto read = stage.find("layers_from_disk"); read != stage.end())
      text += fmt::format(" ({} from disk)", read->size());
  }
  return text;
}

std::string PlacementOf(const json& plan) {
  std::string text;
  for (const json& stage : plan.value("stages", json::array())) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", stage.value("node", ""),
                        Layers(json::array({stage}), stage.value("node_id", "")));
  }
  return text;
}

// Zero: the device is still being measured.
std::string Measured(fmt::format_string<double&> format, double value) {
  return value > 0 ? fmt::format(format, value) : "measuring";
}

// Zero: layers are not read from its disk.
std::string DiskText(double gbps) {
  return gbps > 0 ? fmt::format("{:.1f} GB/s", gbps) : "-";
}

// What is known of keys: the role of each node, and those that are not in the table of nodes.
void AddTrust(json& nodes, const json& trust) {
  for (const json& device : trust.value("devices", json::array())) {
    const std::string id = device.value("id", ""), state = device.value("state", "");
    const auto node = std::find_if(nodes.begin(), nodes.end(),
                                   [&](const json& one) { return one.value("id", "") == id; });
    const bool takes_part = state == "member" || state == "guest";
    if (node != nodes.end() && takes_part) {
      (*node)["trust"] = state;
      continue;
    }
    json row = {{"id", id},
                {"name", device.value("name", "")},
                {"state", takes_part ? "away" : state},
                {"trust", state}};
    // Of who does not take part the cluster says only that it was refused.
    if (node != nodes.end()) {
      *node = std::move(row);
    } else {
      nodes.push_back(std::move(row));
    }
  }
}

// "alive", "alive, guest", "lost (silent since 2026-11-28 13:00:05 UTC)".
std::string StateText(const json& node) {
  std::string text = StateWord(node.value("state", ""));
  if (node.value("trust", "") == "guest") text += ", guest";
  const std::string detail = node.value("detail", "");
  return detail.empty() ? text : text + " (" + detail + ")";
}

// What was measured from one node of the list to another; null: nothing.
json WayBetween(const json& nodes, const std::string& from, const std::string& to) {
  for (const json& node : nodes) {
    if (node.value("id", "") != from) continue;
    for (const json& way : node.value("ways", json::array())) {
      if (way.value("to", "") == to) return way;
    }
  }
  return {};
}

// "0.31 ms, 940 / 930 Mb/s", there and back; of a device just met, the round trip of
// heartbeats; of this one nothing.
std::string LinkText(const json& nodes, const std::string& self, const json& node) {
  const std::string id = node.value("id", "");
  const json there = WayBetween(nodes, self, id), back = WayBetween(nodes, id, self);
  const json& one = there.is_null() ? back : there;
  if (one.is_null()) {
    const double rtt_ms = node.value("rtt_ms", 0.0);
    return rtt_ms > 0 ? fmt::format("{:.2f} ms", rtt_ms) : "-";
  }
  const auto rate = [](const json& way) {
    const json mbps = way.is_null() ? json() : way.value("mbps", json());
    return mbps.is_number() ? fmt::format("{:.0f}", mbps.get<double>()) : "?";
  };
  const std::string rtt = fmt::format("{:.2f} ms", one.value("rtt_ms", 0.0));
  if (rate(there) == "?" && rate(back) == "?") return rtt;
  return fmt::format("{}, {} / {} Mb/s", rtt, rate(there), rate(back));
}

// Of a device that has never said what it is.
bool IsOnlyAKey(const json& node) {
  return !node.contains("memory_total");
}

// Nothing: there is no answer after kPatientLooks.
std::optional<Result<json>> GetWithin(const HttpClient& api, const std::string& path) {
  sys::WakeFd silent;
  int looks = 0;
  const auto wait = [&] {
    if (++looks >= kPatientLooks) silent.Notify();
  };
  auto answer = api.Watched(silent.fd(), wait).Get(path);
  if (!answer && answer.error().code == ErrorCode::kCancelled) return std::nullopt;
  return answer;
}

}  // namespace

std::string StateWord(const std::string& state) {
  return state == "dead" ? "lost" : state;
}

Result<json> PlacingJson(const std::string& model, const PlacingOptions& placing) {
  json body = {{"model", model}};
  if (placing.spread) body["spread"] = true;
  if (!placing.split.empty()) body["split"] = placing.split;
  if (!placing.use.empty()) body["for"] = placing.use;
  if (placing.users > 0) body["users"] = placing.users;
  if (placing.context) body["context"] = *placing.context;
  if (!placing.kv.empty()) body["kv"] = placing.kv;
  if (!placing.wire.empty()) body["wire"] = placing.wire;
  if (!placing.lora.empty()) body["adapters"] = TRY(AdaptersForNode(placing.lora));
  if (!placing.draft.empty())
    body["draft"] = LooksLikePath(placing.draft) ? TRY(PathForNode(placing.draft)) : placing.draft;
  if (!placing.keep.empty()) body["keep_alive"] = placing.keep;
  if (placing.pin) body["pinned"] = true;
  return body;
}

HttpClient ClientOf(const RunningNode& node) {
  // Without it the node says what is missing, where something is.
  return HttpClient(node.api_port, service::ReadAdminToken(node.folder).value_or(""));
}

Result<HttpClient> OwnNode(const Settings& settings) {
  const auto node = FindNodeToAsk();
  if (node) {
    HttpClient api = ClientOf(*node);
    if (!GetWithin(api, "/health")) {  // every command would hang
      return Fail(ErrorCode::kOverloaded,
                  "the node (process {}) does not answer on port {}: it is stopped (kill -CONT {} "
                  "lets it go on), or hangs, and a restart helps",
                  node->pid, node->api_port, node->pid);
    }
    return api;
  }
  if (settings.IsDefault("api_port") || settings.api_port == 0)
    return std::unexpected(node.error());
  return ClientOf({.folder = sys::DataFolder(), .api_port = settings.api_port});
}

Result<json> GetSoon(const HttpClient& api, const std::string& path) {
  if (auto answer = GetWithin(api, path)) return *std::move(answer);
  return Fail(ErrorCode::kOverloaded, "what listens on port {} does not answer", api.port());
}

Result<void> RunRun(const Settings& settings, const AskOptions& given) {
  const HttpClient api = TRY(OwnNode(settings));
  AskOptions options = given;
  options.model = TRY(ResolveModel(api, given.model));
  const bool chats = WantsChat(options);
  if (!chats) options.prompt = TRY(MakePrompt(given.prompt));
  if (options.placing.any()) {
    WaitingLine loading(api, options.model);
    const auto loaded =
        api.Watched(-1, [&] { loading.Show(); })
            .Post("/v1/internal/load", TRY(PlacingJson(options.model, options.placing)));
    loading.End();
    if (!loaded) return WithPull(loaded.error(), options.model);
    SayHowItRuns(api, *loaded, options.placing);
  }
  if (chats) {
    const auto chatted = RunChat(settings, api, options);
    return chatted ? chatted : WithPull(chatted.error(), options.model);
  }
  WaitingLine waiting(api, options.model);
  const auto asked =
      Ask(api.Watched(-1, [&] { waiting.Show(); }), options, [&](std::string_view text) {
        waiting.End();
        if (!options.json) WriteAnswer(text);
      });
  waiting.End();
  if (!asked) return WithPull(asked.error(), options.model);
  const Answer& answer = *asked;
  if (options.json) {
    PrintJson({{"text", answer.text},
               {"finish_reason", answer.finish_reason},
               {"timings", answer.timings},
               {"exo", answer.report}});
    return {};
  }
  Print("\n");
  if (options.verbose) {
    Note("{}\n", DescribeSpeed(answer));
  } else if (sys::IsTerminal(1)) {
    Note("{}",
         Dim(fmt::format("{:.1f} tokens/s\n", answer.report.value("tokens_per_second", 0.0))));
  }
  return {};
}

Result<void> RunStop(const Settings& settings, const std::string& model, bool as_json) {
  const HttpClient api = TRY(OwnNode(settings));
  const std::string name =
      LooksLikePath(model) ? TRY(store::ParseModelPath(TRY(PathForNode(model)))).name : model;
  const json cluster = TRY(api.Get("/v1/cluster"));
  std::vector<std::string> running;
  bool found = false;
  for (const json& instance : cluster.value("instances", json::array())) {
    const std::string runs = instance.value("model", "");
    if (std::ranges::find(running, runs) == running.end()) running.push_back(runs);
    found = found || runs == name || instance.value("model_id", "") == name;
  }
  // Asked for in any case: it need not run to be wanted, and have another name on the node.
  const auto unloaded = api.Post("/v1/internal/unload", {{"model", name}});
  if (!unloaded && unloaded.error().code == ErrorCode::kNotFound && !found) {
    return Fail(
        ErrorCode::kNotFound, "the model '{}' is not running; {}", name,
        running.empty() ? "nothing is" : fmt::format("running: {}", fmt::join(running, ", ")));
  }
  if (!unloaded) return std::unexpected(unloaded.error());
  if (as_json) {
    PrintJson({{"stopped", name}});
  } else {
    Print("stopped {}\n", Printable(name));
  }
  return {};
}

namespace {

std::string HealthText(const json& node) {
  const std::string text = node.value("health", json::object()).value("text", "");
  return text.empty() ? "-" : text;
}

}  // namespace

Result<void> RunDevices(const Settings& settings, const DevicesOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  json cluster = TRY(api.Get("/v1/cluster"));
  // Without the node's token (its disk was full) there is less to show.
  if (const auto trust = api.Get("/v1/internal/trust")) AddTrust(cluster["nodes"], *trust);
  if (options.json) {
    PrintJson(cluster["nodes"]);
    return {};
  }
  if (options.names) {
    for (const json& node : cluster["nodes"]) Print("{}\n", Printable(node.value("name", "")));
    return {};
  }
  std::vector<std::vector<std::string>> rows = {
      {"DEVICE", "ID", "STATE", "MEMORY FOR MODELS", "DECODE", "PROMPT", "DISK", "LINK", "HEALTH"}};
  size_t forgotten = 0;
  const std::string self = cluster.value("self", "");
  for (const json& node : cluster["nodes"]) {
    const bool is_forgotten = node.value("trust", "") == "forgotten";
    forgotten += is_forgotten ? 1 : 0;
    if (is_forgotten && !options.all) continue;
    if (IsOnlyAKey(node)) {
      rows.push_back({node.value("name", ""), node.value("id", "").substr(0, kIdDigits),
                      StateText(node), "-", "-", "-", "-", "-", "-"});
      continue;
    }
    rows.push_back({node.value("name", ""), node.value("id", "").substr(0, kIdDigits),
                    StateText(node),
                    fmt::format("{} of {}",
                                FormatSize(node.value("memory_budget", uint64_t{0}) -
                                           std::min(node.value("memory_reserved", uint64_t{0}),
                                                    node.value("memory_budget", uint64_t{0}))),
                                FormatSize(node.value("memory_total", uint64_t{0}))),
                    Measured("{:.1f} GB/s", node.value("decode_gbps", 0.0)),
                    Measured("{:.0f} GOP/s", node.value("prefill_gops", 0.0)),
                    DiskText(node.value("disk_gbps", 0.0)), LinkText(cluster["nodes"], self, node),
                    HealthText(node)});
  }
  Print("{}", Table(rows));
  if (forgotten > 0 && !options.all) {
    Print("\n{} device{} forgotten: exo devices --all\n", forgotten,
          forgotten == 1 ? " is" : "s are");
  }
  const unsigned others = cluster.value("neighbors_of_other_clusters", 0u);
  if (others > 0) {
    Print(
        "\n{} device{} of other clusters nearby; to bring one in, run `exo invite` here and `exo "
        "join` "
        "there\n",
        others, others == 1 ? "" : "s");
  }
  return {};
}

namespace {

// How long it stays when nobody asks it.
std::string Kept(const json& instance) {
  if (instance.value("pinned", false)) return "always";
  const json seconds = instance.value("keep_alive", json());
  if (!seconds.is_number()) return "until needed";
  return FormatDuration(std::chrono::milliseconds(std::llround(1000 * seconds.get<double>())));
}

// A row for each model. Of one that runs several times the first that is ready says how it is; the
// requests are those of all, and the places of its replicas are told apart by a stroke.
std::vector<std::vector<std::string>> RunningRows(const json& instances) {
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "STATE", "CONTEXT", "REQUESTS", "KEPT", "PLACEMENT"}};
  std::set<std::string> told;
  for (const json& instance : instances) {
    const std::string model = instance.value("model_id", "");
    if (!told.insert(model).second) continue;
    json shown = instance;
    uint64_t active = 0, queued = 0;
    std::string places;
    for (const json& replica : instances) {
      if (replica.value("model_id", "") != model) continue;
      active += replica.value("active_requests", uint64_t{0});
      queued += replica.value("queued_requests", uint64_t{0});
      places += (places.empty() ? "" : " | ") + PlacementOf(replica);
      if (shown.value("state", "") != "ready" && replica.value("state", "") == "ready")
        shown = replica;
    }
    const std::string detail = shown.value("detail", "");
    const json draft = shown.value("draft", json());
    const std::string with = draft.is_string() ? " (draft: " + draft.get<std::string>() + ")" : "";
    rows.push_back({shown.value("model", "") + with,
                    shown.value("state", "") + (detail.empty() ? "" : " (" + detail + ")"),
                    fmt::format("{}", shown.value("context", 0)),
                    fmt::format("{} + {} waiting", active, queued), Kept(shown), places});
  }
  return rows;
}

}  // namespace

Result<void> RunPs(const Settings& settings, bool as_json) {
  const json cluster = TRY(TRY(OwnNode(settings)).Get("/v1/cluster"));
  if (as_json) {
    PrintJson(cluster["instances"]);
    return {};
  }
  if (cluster["instances"].empty()) {
    Print("no model is running; start one with: exo run MODEL \"...\"\n");
    return {};
  }
  Print("{}", Table(RunningRows(cluster["instances"])));
  return {};
}

Result<void> RunRemove(const Settings& settings, const RemoveOptions& options) {
  if (options.model.empty()) return Fail(ErrorCode::kInvalid, "the name of the model is empty");
  const HttpClient api = TRY(OwnNode(settings));
  // A file that is gone is named by its path as it was.
  std::error_code error;
  const std::string name = LooksLikePath(options.model)
                               ? std::filesystem::absolute(options.model, error).string()
                               : options.model;
  if (error) return Fail(ErrorCode::kIo, "{}: {}", options.model, error.message());
  json removed = TRY(api.Delete("/v1/internal/models/" + EscapedSegment(name) +
                                (options.everywhere ? "?everywhere=true" : "")));
  if (options.json) {
    removed["removed"] = name;
    PrintJson(removed);
  } else {
    const std::string shown = Printable(options.model);
    for (const json& device : removed["devices"]) {
      const std::string said = Printable(device.value("said", ""));
      if (options.everywhere) {
        Print("{}: {}\n", Printable(device.value("device", "")), said);
      } else {
        Print("{} is forgotten: {}\n", shown, said);
      }
    }
  }
  if (removed.value("ok", false)) return {};
  return Fail(ErrorCode::kIo,
              "{} is not removed everywhere: say it again when all devices are there",
              options.model);
}

}  // namespace exo::app
