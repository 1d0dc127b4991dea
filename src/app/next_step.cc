#include "app/next_step.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "app/client_commands.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"

namespace exo::app {
namespace {

using nlohmann::json;

// What a new user sees of many.
constexpr size_t kShownModels = 5;

using Steps = std::vector<std::pair<std::string, std::string>>;  // command, what it does

std::string Listed(const Steps& steps) {
  size_t width = 0;
  for (const auto& [command, what] : steps) width = std::max(width, Columns(command));
  std::string text;
  for (const auto& [command, what] : steps)
    text += fmt::format("  {}{}  {}\n", Bold(command), std::string(width - Columns(command), ' '),
                        what);
  return text;
}

std::string ModelsText(const std::vector<std::string>& models) {
  std::vector<std::string> shown;
  for (const std::string& name : models) {
    if (shown.size() < kShownModels) shown.push_back(Printable(name));
  }
  const size_t more = models.size() - shown.size();
  return fmt::format("{}{}", fmt::join(shown, ", "),
                     more > 0 ? fmt::format(" and {} more", more) : "");
}

std::string Situation(const HomeState& state) {
  std::string text = fmt::format("exo runs on {}", Printable(state.name));
  text += state.others == 0
              ? ", alone"
              : fmt::format(", with {} other device{}", state.others, state.others == 1 ? "" : "s");
  text += fmt::format(" (http://localhost:{}).\n", state.api_port);
  if (!state.running.empty()) text += fmt::format("running: {}\n", ModelsText(state.running));
  if (state.models.empty()) return text + "models:  none yet\n";
  return text + fmt::format("models:  {}\n", ModelsText(state.models));
}

std::string OrThese(const std::vector<std::string>& first, const std::vector<std::string>& second) {
  return Printable(first.empty() ? second[0] : first[0]);
}

Result<HomeState> LookAround(const HttpClient& api, uint16_t port) {
  HomeState state{.node_runs = true, .api_port = port};
  const json cluster = TRY(api.Get("/v1/cluster"));
  for (const json& node : cluster.value("nodes", json::array())) {
    const std::string is = node.value("state", "");
    if (is == "self") state.name = node.value("name", "");
    state.others += is == "alive" ? 1 : 0;
  }
  state.strangers = cluster.value("neighbors_of_other_clusters", size_t{0});
  for (const json& instance : cluster.value("instances", json::array())) {
    const std::string model = instance.value("model", "");
    if (std::ranges::find(state.running, model) == state.running.end())
      state.running.push_back(model);
  }
  const json models = TRY(api.Get("/v1/models"));
  for (const json& model : models.value("data", json::array()))
    state.models.push_back(model.value("id", ""));
  // Without the node's token (its disk was full) nobody is known to ask.
  const auto trust = api.Get("/v1/internal/trust");
  for (const json& device : trust ? trust->value("devices", json::array()) : json::array()) {
    if (device.value("state", "") == "pending") state.pending.push_back(device.value("name", ""));
  }
  return state;
}

}  // namespace

std::string NextSteps(const HomeState& state) {
  if (!state.node_runs) {
    return "One computer out of the devices you already own.\n"
           "No exo node runs on this machine yet.\n\n" +
           Listed({{"exo up", "start it"},
                   {"exo up --join CODE", "start it and join the device that shows the code"},
                   {"exo demo", "see a cluster of three answer, on this machine alone"},
                   {"exo --help", "all commands"}});
  }
  Steps steps;
  if (state.models.empty()) {
    steps.emplace_back("exo pull NAME", "bring a model here, such as qwen3:0.6b");
  } else {
    const std::string name = OrThese(state.running, state.models);
    steps.emplace_back("exo run " + name, "chat with it");
    steps.emplace_back("exo launch TOOL", "have claude, codex or opencode ask it");
    if (state.models.size() == 1) steps.emplace_back("exo pull NAME", "bring another model here");
  }
  for (const std::string& name : state.pending)
    steps.emplace_back("exo devices", fmt::format("{} asks to be let in", Printable(name)));
  if (state.others == 0) {
    steps.emplace_back("exo invite", state.strangers == 0
                                         ? "add a device"
                                         : "add a device: others with exo are nearby");
  } else {
    steps.emplace_back("exo devices", "what each gives");
  }
  steps.emplace_back("exo doctor", "what could be better here");
  return Situation(state) + "\n" + Listed(steps);
}

Result<void> RunNextStep(const Settings& settings) {
  const auto api = OwnNode(settings);
  if (!api && api.error().code != ErrorCode::kDisconnected) return std::unexpected(api.error());
  Result<HomeState> state = HomeState{};
  if (api) state = LookAround(*api, api->port());
  if (!state && state.error().code == ErrorCode::kDisconnected) state = HomeState{};
  if (!state) return std::unexpected(state.error());
  Write(NextSteps(*state));
  return {};
}

}  // namespace exo::app
