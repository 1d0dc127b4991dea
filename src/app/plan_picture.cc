#include "app/plan_picture.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/terminal.h"
#include "base/text.h"
#include "base/units.h"
#include "wire/plan.h"

namespace exo::app {
namespace {

using nlohmann::json;

constexpr size_t kMostBar = 40;
constexpr size_t kLeastBar = 8;

// '#': this model; '+': others; '.': free.
std::string Bar(uint64_t own, uint64_t others, uint64_t budget, size_t width) {
  const auto cells = [&](uint64_t bytes) {
    const double part = static_cast<double>(bytes) / static_cast<double>(budget);
    const auto whole = static_cast<size_t>(part * static_cast<double>(width) + 0.5);
    return std::min(bytes > 0 ? std::max<size_t>(1, whole) : 0, width);
  };
  const size_t mine = cells(own), taken = std::min(cells(others), width - mine);
  return "[" + std::string(taken, '+') + std::string(mine, '#') +
         std::string(width - taken - mine, '.') + "]";
}

const json* DeviceOf(const json& plan, const std::string& id) {
  const auto devices = plan.find("devices");
  if (devices == plan.end()) return nullptr;
  for (const json& device : *devices) {
    if (device.value("id", "") == id) return &device;
  }
  return nullptr;
}

// "KV heads 0-3", "no columns"; nothing where the stage has no such field.
std::string RangeOf(const json& stage, const char* field, std::string_view what) {
  const auto range = stage.find(field);
  if (range == stage.end()) return "";
  const auto begin = (*range)[0].get<uint64_t>(), end = (*range)[1].get<uint64_t>();
  return begin == end ? fmt::format("no {}", what)
                      : fmt::format("{} {}", what, wire::RangeText(begin, end));
}

bool IsShard(const json& stage) {
  return stage.contains("kv_heads");
}

// Of one group: shards of the same layers.
bool AreTogether(const json& a, const json& b) {
  return IsShard(a) && IsShard(b) && a["layer_begin"] == b["layer_begin"] &&
         a["layer_end"] == b["layer_end"];
}

// "KV heads 0-3, columns 0-4095 of every layer", or "of layers 0-7". A mixture has columns where it
// has a shared expert.
std::string ShardPart(const json& plan, const json& stage, bool columns) {
  std::string part;
  for (const std::string& range :
       {RangeOf(stage, "kv_heads", "KV heads"), RangeOf(stage, "query_heads", "query heads"),
        columns ? RangeOf(stage, "ffn_columns", "columns") : "",
        RangeOf(stage, "experts", "experts")})
    if (!range.empty()) part += (part.empty() ? "" : ", ") + range;
  const auto begin = stage.value("layer_begin", uint64_t{0});
  const auto end = stage.value("layer_end", uint64_t{0});
  const bool all = begin == 0 && end == plan["stages"].back().value("layer_end", uint64_t{0});
  return part + " of " + (all ? "every layer" : wire::LayersText(begin, end));
}

bool HasColumns(const json& stages) {
  return std::ranges::any_of(stages, [](const json& stage) {
    const auto columns = stage.find("ffn_columns");
    return columns != stage.end() && (*columns)[1].get<uint64_t>() > 0;
  });
}

// "layers 0-7, input and output", or a shard's part.
std::string PartOf(const json& plan, const json& stage, bool lead) {
  std::string part;
  if (IsShard(stage)) {
    part = ShardPart(plan, stage, HasColumns(plan["stages"]));
  } else {
    part = wire::LayersText(stage.value("layer_begin", uint64_t{0}),
                            stage.value("layer_end", uint64_t{0}));
    if (const auto read = stage.find("layers_from_disk"); read != stage.end())
      part += fmt::format(", {} of them from disk", read->size());
  }
  return part + (lead ? ", input and output" : "");
}

// The bar and its figures, in a line where there is room, else in two.
std::string MemoryLines(const json* device, uint64_t own, const std::string& speed,
                        size_t columns) {
  const std::string indent = "  ";
  const std::string tail = speed.empty() ? "" : ", " + speed;
  if (device == nullptr) return Wrapped(indent + FormatSize(own) + tail, columns, 2);
  const uint64_t budget = device->value("memory_budget", uint64_t{0});
  const uint64_t available = device->value("memory_available", uint64_t{0});
  const std::string figures = fmt::format("{} of {}{}", FormatSize(own), FormatSize(budget), tail);
  if (budget == 0) return Wrapped(indent + figures, columns, 2);
  const uint64_t others = budget - std::min(budget, available);
  const size_t beside = indent.size() + 2 + 1 + Columns(figures);
  if (columns >= beside + kLeastBar) {
    const size_t width = std::min(kMostBar, columns - beside);
    return fmt::format("{}{} {}\n", indent, Bar(own, others, budget, width), figures);
  }
  const size_t width = std::min(kMostBar, columns - indent.size() - 2);
  return fmt::format("{}{}\n", indent, Bar(own, others, budget, width)) +
         Wrapped(indent + figures, columns, 2);
}

// "0.40 ms there and back (99 %: 1.20 ms), 940 Mb/s, 430 Mb/s back"
std::string LinkText(const json& hop) {
  const double rtt = hop.value("rtt_ms", 0.0), p99 = hop.value("rtt_p99_ms", 0.0);
  std::string text = fmt::format("{:.2f} ms there and back", rtt);
  if (p99 > rtt) text += fmt::format(" (99 %: {:.2f} ms)", p99);
  const json there = hop.value("mbps", json()), back = hop.value("mbps_back", json());
  if (there.is_number()) text += fmt::format(", {:.0f} Mb/s", there.get<double>());
  if (back.is_number()) text += fmt::format(", {:.0f} Mb/s back", back.get<double>());
  return text;
}

std::string NameOfStage(const json& stages, const std::string& id) {
  for (const json& stage : stages) {
    if (stage.value("node_id", "") == id) return Printable(stage.value("node", ""));
  }
  return "";
}

// `part`: the plan, or one of its replicas, that the stage is of.
std::string StageLines(const json& plan, const json& part, const json& stage, bool lead,
                       size_t columns) {
  const double ms = stage.value("ms_per_token", 0.0);
  return Wrapped(
             fmt::format("{}: {}", Printable(stage.value("node", "")), PartOf(part, stage, lead)),
             columns, 2) +
         MemoryLines(DeviceOf(plan, stage.value("node_id", "")), stage.value("bytes", uint64_t{0}),
                     ms > 0 ? fmt::format("{:.1f} ms a token", ms) : "", columns);
}

size_t StageOf(const json& stages, const std::string& id) {
  size_t at = 0;
  while (at < stages.size() && stages[at].value("node_id", "") != id) ++at;
  return at;
}

// Whether the stage is of the group that ends with stage `last`.
bool IsOfGroup(const json& stages, size_t stage, size_t last) {
  return stage <= last && (stage == last || AreTogether(stages[stage], stages[last]));
}

// From the group that ends with stage `last`: those between its shards, or those to others.
std::vector<json> HopsFrom(const json& stages, const json& hops, size_t last, bool within) {
  std::vector<json> some;
  const auto inside = [&](const json& hop, const char* end) {
    return IsOfGroup(stages, StageOf(stages, hop.value(end, "")), last);
  };
  for (const json& hop : hops) {
    if (inside(hop, "from") && inside(hop, "to") == within) some.push_back(hop);
  }
  return some;
}

std::string HopText(const json& stages, const json& hop) {
  return fmt::format("{} - {}: {}", NameOfStage(stages, hop.value("from", "")),
                     NameOfStage(stages, hop.value("to", "")), LinkText(hop));
}

// Devices that have no part in it.
std::string IdleLines(const json& plan, size_t columns) {
  json stages = plan.value("stages", json::array());
  for (const json& replica : plan.value("replicas", json::array()))
    for (const json& stage : replica.value("stages", json::array())) stages.push_back(stage);
  std::string text;
  for (const json& device : plan.value("devices", json::array())) {
    if (!NameOfStage(stages, device.value("id", "")).empty()) continue;
    text += Wrapped(fmt::format("{}: idle", Printable(device.value("name", ""))), columns, 2) +
            MemoryLines(&device, 0, "", columns);
  }
  return text;
}

std::string Devices(const json& plan, const json& part, size_t columns) {
  const json stages = part.value("stages", json::array());
  const json hops = part.value("hops", json::array());
  std::string text;
  for (size_t i = 0; i < stages.size(); ++i) {
    text += StageLines(plan, part, stages[i], i == 0, columns);
    const bool last = i + 1 == stages.size();
    if (!last && AreTogether(stages[i], stages[i + 1])) continue;
    for (const json& hop : HopsFrom(stages, hops, i, /*within=*/true))
      text += Wrapped("  " + HopText(stages, hop), columns, 4);
    const std::vector<json> out = HopsFrom(stages, hops, i, /*within=*/false);
    if (!last) text += "    |\n";
    for (const json& hop : out) {
      const std::string what = last ? "back to the first:" : "|";
      const std::string named = out.size() < 2 ? LinkText(hop) : HopText(stages, hop);
      text += Wrapped(fmt::format("    {} {}", what, named), columns, 6);
    }
    if (!last) text += "    v\n";
  }
  return text;
}

}  // namespace

std::string PlanPicture(const json& plan, size_t columns) {
  columns = std::max(columns, kLeastColumns);
  std::string text = Wrapped(fmt::format("{}: {}", Printable(plan.value("model", "")),
                                         Printable(plan.value("reason", ""))),
                             columns, 0);
  text += "\n" + Devices(plan, plan, columns);
  for (const json& replica : plan.value("replicas", json::array()))
    text += Devices(plan, replica, columns);
  text += IdleLines(plan, columns) + "\n";
  text += Wrapped(
      fmt::format("context: {} tokens, {} KV cache for {} tokens in all", plan.value("context", 0),
                  plan.value("kv", ""), plan.value("kv_positions", uint64_t{0})),
      columns, 2);
  const double speed = plan.value("predicted_tokens_per_second", 0.0);
  text +=
      Wrapped(fmt::format("predicted: {} tokens/s, prompts at {:.0f} tokens/s, first token "
                          "of a prompt of {} after {:.1f} s",
                          speed < 1 ? fmt::format("{:.2f}", speed) : fmt::format("{:.1f}", speed),
                          plan.value("predicted_prompt_per_second", 0.0),
                          plan.value("predicted_prompt_tokens", 512u),
                          plan.value("predicted_ttft_ms", 0.0) / 1000),
              columns, 2);
  if (const auto users = plan.value("users", 1u); users > 1) {
    text += Wrapped(fmt::format("{} answers at once: {:.1f} tokens/s in all", users,
                                plan.value("predicted_total_per_second", 0.0)),
                    columns, 2);
  }
  return text;
}

std::string PlanExplanation(const json& plan, size_t columns) {
  std::string text = "\ncompared:\n";
  for (const json& sentence : plan.value("explanation", json::array()))
    text +=
        Wrapped("- " + Printable(sentence.get<std::string>()), std::max(columns, kLeastColumns), 2);
  return text;
}

}  // namespace exo::app
