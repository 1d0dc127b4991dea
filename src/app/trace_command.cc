#include "app/trace_command.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "app/client_commands.h"
#include "app/output.h"
#include "app/terminal.h"
#include "base/text.h"
#include "sys/standard_streams.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr size_t kTraceColumns = 80, kLeast = 10;
// What stands in front of a bar: name, device, start and duration.
constexpr size_t kFront = 46;

// A request keeps its trace at the device that was asked, and no device is told of those of others.
std::string OtherDevices(const HttpClient& api) {
  const auto cluster = api.Get("/v1/cluster");
  std::string names;
  if (!cluster) return names;
  for (const json& node : cluster->value("nodes", json::array())) {
    if (node.value("state", "") == "alive")
      names += (names.empty() ? "" : ", ") + Printable(node.value("name", ""));
  }
  return names;
}

Result<std::string> NewestRequest(const json& requests) {
  for (const json& request : requests) {
    if (!request.value("devices", json::array()).empty()) return request.value("id", "");
  }
  return Fail(ErrorCode::kNotFound, "this node was asked for nothing yet that was computed{}",
              requests.empty() ? "" : "; why its last requests failed: exo top");
}

// The whole id of a request that is named by its first digits.
Result<std::string> FindRequest(const HttpClient& api, const std::string& id) {
  const json list = TRY(api.Get("/v1/internal/requests"));
  const json requests = list.value("data", json::array());
  if (id.empty()) return NewestRequest(requests);
  std::vector<std::string> matches;
  for (const json& request : requests) {
    const std::string whole = request.value("id", "");
    if (whole.starts_with(id)) matches.push_back(whole);
  }
  if (matches.size() > 1)
    return Fail(ErrorCode::kInvalid, "{} requests begin with {}: give more digits", matches.size(),
                id);
  if (!matches.empty()) return matches[0];
  const std::string others = OtherDevices(api);
  return Fail(
      ErrorCode::kNotFound,
      "there is no request {} among the last ones of this device (exo top shows them){}", id,
      others.empty()
          ? ""
          : fmt::format(". The device that was asked keeps it: exo trace {} on {}", id, others));
}

struct Span {
  std::string name, device;
  double start_ms = 0, duration_ms = 0;
};

// Those of the first tokens, in the order of their start; what lies in another comes behind it.
std::vector<Span> SpansOf(const json& trace, size_t tokens) {
  std::vector<Span> spans;
  for (const json& one : trace.value("spans", json::array())) {
    const json token = one.value("token", json());
    if (token.is_number_unsigned() && token.get<size_t>() >= tokens) continue;
    std::string name = one.value("name", "");
    if (token.is_number_unsigned()) name += fmt::format(" {}", token.get<size_t>());
    spans.push_back({.name = Printable(name),
                     .device = Printable(one.value("device", "")),
                     .start_ms = one.value("start_us", 0.0) / 1000,
                     .duration_ms = one.value("duration_us", 0.0) / 1000});
  }
  std::ranges::sort(spans, [](const Span& a, const Span& b) {
    return std::pair(a.start_ms, b.duration_ms) < std::pair(b.start_ms, a.duration_ms);
  });
  return spans;
}

}  // namespace

std::string TraceText(const json& trace, size_t tokens, size_t columns) {
  const std::vector<Span> spans = SpansOf(trace, tokens);
  double end = 0;
  for (const Span& span : spans) end = std::max(end, span.start_ms + span.duration_ms);
  const size_t width = std::max(columns, kFront + kLeast) - kFront;
  std::string text = fmt::format("request {} of {}, {:.1f} ms\n", trace.value("id", ""),
                                 Printable(trace.value("model", "")), end);
  for (const Span& span : spans) {
    const double scale = end > 0 ? static_cast<double>(width - 1) / end : 0;
    const auto before = static_cast<size_t>(span.start_ms * scale);
    const auto length = std::max<size_t>(1, static_cast<size_t>(span.duration_ms * scale));
    text += fmt::format("{:<12.12} {:<12.12} {:>9.2f} {:>9.2f} {}{}\n", span.name, span.device,
                        span.start_ms, span.duration_ms, std::string(before, ' '),
                        std::string(std::min(length, width - std::min(before, width)), '#'));
  }
  if (const uint64_t dropped = trace.value("dropped", uint64_t{0}); dropped > 0)
    text += fmt::format("{} further spans were not kept\n", dropped);
  return text;
}

Result<void> RunTrace(const Settings& settings, const TraceOptions& options) {
  const HttpClient api = TRY(OwnNode(settings));
  const std::string id = TRY(FindRequest(api, options.id));
  const std::string path = "/v1/internal/requests/" + EscapedSegment(id) + "/trace";
  if (options.format.empty()) {
    const json trace = TRY(api.Get(path));
    Write(TraceText(trace, options.tokens, sys::TerminalColumns(1).value_or(kTraceColumns)));
    return {};
  }
  PrintJson(TRY(api.Get(options.format == "json" ? path : path + "?format=" + options.format)));
  return {};
}

}  // namespace exo::app
