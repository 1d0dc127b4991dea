#include "cluster/planner.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/units.h"
#include "cluster/partition.h"
#include "cluster/tensor_split.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

constexpr uint8_t kSmallestKv = 2;  // kernels::KvType::kQ8_0

// A placement that fits.
struct Placement {
  std::vector<size_t> nodes;                 // indices, stage order
  std::vector<uint32_t> ends;                // layer_end of each stage
  std::vector<wire::ShardPlan> shards = {};  // of each stage, or none
  uint64_t pages = 0;
  Prediction prediction;
  bool valid() const { return !nodes.empty(); }
  StageShare ShareOf(size_t stage) const {
    if (!shards.empty()) return {0, ends[stage], stage == 0, shards[stage]};
    return {stage == 0 ? 0 : ends[stage - 1], ends[stage], stage == 0};
  }
};

// What one call of MakePlan looks at.
struct Search {
  const ModelShape& shape;
  const std::vector<PlanNode>& nodes;
  const PlanOptions& options;
  uint32_t context = 0;
  std::vector<uint64_t> page_choices = {};  // wanted first

  KvPositions Positions(uint64_t pages) const {
    return ReservedKv(shape, pages, context, options.chunk);
  }
};

wire::Plan BuildPlan(const Search& search, const Placement& placement) {
  wire::Plan plan{.model = search.shape.id,
                  .model_name = search.shape.name,
                  .owner = search.options.owner,
                  .term = search.options.term,
                  .nonce = search.options.nonce,
                  .layers = search.shape.layers(),
                  .context = search.context,
                  .kv_pages = static_cast<uint32_t>(placement.pages),
                  .chunk = search.options.chunk,
                  .kv_type = search.options.kv_type,
                  .adapters = search.options.adapters,
                  .draft = search.options.draft,
                  .codec = search.options.codec};
  for (size_t i = 0; i < placement.nodes.size(); ++i) {
    const StageShare share = placement.ShareOf(i);
    plan.stages.push_back(
        {.node = search.nodes[placement.nodes[i]].id,
         .layer_begin = share.layer_begin,
         .layer_end = share.layer_end,
         .bytes = StageMemory(search.shape, share, search.Positions(placement.pages),
                              search.options.kv_type),
         .shard = share.shard});
  }
  plan.id = ComputePlanId(plan);
  return plan;
}

// Better: more tokens per second beyond rounding, then the preferred node at the lead, then the
// smaller id.
bool Better(const Search& search, const Placement& a, const Placement& b) {
  if (!b.valid()) return a.valid();
  const double speed_a = a.prediction.decode_tokens_per_second;
  const double speed_b = b.prediction.decode_tokens_per_second;
  if (std::abs(speed_a - speed_b) > 1e-9 * std::max(speed_a, speed_b)) return speed_a > speed_b;
  const NodeId& head_a = search.nodes[a.nodes[0]].id;
  const NodeId& head_b = search.nodes[b.nodes[0]].id;
  if (head_a == head_b) return false;
  if (head_a == search.options.prefer) return true;
  if (head_b == search.options.prefer) return false;
  return head_a < head_b;
}

// Moves a member to the end, behind all guests. False: the stages cannot be so that guests are in
// the middle.
bool PutGuestsInside(const Search& search, std::vector<size_t>& order) {
  const auto is_guest = [&](size_t node) { return search.nodes[node].guest; };
  if (is_guest(order.front())) return false;
  if (!is_guest(order.back())) return true;
  const auto member = std::find_if_not(order.rbegin(), order.rend() - 1, is_guest);
  if (member == order.rend() - 1) return false;
  std::rotate(member.base() - 1, member.base(), order.end());
  return true;
}

// The best order and division for this set of nodes with this reservation; invalid when it does not
// fit.
Placement PlaceOn(const Search& search, const std::vector<size_t>& set, uint64_t pages) {
  Placement best;
  for (size_t lead = 0; lead < set.size(); ++lead) {
    Placement candidate{.nodes = {set[lead]}, .pages = pages};
    for (size_t i = 0; i < set.size(); ++i) {
      if (i != lead) candidate.nodes.push_back(set[i]);
    }
    if (!PutGuestsInside(search, candidate.nodes)) continue;
    std::vector<PlanNode> order;
    for (const size_t node : candidate.nodes) order.push_back(search.nodes[node]);
    candidate.ends =
        Partition(search.shape, order, search.Positions(pages), search.options.kv_type);
    if (candidate.ends.empty()) continue;
    candidate.prediction = Predict(search.shape, search.nodes, BuildPlan(search, candidate));
    if (Better(search, candidate, best)) best = std::move(candidate);
  }
  return best;
}

