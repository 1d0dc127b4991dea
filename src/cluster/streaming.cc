#include "cluster/streaming.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <map>
#include <tuple>

#include "base/units.h"
#include "cluster/partition.h"

namespace exo::cluster {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();

// A stage of some layers on some node, with as few of them read from disk as its memory allows.
struct StreamedStage {
  double ms = kImpossible;  // of a visit
  uint32_t streamed = 0;
};

// Every stage that a node can be.
class StageTable {
 public:
  StageTable(const Search& search, size_t node, bool lead, uint64_t pages)
      : search_(search),
        node_(search.nodes[node]),
        lead_(lead),
        positions_(search.Positions(pages)),
        speeds_(KnownSpeeds(search.nodes)[node]),
        layers_(search.shape.layers()) {
    layer_ms_.push_back(0);
    for (uint32_t i = 0; i < layers_; ++i)
      layer_ms_.push_back(layer_ms_.back() +
                          StepMs(CostOfLayer(search.shape, i, speeds_), speeds_, 1));
    stages_.resize(size_t{layers_} * layers_);
    for (uint32_t begin = 0; begin < layers_; ++begin) {
      if (lead && begin > 0) break;
      for (uint32_t end = begin + 1; end <= layers_; ++end)
        stages_[begin * layers_ + end - 1] = Make({begin, end});
    }
  }

  const StreamedStage& Of(size_t begin, size_t end) const {
    return stages_[begin * layers_ + end - 1];
  }

 private:
  bool Fits(const wire::LayerSpan& layers, uint32_t streamed) const {
    return StageMemory(search_.shape,
                       {.layer_begin = layers.begin,
                        .layer_end = layers.end,
                        .lead = lead_,
                        .streamed = streamed},
                       positions_, search_.options.kv_type) <= node_.memory_available;
  }

  StreamedStage Make(const wire::LayerSpan& layers) const {
    uint32_t streamed = 0;
    if (!Fits(layers, 0)) {
      uint32_t low = 1, high = layers.end - layers.begin;
      if (!(node_.disk_gbps > 0) || !Fits(layers, high)) return {};
      while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (Fits(layers, middle)) {
          high = middle;
        } else {
          low = middle + 1;
        }
      }
      streamed = low;
    }
    double ms = layer_ms_[layers.end] - layer_ms_[layers.begin];
    if (lead_) ms += StepMs(CostOfOutput(search_.shape, speeds_), speeds_, 1);
    const DiskMs disk = DiskMsOf(search_.shape, layers, streamed, node_.disk_gbps, 1);
    return {kVisitMs + disk.Visit(ms), streamed};
  }

  const Search& search_;
  const PlanNode& node_;
  const bool lead_;
  const KvPositions positions_;
  const Speeds speeds_;
  const uint32_t layers_;
  std::vector<double> layer_ms_;  // sums
  std::vector<StreamedStage> stages_;
};

// The tables of all nodes, made when they are asked for.
class Tables {
 public:
  Tables(const Search& search, uint64_t pages) : search_(search), pages_(pages) {}
  const StageTable& Of(size_t node, bool lead) {
    const auto at = tables_.find({node, lead});
    if (at != tables_.end()) return at->second;
    return tables_.try_emplace({node, lead}, search_, node, lead, pages_).first->second;
  }

 private:
  const Search& search_;
  const uint64_t pages_;
  std::map<std::pair<size_t, bool>, StageTable> tables_;
};

// Of all stages together, then the slowest of them.
struct CutCost {
  double sum = kImpossible;
  double slowest = kImpossible;
  friend auto operator<=>(const CutCost&, const CutCost&) = default;
};

