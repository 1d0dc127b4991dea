#include "app/cluster_file.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "app/toml.h"
#include "backend/work_costs.h"
#include "base/text.h"
#include "base/units.h"
#include "wire/messages.h"

namespace exo::app {
namespace {

using cluster::PlanNode;

constexpr size_t kMostDevices = 64;  // as many as a cluster has
constexpr double kMostSpeed = 1e6;   // GB/s, GOP/s and Mb/s
constexpr double kMostRttMs = 1e5;

// The text's values, and where each of them is wrong.
class ClusterReader {
 public:
  explicit ClusterReader(std::string origin) : origin_(std::move(origin)) {}

  Result<std::vector<PlanNode>> Read(const toml::table& root) {
    TRY(CheckKeys(root, {"network", "device", "link"}, "a cluster"));
    const auto* devices = root.get_as<toml::array>("device");
    if (devices == nullptr || devices->empty()) {
      return Fail(ErrorCode::kInvalid,
                  "{} has no [[device]]: each needs name, memory, decode_gbps and prefill_gops",
                  origin_);
    }
    if (devices->size() > kMostDevices) {
      return Fail(ErrorCode::kInvalid, "{} has {} devices ({} at most)", origin_, devices->size(),
                  kMostDevices);
    }
    for (const toml::node& device : *devices) TRY(ReadDevice(device));
    if (const toml::node* network = root.get("network")) TRY(ReadNetwork(*network));
    if (const toml::node* links = root.get("link")) {
      if (!links->is_array()) return Wrong(*links, "link", "a list: write [[link]]");
      for (const toml::node& link : *links->as_array()) TRY(ReadLink(link));
    }
    return std::move(nodes_);
  }

 private:
  std::unexpected<Error> Wrong(const toml::node& node, std::string_view key,
                               std::string_view wanted) const {
    std::ostringstream shown;
    node.visit([&](const auto& value) { shown << toml::toml_formatter(value); });
    std::string text = shown.str();
    std::ranges::replace(text, '\n', ' ');
    return Fail(ErrorCode::kInvalid, "{} line {}: {} is {}, but must be {}", origin_,
                node.source().begin.line, key, text.substr(0, 60), wanted);
  }

  Result<void> CheckKeys(const toml::table& table, const std::vector<std::string>& known,
                         std::string_view what) const {
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      if (std::ranges::find(known, name) != known.end()) continue;
      const std::string near = Nearest(name, known);
      return Fail(ErrorCode::kInvalid, "{} line {}: {} has no '{}'{}", origin_,
                  node.source().begin.line, what, name,
                  near.empty() ? "" : fmt::format("; did you mean '{}'?", near));
    }
    return {};
  }

  Result<const toml::table*> TableOf(const toml::node& node, std::string_view what) const {
    if (const auto* table = node.as_table()) return table;
    return Wrong(node, what, fmt::format("a table: write [[{}]]", what));
  }

