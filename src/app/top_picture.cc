#include "app/top_picture.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <initializer_list>
#include <utility>
#include <vector>

#include "app/client_commands.h"
#include "app/terminal.h"
#include "base/text.h"
#include "base/units.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr size_t kBar = 12;
constexpr size_t kMaxRequests = 10;
constexpr size_t kMaxChanges = 5;

std::string Bar(double part) {
  const auto full = static_cast<size_t>(std::clamp(part, 0.0, 1.0) * kBar + 0.5);
  return "[" + std::string(full, '#') + std::string(kBar - full, '.') + "]";
}

// What was not told yet is null.
json ListOf(const json& object, const char* list) {
  return object.is_object() ? object.value(list, json::array()) : json::array();
}

// Of the array `list` in `object`, the first whose `field` is `value`; an empty one: there is none.
json FindIn(const json& object, const char* list, const char* field, const std::string& value) {
  for (json one : ListOf(object, list)) {
    if (one.value(field, "") == value) return one;
  }
  return json::object();
}

// What the cluster's state has of a device is as old as its last change.
double RttOf(const json& node, const json& figures) {
  const json link = FindIn(figures, "links", "to", node.value("id", ""));
  return link.value("rtt_ms", node.value("rtt_ms", 0.0));
}

std::string Speed(double tokens_per_second) {
  return tokens_per_second > 0 ? fmt::format("{:.1f} tokens/s", tokens_per_second) : "-";
}

using Rows = std::vector<std::vector<std::string>>;

size_t WidthOf(const Rows& rows) {
  size_t width = 0;
  for (size_t i = 0; i < rows[0].size(); ++i) {
    size_t widest = 0;
    for (const auto& row : rows) widest = std::max(widest, Columns(Printable(row[i])));
    width += widest + (i > 0 ? 2 : 0);
  }
  return width;
}

// A terminal that is too narrow (0: any width) gets fewer columns: those of `spare` go first, by
// their headings, in that order.
std::string FittedTable(Rows rows, size_t columns, std::initializer_list<const char*> spare) {
  for (const char* heading : spare) {
    if (columns == 0 || WidthOf(rows) < columns) break;
    const auto at = std::ranges::find(rows[0], heading) - rows[0].begin();
    for (auto& row : rows) row.erase(row.begin() + at);
  }
  return Table(std::move(rows));
}

std::string DeviceRows(const json& cluster, const json& figures, size_t columns) {
  Rows rows = {{"DEVICE", "STATE", "MODELS' MEMORY", "TAKEN", "DECODE", "RTT", "HEALTH"}};
  for (const json& node : ListOf(cluster, "nodes")) {
    const uint64_t budget = node.value("memory_budget", uint64_t{0});
    const uint64_t taken = std::min(node.value("memory_reserved", uint64_t{0}), budget);
    const double part = budget == 0 ? 0 : static_cast<double>(taken) / static_cast<double>(budget);
    const double rtt = RttOf(node, figures), decode = node.value("decode_gbps", 0.0);
    const std::string health = node.value("health", json::object()).value("text", "");
    rows.push_back({node.value("name", ""), StateWord(node.value("state", "")), Bar(part),
                    fmt::format("{} of {}", FormatSize(taken), FormatSize(budget)),
                    decode > 0 ? fmt::format("{:.1f} GB/s", decode) : "-",
                    rtt > 0 ? fmt::format("{:.2f} ms", rtt) : "-", health.empty() ? "-" : health});
  }
  return FittedTable(std::move(rows), columns, {"MODELS' MEMORY", "DECODE", "RTT", "TAKEN"});
}