std::string NamesOf(const Search& search, const std::vector<size_t>& set) {
  std::string text;
  for (const size_t node : set) text += (text.empty() ? "" : " + ") + search.nodes[node].name;
  return text;
}

// Every subset of `count` nodes when there are few, else the largest and the fastest ones.
std::vector<std::vector<size_t>> Subsets(const Search& search, size_t count) {
  constexpr size_t kMaxSubsets = 256;  // 10 nodes taken 5 at a time
  const size_t total = search.nodes.size();
  double ways = 1;
  for (size_t i = 0; i < count; ++i)
    ways = ways * static_cast<double>(total - i) / static_cast<double>(i + 1);
  std::vector<std::vector<size_t>> result;
  if (ways <= kMaxSubsets) {
    std::vector<bool> chosen(total, false);
    std::fill_n(chosen.begin(), count, true);
    do {
      std::vector<size_t> set;
      for (size_t i = 0; i < total; ++i) {
        if (chosen[i]) set.push_back(i);
      }
      result.push_back(std::move(set));
    } while (std::prev_permutation(chosen.begin(), chosen.end()));
    return result;
  }
  const auto top = [&](auto value) {
    std::vector<size_t> all(total);
    for (size_t i = 0; i < total; ++i) all[i] = i;
    std::sort(all.begin(), all.end(), [&](size_t a, size_t b) {
      return value(a) != value(b) ? value(a) > value(b) : a < b;
    });
    all.resize(count);
    return all;
  };
  result.push_back(
      top([&](size_t i) { return static_cast<double>(search.nodes[i].memory_available); }));
  result.push_back(top([&](size_t i) { return search.nodes[i].decode_gbps; }));
  result.push_back(top([&](size_t i) {
    return search.nodes[i].decode_gbps * static_cast<double>(search.nodes[i].memory_available);
  }));
  return result;
}

// The best placement on exactly `count` nodes, with the largest reservation that fits there.
Placement BestOf(const Search& search, size_t count, std::vector<PlanCandidate>& candidates) {
  const auto subsets = Subsets(search, count);
  for (const uint64_t pages : search.page_choices) {
    Placement best;
    for (const std::vector<size_t>& set : subsets) {
      Placement placement = PlaceOn(search, set, pages);
      if (count == 1) {
        candidates.push_back(
            {.nodes = NamesOf(search, set),
             .fits = placement.valid(),
             .decode_tokens_per_second = placement.prediction.decode_tokens_per_second,
             .note = placement.valid() ? "fits" : "too little memory"});
      }
      if (placement.valid() && Better(search, placement, best)) best = std::move(placement);
    }
    if (best.valid()) {
      if (count > 1) {
        candidates.push_back({.nodes = NamesOf(search, best.nodes),
                              .fits = true,
                              .decode_tokens_per_second = best.prediction.decode_tokens_per_second,
                              .note = "fits"});
      }
      return best;
    }
    if (pages != search.page_choices.back()) candidates.clear();
  }
  return {};
}

// Layers over all nodes, at most one per layer; one that cannot hold a single layer is left out,
// and guests that two members cannot take between them.
Placement Spread(const Search& search, std::vector<PlanCandidate>& candidates) {
  const auto members = std::ranges::count(search.nodes, false, &PlanNode::guest);
  std::vector<size_t> set;
  for (size_t i = 0; i < search.nodes.size(); ++i) {
    if (members > 1 || !search.nodes[i].guest) set.push_back(i);
  }
  std::sort(set.begin(), set.end(), [&](size_t a, size_t b) {
    const uint64_t bytes_a = search.nodes[a].memory_available;
    const uint64_t bytes_b = search.nodes[b].memory_available;
    return bytes_a != bytes_b ? bytes_a > bytes_b : a < b;
  });
  const size_t most = std::min<size_t>({set.size(), search.shape.layers(), wire::kMaxStages});
  for (set.resize(most); !set.empty(); set.pop_back()) {
    for (const uint64_t pages : search.page_choices) {
      Placement placement = PlaceOn(search, set, pages);
      candidates.push_back(
          {.nodes = NamesOf(search, set),
           .fits = placement.valid(),
           .decode_tokens_per_second = placement.prediction.decode_tokens_per_second,
           .note = placement.valid() ? "all nodes, as asked" : "too little memory"});
      if (placement.valid()) return placement;
    }
  }
  return {};
}