// Cuts the layers for the nodes of the placement, in their order: the fastest token. False: they do
// not fit.
bool Cut(const Search& search, Tables& tables, Placement& placement) {
  const size_t stages = placement.nodes.size(), layers = search.shape.layers();
  if (stages > layers) return false;
  // best[s][e]: stages [0, s] have layers [0, e); from[s][e]: where stage s begins.
  std::vector<std::vector<CutCost>> best(stages, std::vector<CutCost>(layers + 1));
  std::vector<std::vector<size_t>> from(stages, std::vector<size_t>(layers + 1, 0));
  for (size_t s = 0; s < stages; ++s) {
    const StageTable& table = tables.Of(placement.nodes[s], s == 0);
    for (size_t end = s + 1; end + (stages - 1 - s) <= layers; ++end) {
      for (size_t begin = s; begin <= (s == 0 ? 0 : end - 1); ++begin) {
        const CutCost before = s == 0 ? CutCost{0, 0} : best[s - 1][begin];
        const double ms = table.Of(begin, end).ms;
        const CutCost cost{before.sum + ms, std::max(before.slowest, ms)};
        if (cost < best[s][end]) {
          best[s][end] = cost;
          from[s][end] = begin;
        }
      }
    }
  }
  if (best[stages - 1][layers].sum == kImpossible) return false;
  placement.ends.resize(stages);
  placement.streamed.resize(stages);
  for (size_t s = stages, end = layers; s-- > 0; end = from[s][end]) {
    placement.ends[s] = static_cast<uint32_t>(end);
    placement.streamed[s] = tables.Of(placement.nodes[s], s == 0).Of(from[s][end], end).streamed;
  }
  return true;
}

// Each member alone, and ever more nodes, those with the most memory first.
std::vector<std::vector<size_t>> SetsOf(const Search& search) {
  std::vector<size_t> order;
  for (size_t i = 0; i < search.nodes.size(); ++i) order.push_back(i);
  std::ranges::sort(order, [&](size_t a, size_t b) {
    const uint64_t bytes_a = search.nodes[a].memory_available;
    const uint64_t bytes_b = search.nodes[b].memory_available;
    return bytes_a != bytes_b ? bytes_a > bytes_b : a < b;
  });
  std::vector<std::vector<size_t>> sets;
  for (const size_t node : order) sets.push_back({node});
  const size_t most = std::min<size_t>({order.size(), search.shape.layers(), wire::kMaxStages});
  for (size_t count = 2; count <= most; ++count)
    sets.emplace_back(order.begin(), order.begin() + static_cast<ptrdiff_t>(count));
  return sets;
}

}  // namespace

Comparison CompareStreamed(const Search& search) {
  const uint64_t pages = search.page_choices.back();
  Tables tables(search, pages);
  const bool by_layer = search.options.split == wire::Split::kLayer;
  std::vector<Placement> found;
  size_t chosen = 0;
  for (const std::vector<size_t>& set : SetsOf(search)) {
    Placement placement = PlaceOn(
        search, set, pages, [&](Placement& candidate) { return Cut(search, tables, candidate); });
    if (!placement.valid()) continue;
    found.push_back(std::move(placement));
    const Placement &best = found[chosen], &other = found.back();
    const bool more = other.nodes.size() > best.nodes.size();
    const double worth = more ? kWorthMoreNodes : 1;
    if ((by_layer && more) ||
        ValueOf(search, other.prediction) > worth * ValueOf(search, best.prediction))
      chosen = found.size() - 1;
  }
  Comparison result;
  if (found.empty()) return result;
  for (size_t i = 0; i < found.size(); ++i) {
    const bool faster =
        ValueOf(search, found[i].prediction) > ValueOf(search, found[chosen].prediction);
    result.rivals.push_back(RivalOf(search, found[i],
                                    i == chosen ? wire::RivalFate::kChosen
                                    : faster    ? wire::RivalFate::kTooLittleGain
                                                : wire::RivalFate::kSlower));
  }
  std::ranges::sort(result.rivals, std::greater<>(), [](const wire::PlanRival& rival) {
    return std::tuple(rival.fate == wire::RivalFate::kChosen, rival.decode_tokens_per_second,
                      rival.nodes.size());
  });
  result.rivals.resize(std::min(result.rivals.size(), kMostRivals));
  result.value = ValueOf(search, found[chosen].prediction);
  result.best = std::move(found[chosen]);
  return result;
}

std::string WhyNotStreamed(const Search& search) {
  if (std::ranges::none_of(search.nodes, [](const PlanNode& node) { return node.disk_gbps > 0; }))
    return "; no device reads layers from its disk (setting stream_models)";
  const uint32_t layers = search.shape.layers();
  const uint64_t least = StageMemory(
      search.shape, {.layer_begin = 0, .layer_end = layers, .lead = true, .streamed = layers},
      search.Positions(search.page_choices.back()), search.options.kv_type);
  return fmt::format("; even with all layers read from disk one device needs {}",
                     FormatSize(least));
}

}  // namespace exo::cluster