  Result<double> Number(const toml::table& table, std::string_view key, double most) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) return Missing(table, key);
    const auto value = node->value<double>();
    if (!node->is_number() || !value || !(*value > 0) || *value > most)
      return Wrong(*node, key, fmt::format("a number above 0, {} at most", most));
    return *value;
  }

  std::unexpected<Error> Missing(const toml::table& table, std::string_view key) const {
    return Fail(ErrorCode::kInvalid, "{} line {}: this table has no {}", origin_,
                table.source().begin.line, key);
  }

  Result<std::string> Text(const toml::table& table, std::string_view key) const {
    const toml::node* node = table.get(key);
    if (node == nullptr) return Missing(table, key);
    if (!node->is_string() || node->as_string()->get().empty() ||
        node->as_string()->get().size() > wire::kMaxName)
      return Wrong(*node, key, fmt::format("a text of 1 to {} bytes", wire::kMaxName));
    return node->as_string()->get();
  }

  Result<uint64_t> Memory(const toml::table& table) const {
    const toml::node* node = table.get("memory");
    if (node == nullptr) return Missing(table, "memory");
    if (const auto* bytes = node->as_integer(); bytes != nullptr && bytes->get() > 0)
      return static_cast<uint64_t>(bytes->get());
    if (const auto* text = node->as_string()) {
      std::string packed = text->get();
      std::erase(packed, ' ');
      if (const auto size = ParseSize(packed); size && *size > 0) return *size;
    }
    return Wrong(*node, "memory", "a size, for example \"16 GiB\", or a number of bytes");
  }

  Result<void> ReadDevice(const toml::node& node) {
    const toml::table& table = *TRY(TableOf(node, "device"));
    TRY(CheckKeys(table, {"name", "memory", "decode_gbps", "prefill_gops", "disk_gbps", "guest"},
                  "a device"));
    PlanNode device{.name = TRY(Text(table, "name"))};
    if (std::ranges::find(nodes_, device.name, &PlanNode::name) != nodes_.end())
      return Wrong(*table.get("name"), "name", "another one than every other device's");
    device.memory_available = device.memory_budget = TRY(Memory(table));
    device.decode_gbps = TRY(Number(table, "decode_gbps", kMostSpeed));
    device.prefill_gops = TRY(Number(table, "prefill_gops", kMostSpeed));
    if (table.contains("disk_gbps")) device.disk_gbps = TRY(Number(table, "disk_gbps", kMostSpeed));
    const backend::WorkCosts& costs = backend::TypicalCosts();
    device.layer_bytes = costs.layer_bytes;
    for (const backend::FormatCost& one : costs.formats)
      device.formats.push_back({static_cast<uint32_t>(one.type), one.decode, one.prefill});
    if (const toml::node* guest = table.get("guest")) {
      if (!guest->is_boolean()) return Wrong(*guest, "guest", "true or false");
      device.guest = guest->as_boolean()->get();
    }
    // Any ids do that differ; ties go to the smaller one, which is the first.
    device.id.bytes[0] = static_cast<uint8_t>(nodes_.size() + 1);
    nodes_.push_back(std::move(device));
    return {};
  }

  Result<cluster::PlanLink> Way(const toml::table& table) const {
    cluster::PlanLink link;
    link.rtt_ms = TRY(Number(table, "rtt_ms", kMostRttMs));
    if (table.contains("rtt_p99_ms"))
      link.rtt_p99_ms = TRY(Number(table, "rtt_p99_ms", kMostRttMs));
    if (table.contains("mbps")) link.mbps = TRY(Number(table, "mbps", kMostSpeed));
    return link;
  }

  // What a pair's own link says comes first: the last one listed counts.
  Result<void> ReadNetwork(const toml::node& node) {
    const toml::table& table = *TRY(TableOf(node, "network"));
    TRY(CheckKeys(table, {"rtt_ms", "rtt_p99_ms", "mbps"}, "a network"));
    const cluster::PlanLink link = TRY(Way(table));
    for (PlanNode& from : nodes_) {
      for (const PlanNode& to : nodes_) {
        if (&from == &to) continue;
        from.links.push_back(link);
        from.links.back().to = to.id;
      }
    }
    return {};
  }

  Result<void> ReadLink(const toml::node& node) {
    const toml::table& table = *TRY(TableOf(node, "link"));
    TRY(CheckKeys(table, {"between", "rtt_ms", "rtt_p99_ms", "mbps", "mbps_back"}, "a link"));
    const cluster::PlanLink there = TRY(Way(table));
    cluster::PlanLink back = there;
    if (table.contains("mbps_back")) back.mbps = TRY(Number(table, "mbps_back", kMostSpeed));
    const toml::node* between = table.get("between");
    if (between == nullptr) return Missing(table, "between");
    const auto* names = between->as_array();
    if (names == nullptr || names->size() != 2 || !names->get(0)->is_string() ||
        !names->get(1)->is_string())
      return Wrong(*between, "between", "two names of devices");
    PlanNode* ends[2];
    for (size_t i = 0; i < 2; ++i) {
      const auto at = std::ranges::find(nodes_, names->get(i)->as_string()->get(), &PlanNode::name);
      if (at == nodes_.end()) return Wrong(*between, "between", "two names of [[device]]s");
      ends[i] = &*at;
    }
    if (ends[0] == ends[1]) return Wrong(*between, "between", "two different devices");
    for (size_t i = 0; i < 2; ++i) {
      std::erase_if(ends[i]->links, [&](const auto& link) { return link.to == ends[1 - i]->id; });
      ends[i]->links.push_back(i == 0 ? there : back);
      ends[i]->links.back().to = ends[1 - i]->id;
    }
    return {};
  }

  const std::string origin_;
  std::vector<PlanNode> nodes_;
};

}  // namespace

Result<std::vector<PlanNode>> ParseCluster(const std::string& text, const std::string& origin) {
  const toml::parse_result parsed = toml::parse(text, origin);
  if (!parsed) {
    const toml::source_position at = parsed.error().source().begin;
    return Fail(ErrorCode::kInvalid, "{} line {}, column {}: {}", origin, at.line, at.column,
                parsed.error().description());
  }
  return ClusterReader(origin).Read(parsed.table());
}

}  // namespace exo::app