// Each layer over these nodes, the one at the lead that is best there; invalid when it does not
// fit.
Placement PlaceShards(const Search& search, const std::vector<size_t>& set, uint64_t pages) {
  Placement best;
  for (size_t lead = 0; lead < set.size(); ++lead) {
    Placement candidate{.nodes = {set[lead]}, .pages = pages};
    for (size_t i = 0; i < set.size(); ++i) {
      if (i != lead) candidate.nodes.push_back(set[i]);
    }
    std::vector<PlanNode> order;
    for (const size_t node : candidate.nodes) order.push_back(search.nodes[node]);
    candidate.shards = DivideLayers(search.shape, order);
    if (candidate.shards.empty()) return {};
    candidate.ends.assign(set.size(), search.shape.layers());
    const wire::Plan plan = BuildPlan(search, candidate);
    const auto fits = [&](size_t i) { return plan.stages[i].bytes <= order[i].memory_available; };
    bool all_fit = true;
    for (size_t i = 0; i < set.size(); ++i) all_fit = all_fit && fits(i);
    if (!all_fit) continue;
    candidate.prediction = Predict(search.shape, search.nodes, plan);
    if (Better(search, candidate, best)) best = std::move(candidate);
  }
  return best;
}

// Each layer over all members, the fastest ones where there are too many or one cannot hold its
// part. Guests would see the text. Two at least: alone there is nothing to split.
Placement SplitLayers(const Search& search, std::vector<PlanCandidate>& candidates) {
  std::vector<size_t> set;
  for (size_t i = 0; i < search.nodes.size(); ++i) {
    if (!search.nodes[i].guest) set.push_back(i);
  }
  std::ranges::sort(set, [&](size_t a, size_t b) {
    const double speed_a = search.nodes[a].decode_gbps, speed_b = search.nodes[b].decode_gbps;
    return speed_a != speed_b ? speed_a > speed_b : a < b;
  });
  set.resize(std::min<size_t>(set.size(), wire::kMaxStages));
  for (; set.size() > 1; set.pop_back()) {
    for (const uint64_t pages : search.page_choices) {
      Placement placement = PlaceShards(search, set, pages);
      candidates.push_back(
          {.nodes = NamesOf(search, set),
           .fits = placement.valid(),
           .decode_tokens_per_second = placement.prediction.decode_tokens_per_second,
           .note = placement.valid() ? "each layer over all, as asked"
                                     : "cannot be divided so, or too little memory"});
      if (placement.valid()) return placement;
    }
  }
  return {};
}

// What the smallest KV type would change, if anything.
std::string SmallerCache(const Search& search, uint64_t needed) {
  if (search.options.kv_type == kSmallestKv) return "";
  PlanOptions options = search.options;
  options.kv_type = kSmallestKv;
  if (!MakePlan(search.shape, search.nodes, options)) return "";
  return fmt::format("; with a q8_0 KV cache it needs {} and fits", FormatSize(needed));
}

std::unexpected<Error> Refuse(const Search& search) {
  const KvPositions positions = search.Positions(search.page_choices.back());
  const auto needs = [&](uint8_t kv_type) {
    return StageMemory(search.shape, {0, search.shape.layers(), true}, positions, kv_type);
  };
  const uint64_t needed = needs(search.options.kv_type);
  uint64_t available = 0;
  std::string each;
  for (const PlanNode& node : search.nodes) {
    available += node.memory_available;
    each += fmt::format("{}{} {} of {}", each.empty() ? "" : ", ", node.name,
                        FormatSize(node.memory_available), FormatSize(node.memory_budget));
  }
  const std::string why =
      available >= needed
          ? "; the pieces do not fit into what each node has (every further node needs its own "
            "working memory)"
          : "";
  const SizePair sizes = FormatSizes(needed, available);
  return Fail(ErrorCode::kOverloaded,
              "{} does not fit: it needs {} for {} layers with a context of {} positions; {} "
              "node{} offer{} {} "
              "in all ({}){}. Add a device, raise a memory budget or ask for a shorter context{}",
              search.shape.name, sizes.first, search.shape.layers(), search.context,
              search.nodes.size(), search.nodes.size() == 1 ? "" : "s",
              search.nodes.size() == 1 ? "s" : "", sizes.second, each, why,
              SmallerCache(search, needs(kSmallestKv)));
}

