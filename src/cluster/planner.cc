#include "cluster/planner.h"

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "cluster/candidates.h"
#include "cluster/hybrids.h"
#include "cluster/placement.h"
#include "cluster/streaming.h"
#include "wire/plan.h"

namespace exo::cluster {
namespace {

constexpr uint8_t kSmallestKv = 2;  // kernels::KvType::kQ8_0

// Where a plan has the model's layers for a step.
enum class Layers : uint8_t { kInMemory, kFromDisk };
Result<PlanChoice> PlanOver(const ModelShape& model, const std::vector<PlanNode>& nodes,
                            const PlanOptions& options, Layers layers);

// What the smallest KV type would change, if anything.
std::string SmallerCache(const Search& search, uint64_t needed) {
  if (search.options.kv_type == kSmallestKv) return "";
  PlanOptions options = search.options;
  options.kv_type = kSmallestKv;
  if (!PlanOver(search.shape, search.nodes, options, Layers::kInMemory)) return "";
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

wire::PlanBasis BasisOf(const Search& search, const Comparison& found, bool alone_fits) {
  const Placement& placement = found.best;
  const bool asked = search.options.split == placement.split();
  if (!found.replicas.empty()) return wire::PlanBasis::kReplicas;
  if (placement.split() == wire::Split::kTensor)
    return asked ? wire::PlanBasis::kTensor : wire::PlanBasis::kFasterTensor;
  if (placement.split() == wire::Split::kHybrid)
    return asked ? wire::PlanBasis::kHybrid : wire::PlanBasis::kFasterHybrid;
  if (placement.nodes.size() == 1) return wire::PlanBasis::kFastest;
  if (asked) return wire::PlanBasis::kSpread;
  return alone_fits ? wire::PlanBasis::kFasterLayers : wire::PlanBasis::kFewest;
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

// The context grows to the trained one unless one was asked for, and the pages with it. Replicas
// have the context that all of them have memory for: any of them answers any request.
void Grow(Search& search, const std::vector<Placement*>& replicas) {
  std::vector<uint64_t> most;  // pages
  for (const Placement* one : replicas) most.push_back(one->pages + SparePages(search, *one));
  if (search.options.context == 0) {
    const uint64_t positions = std::ranges::min(most) * wire::kPagePositions;
    const uint64_t context =
        std::min<uint64_t>({TrainedContext(search.shape), positions, wire::kMaxContext});
    search.context = std::max(search.context, static_cast<uint32_t>(context));
  }
  const uint64_t wanted =
      std::max(wire::PagesOf(search.context) * kDefaultSequences,
               wire::PagesOf(std::min(search.context, kShortSequence)) * kShortSequences);
  for (size_t i = 0; i < replicas.size(); ++i)
    replicas[i]->pages = std::max(replicas[i]->pages, std::min(wanted, most[i]));
}

PlanChoice ChoiceOf(const Search& search, const Comparison& found, wire::PlanBasis basis) {
  Search grown = search;
  Comparison placed = found;
  std::vector<Placement*> all = {&placed.best};
  for (Placement& replica : placed.replicas) all.push_back(&replica);
  Grow(grown, all);
  PlanChoice choice;
  for (Placement* one : all) {
    PlanChoice& part = one == all[0] ? choice : choice.replicas.emplace_back();
    part.basis = basis;
    part.use = search.use;
    part.plan = BuildPlan(grown, *one);
    part.prediction = std::move(one->prediction);
  }
  return choice;
}

Result<void> CheckTensorSplit(const ModelShape& shape, const PlanOptions& options) {
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
  if (options.split == wire::Split::kTensor || options.split == wire::Split::kHybrid)
    TRY(CheckTensorSplit(shape, options));
  if (options.users > wire::kMaxUsers) {
    return Fail(ErrorCode::kInvalid, "{} answers at once ({} at most)", options.users,
                wire::kMaxUsers);
  }
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

Search SearchFor(const ModelShape& shape, const std::vector<PlanNode>& nodes,
                 const PlanOptions& options) {
  Search search{.shape = shape, .nodes = nodes, .options = options};
  search.context = ContextFor(shape, options);
  const bool many = options.use == wire::Use::kThroughput ||
                    (options.use == wire::Use::kAuto && options.users > 1);
  search.use = many ? wire::Use::kThroughput : wire::Use::kLatency;
  if (options.use == wire::Use::kPrompts) search.use = wire::Use::kPrompts;
  search.users = options.users > 0 ? options.users : many ? kDefaultUsers : 1;
  for (uint32_t s = std::max(kDefaultSequences, search.users); s > 0; s /= 2)
    search.page_choices.push_back(wire::PagesOf(search.context) * s);
  return search;
}

// Room for fewer sequences rather than a slower plan, or one over more nodes.
Comparison CompareAll(const Search& search) {
  Comparison least = Compare(search, search.page_choices.back());
  if (!least.best.valid()) return least;
  const double worth = least.value / kWorthMoreNodes;
  for (const uint64_t pages : search.page_choices) {
    if (pages == search.page_choices.back()) break;
    Comparison found = Compare(search, pages);
    if (found.best.valid() && found.devices() <= least.devices() && found.value >= worth)
      return found;
  }
  return least;
}

Comparison CompareInMemory(const Search& search) {
  Comparison found;
  switch (search.options.split) {
    case wire::Split::kAuto:
      return CompareAll(search);
    case wire::Split::kLayer:
      found.best = Spread(search);
      break;
    case wire::Split::kTensor:
      found.best = SplitLayers(search);
      break;
    case wire::Split::kHybrid:
      found.best = SpreadHybrid(search);
      break;
  }
  // Nobody to share with: what would be done if nothing had been asked for.
  if (!found.best.valid() && search.options.split != wire::Split::kLayer) return CompareAll(search);
  return found;
}

// Over these devices, whatever their share.
Result<PlanChoice> PlanOver(const ModelShape& model, const std::vector<PlanNode>& nodes,
                            const PlanOptions& options, Layers layers) {
  TRY(CheckShape(model, options));
  const ModelShape shape = WithExtras(model, options);
  if (nodes.empty()) return Fail(ErrorCode::kNotFound, "no node is there to run {}", shape.name);
  const Search search = SearchFor(shape, nodes, options);
  const bool from_disk = layers == Layers::kFromDisk;
  Comparison found = from_disk ? CompareStreamed(search) : CompareInMemory(search);
  if (!found.best.valid() && from_disk)
    return Fail(ErrorCode::kOverloaded, "{}", WhyNotStreamed(search));
  if (!found.best.valid()) return Refuse(search);
  const bool alone_fits = std::ranges::any_of(found.rivals, [](const wire::PlanRival& rival) {
    return rival.nodes.size() == 1 && rival.decode_tokens_per_second > 0;
  });
  if (found.rivals.empty()) found.rivals = {RivalOf(search, found.best, wire::RivalFate::kChosen)};
  PlanChoice choice = ChoiceOf(search, found, BasisOf(search, found, alone_fits));
  choice.rivals = std::move(found.rivals);
  return choice;
}

// Over the willing devices, or all where those alone cannot.
Result<PlanChoice> PlanOverWilling(const ModelShape& model, const std::vector<PlanNode>& nodes,
                                   const PlanOptions& options, Layers layers) {
  std::vector<PlanNode> willing = nodes;
  std::erase_if(willing, [](const PlanNode& node) { return !(node.share > 0); });
  if (!willing.empty() && willing.size() < nodes.size()) {
    if (auto choice = PlanOver(model, willing, options, layers)) return choice;
  }
  return PlanOver(model, nodes, options, layers);
}

// Whether they could if nothing else were loaded: then that is what is in the way.
bool CouldHold(const ModelShape& model, std::vector<PlanNode> nodes, const PlanOptions& options) {
  bool others = false;
  for (PlanNode& node : nodes) {
    others |= node.memory_available < node.memory_budget;
    node.memory_available = std::max(node.memory_available, node.memory_budget);
  }
  return others && PlanOver(model, nodes, options, Layers::kInMemory).has_value();
}

}  // namespace

Result<PlanChoice> MakePlan(const ModelShape& model, const std::vector<PlanNode>& nodes,
                            const PlanOptions& options) {
  auto choice = PlanOverWilling(model, nodes, options, Layers::kInMemory);
  if (choice || choice.error().code != ErrorCode::kOverloaded ||
      options.split == wire::Split::kTensor || options.split == wire::Split::kHybrid ||
      CouldHold(model, nodes, options))
    return choice;
  auto streamed = PlanOverWilling(model, nodes, options, Layers::kFromDisk);
  if (streamed) return streamed;
  return Fail(ErrorCode::kOverloaded, "{}{}", choice.error().message, streamed.error().message);
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

std::vector<PlanChoice> EachReplica(PlanChoice choice) {
  std::vector<PlanChoice> all = std::exchange(choice.replicas, {});
  all.insert(all.begin(), std::move(choice));
  return all;
}

uint32_t UsersOf(const PlanChoice& choice) {
  uint32_t users = choice.prediction.users;
  for (const PlanChoice& replica : choice.replicas) users += replica.prediction.users;
  return users;
}

wire::Expectation ExpectationOf(const PlanChoice& choice) {
  return {.basis = choice.basis,
          .decode_tokens_per_second = choice.prediction.decode_tokens_per_second,
          .prefill_tokens_per_second = choice.prediction.prefill_tokens_per_second,
          .ttft_ms = choice.prediction.ttft_ms,
          .users = choice.prediction.users,
          .total_tokens_per_second = choice.prediction.total_tokens_per_second,
          .stage_ms = choice.prediction.stage_decode_ms,
          .use = choice.use};
}

}  // namespace exo::cluster