std::string ModelRows(const json& cluster, const json& figures, size_t columns) {
  Rows rows = {{"MODEL", "STATE", "ANSWERS", "WAITING", "SPEED", "EXPECTED", "ON"}};
  for (const json& instance : ListOf(cluster, "instances")) {
    std::string devices;
    for (const json& stage : instance.value("stages", json::array()))
      devices += (devices.empty() ? "" : ", ") + stage.value("node", "");
    const json now = FindIn(figures, "instances", "plan", instance.value("plan_id", ""));
    rows.push_back({instance.value("model", ""), instance.value("state", ""),
                    fmt::format("{}", instance.value("active_requests", 0)),
                    fmt::format("{}", instance.value("queued_requests", 0)),
                    Speed(now.value("tokens_per_second", 0.0)),
                    Speed(instance.value("predicted_tokens_per_second", 0.0)), devices});
  }
  if (rows.size() == 1) return "no model is running\n";
  return FittedTable(std::move(rows), columns, {"EXPECTED", "WAITING", "ON", "ANSWERS"});
}

std::string RequestRows(const json& requests, size_t columns) {
  Rows rows = {{"REQUEST", "MODEL", "STATE", "WHO", "PROMPT", "ANSWER", "SPEED"}};
  for (const json& request : ListOf(requests, "data")) {
    if (rows.size() > kMaxRequests) break;
    const std::string who = request.value("who", "");
    rows.push_back({request.value("id", "").substr(0, 8), request.value("model", ""),
                    request.value("state", ""), who.empty() ? "here" : who,
                    fmt::format("{}", request.value("prompt_tokens", 0)),
                    fmt::format("{}", request.value("generated", 0)),
                    Speed(request.value("tokens_per_second", 0.0))});
  }
  if (rows.size() == 1) return "";
  return "\n" + FittedTable(std::move(rows), columns, {"PROMPT", "WHO", "ANSWER", "SPEED"});
}

// "13:00:05 UTC  nas: lost (silent since 2026-11-28 12:59:59 UTC)"
std::string ChangeLines(const TopState& state) {
  std::string text;
  for (const json& change : state.changes) {
    const std::time_t seconds = change.value("time_ms", int64_t{0}) / 1000;
    const std::string detail = change.value("detail", "");
    text += fmt::format("{:%H:%M:%S} UTC  {}: {}{}\n", fmt::gmtime(seconds),
                        Printable(change.value("name", "")),
                        Printable(StateWord(change.value("state", ""))),
                        detail.empty() ? "" : " (" + Printable(detail) + ")");
  }
  return text.empty() ? "" : "\n" + text;
}

// The lines of a text without colors, each cut to the terminal.
std::string FittedLines(const std::string& text, size_t columns) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t line_end = std::min(text.find('\n', at), text.size());
    out += Fitted(text.substr(at, line_end - at), columns) + "\n";
    at = line_end + 1;
  }
  return out;
}

}  // namespace

bool Apply(const ServerEvent& event, TopState& state) {
  if (!event.id.empty()) state.last_event = event.id;
  if (!event.data.is_object()) return false;
  if (event.name == "cluster") {
    state.cluster = event.data;
  } else if (event.name == "requests") {
    state.requests = event.data;
  } else if (event.name == "telemetry") {
    state.figures = event.data;
  } else if (event.name == "peer" || event.name == "instance") {
    state.changes.push_back(event.data);
    if (state.changes.size() > kMaxChanges) state.changes.pop_front();
  } else {
    return false;
  }
  return true;
}

bool IsWhole(const TopState& state) {
  return !state.cluster.is_null() && !state.requests.is_null() && !state.figures.is_null();
}

std::string TopText(const TopState& state, size_t columns) {
  std::string text = state.lost.empty() ? "" : Printable(state.lost) + "\n\n";
  text += DeviceRows(state.cluster, state.figures, columns) + "\n" +
          ModelRows(state.cluster, state.figures, columns) + RequestRows(state.requests, columns) +
          ChangeLines(state);
  return columns == 0 ? text : FittedLines(text, columns);
}

json TopJson(const TopState& state) {
  json all = {{"nodes", ListOf(state.cluster, "nodes")},
              {"instances", ListOf(state.cluster, "instances")},
              {"requests", ListOf(state.requests, "data")},
              {"links", ListOf(state.figures, "links")}};
  if (!state.lost.empty()) all["lost"] = state.lost;
  return all;
}

}  // namespace exo::app