wire::PlanBasis BasisOf(const Search& search, const Placement& placement) {
  if (!placement.shards.empty()) return wire::PlanBasis::kTensor;
  if (search.options.split == wire::Split::kLayer && placement.nodes.size() > 1)
    return wire::PlanBasis::kSpread;
  return placement.nodes.size() == 1 ? wire::PlanBasis::kFastest : wire::PlanBasis::kFewest;
}

uint32_t TrainedContext(const ModelShape& shape) {
  return shape.trained_context > 0 ? shape.trained_context : kDefaultContext;
}

// What nodes are chosen for: what is asked for, or the model's own within the default.
uint32_t ContextFor(const ModelShape& shape, const PlanOptions& options) {
  return options.context > 0 ? options.context : std::min(TrainedContext(shape), kDefaultContext);
}

// KV pages that half of the memory left on every node of the placement holds in addition.
uint64_t SparePages(const Search& search, const Placement& placement) {
  uint64_t spare = wire::kMaxPages;
  for (size_t i = 0; i < placement.nodes.size(); ++i) {
    const StageShare share = placement.ShareOf(i);
    const auto bytes = [&](uint64_t pages) {
      return StageMemory(search.shape, share, search.Positions(pages), search.options.kv_type);
    };
    const uint64_t used = bytes(placement.pages);
    const uint64_t most = used + (search.nodes[placement.nodes[i]].memory_available - used) / 2;
    // Layers with a window stop taking more: no division finds out.
    uint64_t low = 0, high = spare;
    while (low < high) {
      const uint64_t middle = high - (high - low) / 2;
      if (bytes(placement.pages + middle) <= most) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    spare = low;
  }
  return spare;
}

// The context grows to the trained one unless one was asked for, and the pages with it.
void Grow(Search& search, Placement& placement) {
  const uint64_t spare = SparePages(search, placement);
  if (search.options.context == 0) {
    const uint64_t most = (placement.pages + spare) * wire::kPagePositions;
    const uint64_t context =
        std::min<uint64_t>({TrainedContext(search.shape), most, wire::kMaxContext});
    search.context = std::max(search.context, static_cast<uint32_t>(context));
  }
  const uint64_t wanted =
      std::max(wire::PagesOf(search.context) * kDefaultSequences,
               wire::PagesOf(std::min(search.context, kShortSequence)) * kShortSequences);
  placement.pages = std::max(placement.pages, std::min(wanted, placement.pages + spare));
}

Result<void> CheckTensorSplit(const ModelShape& shape, const PlanOptions& options) {
  if (shape.cuts.kv_heads == 0) {
    return Fail(ErrorCode::kUnsupported,
                "{} is a mixture of experts: its layers are not split over devices yet; divide it "
                "by layers",
                shape.name);
  }
  if (!options.adapters.empty()) {
    return Fail(ErrorCode::kUnsupported,
                "{} with adapters is not split inside its layers yet; divide it by layers",
                shape.name);
  }
  if (options.codec != wire::Codec::kF32) {
    return Fail(
        ErrorCode::kUnsupported,
        "{} split inside its layers adds exact sums, which no {} wire carries; divide it by "
        "layers or leave the wire at f32",
        shape.name, wire::NameOf(options.codec));
  }
  return {};
}

Result<void> CheckShape(const ModelShape& shape, const PlanOptions& options) {
  if (shape.layers() == 0 || shape.layers() > wire::kMaxLayers) {
    return Fail(ErrorCode::kInvalid, "a model of {} layers cannot be placed (1 to {})",
                shape.layers(), wire::kMaxLayers);
  }
  if (!shape.layer_decode_bytes.empty() &&
      shape.layer_decode_bytes.size() != shape.layer_bytes.size()) {
    return Fail(ErrorCode::kInvalid, "{} decode sizes for {} layers",
                shape.layer_decode_bytes.size(), shape.layers());
  }
  if (options.kv_type >= shape.kv_bytes_per_position.size()) {
    return Fail(ErrorCode::kInvalid, "KV type {} is not known", options.kv_type);
  }
  if (options.context > wire::kMaxContext || options.chunk == 0 ||
      options.chunk > wire::kMaxChunk) {
    return Fail(ErrorCode::kInvalid, "context {} or chunk {} beyond the limits {}, {}",
                options.context, options.chunk, wire::kMaxContext, wire::kMaxChunk);
  }
  if (options.split == wire::Split::kTensor) TRY(CheckTensorSplit(shape, options));
  if (options.adapters.size() > wire::kMaxAdapters) {
    return Fail(ErrorCode::kInvalid, "{} adapters for {} ({} at most)", options.adapters.size(),
                shape.name, wire::kMaxAdapters);
  }
  return {};
}

// What is loaded beside the model counts as working memory.
ModelShape WithExtras(ModelShape shape, const PlanOptions& options) {
  if (options.draft) shape.lead_scratch_bytes += options.draft->bytes;
  for (const wire::AdapterRef& adapter : options.adapters) shape.scratch_bytes += adapter.bytes;
  return shape;
}

}  // namespace

