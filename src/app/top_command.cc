#include "app/top_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

#include "app/client_commands.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "base/units.h"
#include "sys/process.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr Time kPeriod = std::chrono::seconds(1);
constexpr size_t kBar = 12;
constexpr size_t kMaxRequests = 10;
// To the top left, and each line up to its end; what is below goes. Nothing flickers.
constexpr const char* kHome = "\033[H";
constexpr const char* kLineEnd = "\033[K\n";
constexpr const char* kBelow = "\033[J";
constexpr const char* kClear = "\033[2J";

std::string Bar(double part) {
  const auto full = static_cast<size_t>(std::clamp(part, 0.0, 1.0) * kBar + 0.5);
  return "[" + std::string(full, '#') + std::string(kBar - full, '.') + "]";
}

std::string DeviceRows(const json& cluster) {
  std::vector<std::vector<std::string>> rows = {
      {"DEVICE", "STATE", "MODELS' MEMORY", "TAKEN", "DECODE", "RTT", "HEALTH"}};
  for (const json& node : cluster.value("nodes", json::array())) {
    const uint64_t budget = node.value("memory_budget", uint64_t{0});
    const uint64_t taken = std::min(node.value("memory_reserved", uint64_t{0}), budget);
    const double part = budget == 0 ? 0 : static_cast<double>(taken) / static_cast<double>(budget);
    const double rtt = node.value("rtt_ms", 0.0), decode = node.value("decode_gbps", 0.0);
    const std::string health = node.value("health", json::object()).value("text", "");
    rows.push_back({node.value("name", ""), node.value("state", ""), Bar(part),
                    fmt::format("{} of {}", FormatSize(taken), FormatSize(budget)),
                    decode > 0 ? fmt::format("{:.1f} GB/s", decode) : "-",
                    rtt > 0 ? fmt::format("{:.2f} ms", rtt) : "-", health.empty() ? "-" : health});
  }
  return Table(rows);
}

std::string ModelRows(const json& cluster) {
  std::vector<std::vector<std::string>> rows = {
      {"MODEL", "STATE", "ANSWERS", "WAITING", "EXPECTED", "ON"}};
  for (const json& instance : cluster.value("instances", json::array())) {
    std::string devices;
    for (const json& stage : instance.value("stages", json::array()))
      devices += (devices.empty() ? "" : ", ") + stage.value("node", "");
    const double expected = instance.value("predicted_tokens_per_second", 0.0);
    rows.push_back({instance.value("model", ""), instance.value("state", ""),
                    fmt::format("{}", instance.value("active_requests", 0)),
                    fmt::format("{}", instance.value("queued_requests", 0)),
                    expected > 0 ? fmt::format("{:.1f} tokens/s", expected) : "-", devices});
  }
  return rows.size() == 1 ? "no model is running\n" : Table(rows);
}

std::string RequestRows(const json& requests) {
  std::vector<std::vector<std::string>> rows = {
      {"REQUEST", "MODEL", "STATE", "WHO", "PROMPT", "ANSWER", "SPEED"}};
  for (const json& request : requests.value("data", json::array())) {
    if (rows.size() > kMaxRequests) break;
    const std::string who = request.value("who", "");
    const double speed = request.value("tokens_per_second", 0.0);
    rows.push_back({request.value("id", "").substr(0, 8), request.value("model", ""),
                    request.value("state", ""), who.empty() ? "here" : who,
                    fmt::format("{}", request.value("prompt_tokens", 0)),
                    fmt::format("{}", request.value("generated", 0)),
                    speed > 0 ? fmt::format("{:.1f} tokens/s", speed) : "-"});
  }
  return rows.size() == 1 ? "" : "\n" + Table(rows);
}

// The lines of a text without colors, each cut to the terminal.
std::string FittedLines(const std::string& text, size_t columns, const std::string& end) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t line_end = std::min(text.find('\n', at), text.size());
    out += Fitted(text.substr(at, line_end - at), columns) + end;
    at = line_end + 1;
  }
  return out;
}

Result<void> ShowOnce(const HttpClient& api, const TopOptions& options, bool redraw) {
  const json cluster = TRY(api.Get("/v1/cluster"));
  // A node without the route, or without its token for us, has the rest.
  const auto requests = api.Get("/v1/internal/requests");
  const json list = requests ? *requests : json();
  if (options.json) {
    PrintJson({{"nodes", cluster.value("nodes", json::array())},
               {"instances", cluster.value("instances", json::array())},
               {"requests", list.is_object() ? list.value("data", json::array()) : json::array()}});
    return FlushOutput();
  }
  const size_t columns = sys::TerminalColumns(1).value_or(0);
  const std::string text = TopText(cluster, list, columns);
  if (!redraw) {
    Write(text);
    return {};
  }
  Write(kHome + FittedLines(text, columns, kLineEnd) + kBelow);
  return FlushOutput();
}

}  // namespace

std::string TopText(const json& cluster, const json& requests, size_t columns) {
  const std::string text = DeviceRows(cluster) + "\n" + ModelRows(cluster) +
                           (requests.is_object() ? RequestRows(requests) : std::string());
  return columns == 0 ? text : FittedLines(text, columns, "\n");
}

Result<void> RunTop(const Settings& settings, const TopOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  const bool redraw = !options.json && CanRedraw(1);
  SetNoColor();  // lines are cut by their characters
  if (options.once || (!redraw && !options.json)) return ShowOnce(api, options, false);
  const int stop_fd = TRY(sys::StopSignals());
  if (redraw) Write(kClear);
  do TRY(ShowOnce(api.Watched(stop_fd, {}), options, redraw));
  while (!sys::TakeSignal(stop_fd, kPeriod));
  return {};
}

}  // namespace exo::app