Result<PlanChoice> MakePlan(const ModelShape& model, const std::vector<PlanNode>& nodes,
                            const PlanOptions& options) {
  TRY(CheckShape(model, options));
  const ModelShape shape = WithExtras(model, options);
  if (nodes.empty()) return Fail(ErrorCode::kNotFound, "no node is there to run {}", shape.name);
  Search search{.shape = shape, .nodes = nodes, .options = options};
  search.context = ContextFor(shape, options);
  for (uint32_t s = kDefaultSequences; s > 0; s /= 2)
    search.page_choices.push_back(wire::PagesOf(search.context) * s);
  PlanChoice choice;
  Placement best;
  if (options.split == wire::Split::kTensor) best = SplitLayers(search, choice.candidates);
  if (options.split == wire::Split::kLayer) {
    best = Spread(search, choice.candidates);
  } else {
    const size_t most = std::min<size_t>({nodes.size(), shape.layers(), wire::kMaxStages});
    for (size_t count = 1; count <= most && !best.valid(); ++count) {
      best = BestOf(search, count, choice.candidates);
    }
  }
  if (!best.valid()) return Refuse(search);
  const std::string chosen = NamesOf(search, best.nodes);
  for (PlanCandidate& candidate : choice.candidates) {
    if (candidate.fits && best.nodes.size() == 1 && candidate.nodes == chosen)
      candidate.note = "chosen";
  }
  if (best.nodes.size() > 1) choice.candidates.back().note = "chosen";
  Grow(search, best);
  choice.plan = BuildPlan(search, best);
  choice.prediction = std::move(best.prediction);
  choice.basis = BasisOf(search, best);
  return choice;
}

wire::Cause PlanCause(const Error& error, const ModelShape& shape,
                      const std::vector<PlanNode>& nodes, const PlanOptions& options) {
  wire::Cause cause{.reason = error.code == ErrorCode::kOverloaded ? wire::Reason::kDoesNotFit
                                                                   : wire::Reason::kCannotPlan,
                    .code = error.code,
                    .detail = error.message};
  if (cause.reason != wire::Reason::kDoesNotFit) return cause;
  const uint32_t context = ContextFor(shape, options);
  cause.needed = StageMemory(WithExtras(shape, options), {0, shape.layers(), true},
                             ReservedKv(shape, wire::PagesOf(context), context, options.chunk),
                             options.kv_type);
  for (const PlanNode& node : nodes) cause.available += node.memory_available;
  return cause;
}

wire::Expectation ExpectationOf(const PlanChoice& choice) {
  return {.basis = choice.basis,
          .decode_tokens_per_second = choice.prediction.decode_tokens_per_second,
          .prefill_tokens_per_second = choice.prediction.prefill_tokens_per_second};
}

}  // namespace exo::cluster
