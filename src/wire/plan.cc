#include "wire/plan.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <set>

#include "base/sha256.h"

namespace exo::wire {
namespace {

template <class Id>
void UpdateId(Sha256& hash, const Id& id) {
  hash.Update(std::as_bytes(std::span(id.bytes)));
}

Result<void> CheckLimits(const Plan& plan) {
  const auto check = [](const char* field, uint64_t value, uint64_t least,
                        uint64_t most) -> Result<void> {
    if (value >= least && value <= most) return {};
    return Fail(ErrorCode::kInvalid, "plan: {} is {}, must be {} to {}", field, value, least, most);
  };
  TRY(check("stages", plan.stages.size(), 1, kMaxStages));
  TRY(check("layers", plan.layers, 1, kMaxLayers));
  TRY(check("context", plan.context, 1, kMaxContext));
  TRY(check("kv_pages", plan.kv_pages, PagesOf(plan.context), kMaxPages));
  TRY(check("chunk", plan.chunk, 1, kMaxChunk));
  TRY(check("kv_type", plan.kv_type, 0, kKvTypes - 1));
  TRY(check("codec", static_cast<uint64_t>(plan.codec), 0, kCodecNames.size() - 1));
  TRY(check("adapters", plan.adapters.size(), 0, kMaxAdapters));
  TRY(check("length of the model name", plan.model_name.size(), 0, kMaxName));
  return {};
}

Result<void> CheckAdapters(const Plan& plan) {
  std::set<ModelId> files;
  for (const AdapterRef& adapter : plan.adapters) {
    if (!files.insert(adapter.file).second) {
      return Fail(ErrorCode::kInvalid, "plan: the adapter {} is there twice", adapter.file.Short());
    }
    if (!std::isfinite(adapter.scale) || adapter.bytes > kMaxAdapterBytes) {
      return Fail(ErrorCode::kInvalid, "plan: the adapter {} has a scale of {} and takes {} bytes",
                  adapter.file.Short(), adapter.scale, adapter.bytes);
    }
  }
  return {};
}

// Whether the heads begin where those of the shard before end. A cut may go through the group of a
// KV head, which is then on both sides.
bool HeadsFollow(const ShardPlan& own, const ShardPlan& before) {
  if (!own.HasHeads()) return own.kv_begin == before.kv_end;
  return own.head_begin == before.head_end &&
         (own.kv_begin == before.kv_end || own.kv_begin + uint64_t{1} == before.kv_end);
}

// What is wrong with a shard behind the one before; null: nothing. `mixture`: the plan has experts.
const char* FaultOf(const ShardPlan& own, const ShardPlan& before, bool mixture) {
  if (!HeadsFollow(own, before) || own.ffn_begin != before.ffn_end ||
      own.vocab_begin != before.vocab_end || own.expert_begin != before.expert_end)
    return "does not begin where the one before ends";
  if (own.kv_end <= own.kv_begin || (own.HasHeads() && own.head_end <= own.head_begin) ||
      (own.ffn_end <= own.ffn_begin && !mixture))
    return "is empty";
  if (own.ffn_end < own.ffn_begin || own.expert_end < own.expert_begin)
    return "ends its columns or experts before it begins";
  if (own.vocab_end < own.vocab_begin) return "ends its part of the vocabulary before it begins";
  return nullptr;
}

// Of a group of shards: what is the model's is checked where it is known.
Result<void> CheckShards(const Plan& plan, const StageGroup& group) {
  const auto fail = [](size_t stage, const char* what) {
    return Fail(ErrorCode::kInvalid, "plan: shard {} {}", stage, what);
  };
  if (plan.codec != Codec::kF32) {
    return Fail(ErrorCode::kInvalid, "plan: shards exchange sums as f32 only, not as {}",
                NameOf(plan.codec));
  }
  const bool mixture = plan.stages[group.end - 1].shard->expert_end > 0;
  ShardPlan before;
  for (size_t i = group.begin; i < group.end; ++i) {
    const ShardPlan& own = *plan.stages[i].shard;
    if (own.HasHeads() != plan.stages[group.begin].shard->HasHeads())
      return fail(i, "names query heads where another one does not");
    if (const char* fault = FaultOf(own, before, mixture)) return fail(i, fault);
    if (group.begin > 0 && own.vocab_end > 0)
      return fail(i, "has a part of the vocabulary and is not in the lead's group");
    before = own;
  }
  return {};
}

Result<void> CheckNodes(const Plan& plan) {
  std::set<NodeId> nodes;
  for (const StagePlan& stage : plan.stages) {
    if (!nodes.insert(stage.node).second)
      return Fail(ErrorCode::kInvalid, "plan: node {} has two stages", stage.node.Short());
  }
  return {};
}

Result<void> CheckStreamed(const Plan& plan) {
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const StagePlan& stage = plan.stages[i];
    if (stage.streamed == 0) continue;
    if (stage.shard || stage.streamed > stage.layer_end - stage.layer_begin) {
      return Fail(
          ErrorCode::kInvalid, "plan: stage {} reads {} layers from disk, of {} that it has{}", i,
          stage.streamed, stage.layer_end - stage.layer_begin, stage.shard ? " a part of" : "");
    }
  }
  return {};
}

Result<void> CheckStages(const Plan& plan) {
  TRY(CheckNodes(plan));
  uint32_t next = 0;
  for (const StageGroup& group : GroupsOf(plan)) {
    const StagePlan& stage = plan.stages[group.begin];
    const bool may_be_empty = group.begin == 0 && !stage.shard;
    if (stage.layer_begin != next || stage.layer_end < stage.layer_begin ||
        stage.layer_end > plan.layers || (stage.layer_end == stage.layer_begin && !may_be_empty)) {
      return Fail(ErrorCode::kInvalid,
                  "plan: stage {} holds layers [{}, {}), expected them from {} of {}", group.begin,
                  stage.layer_begin, stage.layer_end, next, plan.layers);
    }
    if (stage.shard) TRY(CheckShards(plan, group));
    next = stage.layer_end;
  }
  if (next != plan.layers) {
    return Fail(ErrorCode::kInvalid, "plan: the stages end at layer {} of {}", next, plan.layers);
  }
  return {};
}

}  // namespace

PlanId ComputePlanId(const Plan& plan) {
  Sha256 hash;
  hash.Update("exo plan 2");
  UpdateId(hash, plan.model);
  hash.UpdateU64(plan.model_name.size()).Update(plan.model_name);
  UpdateId(hash, plan.owner);
  hash.UpdateU64(plan.term).UpdateU64(plan.nonce).UpdateU64(plan.stages.size());
  for (const StagePlan& stage : plan.stages) {
    UpdateId(hash, stage.node);
    hash.UpdateU64(stage.layer_begin).UpdateU64(stage.layer_end).UpdateU64(stage.bytes);
    // Without it a plan has the id that it has for a node that reads no layers from its disk.
    if (stage.streamed != 0) hash.Update("streamed").UpdateU64(stage.streamed);
    if (const auto& shard = stage.shard) {
      hash.Update("shard").UpdateU64(shard->kv_begin).UpdateU64(shard->kv_end);
      hash.UpdateU64(shard->ffn_begin).UpdateU64(shard->ffn_end);
      // Without them a plan has the id that it has for a node that does not know them.
      if (shard->HasHeads())
        hash.Update("heads").UpdateU64(shard->head_begin).UpdateU64(shard->head_end);
      if (shard->expert_begin != 0 || shard->expert_end != 0)
        hash.Update("experts").UpdateU64(shard->expert_begin).UpdateU64(shard->expert_end);
    }
  }
  hash.UpdateU64(plan.layers)
      .UpdateU64(plan.context)
      .UpdateU64(plan.kv_pages)
      .UpdateU64(plan.chunk);
  hash.UpdateU64(plan.kv_type);
  // A plan without any has the id that it has for a node that knows no adapters.
  if (!plan.adapters.empty()) hash.UpdateU64(plan.adapters.size());
  for (const AdapterRef& adapter : plan.adapters) {
    UpdateId(hash, adapter.file);
    hash.UpdateU64(adapter.name.size()).Update(adapter.name);
    hash.UpdateU64(std::bit_cast<uint32_t>(adapter.scale)).UpdateU64(adapter.bytes);
  }
  if (plan.draft) {
    hash.Update("draft");
    UpdateId(hash, plan.draft->file);
    hash.UpdateU64(plan.draft->name.size()).Update(plan.draft->name);
    hash.UpdateU64(plan.draft->bytes);
  }
  if (plan.codec != Codec::kF32) hash.Update("codec").UpdateU64(static_cast<uint64_t>(plan.codec));
  const Hash256 full = hash.Finish();
  PlanId id;
  std::copy_n(full.bytes.begin(), PlanId::kSize, id.bytes.begin());
  return id;
}

Result<void> Validate(const Plan& plan) {
  TRY(CheckLimits(plan));
  TRY(CheckStages(plan));
  TRY(CheckStreamed(plan));
  TRY(CheckAdapters(plan));
  if (ComputePlanId(plan) != plan.id) {
    return Fail(ErrorCode::kInvalid, "plan: id {} is not the hash of its fields", plan.id.Short());
  }
  return {};
}

Result<void> CheckUses(const std::vector<AdapterUse>& uses, size_t adapters) {
  if (uses.size() > kMaxAdaptersUsed) {
    return Fail(ErrorCode::kInvalid, "{} adapters at once, {} are possible", uses.size(),
                kMaxAdaptersUsed);
  }
  for (size_t i = 0; i < uses.size(); ++i) {
    const AdapterUse& use = uses[i];
    if (use.adapter >= adapters) {
      return Fail(ErrorCode::kInvalid, "adapter {}: the model is loaded with {}", use.adapter,
                  adapters == 0 ? "none" : fmt::format("those from 0 to {}", adapters - 1));
    }
    if (i > 0 && uses[i - 1].adapter >= use.adapter) {
      return Fail(ErrorCode::kInvalid,
                  "adapter {} behind adapter {}: each once, in ascending order", use.adapter,
                  uses[i - 1].adapter);
    }
    if (!std::isfinite(use.scale) || use.scale == 0) {
      return Fail(ErrorCode::kInvalid, "adapter {} with a scale of {}", use.adapter, use.scale);
    }
  }
  return {};
}

int StageOf(const Plan& plan, const NodeId& node) {
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    if (plan.stages[i].node == node) return static_cast<int>(i);
  }
  return -1;
}

bool IsStreamed(const LayerSpan& layers, uint32_t streamed, uint32_t layer) {
  const uint64_t count = layers.end - layers.begin, index = layer - layers.begin;
  return (index + 1) * streamed / count != index * streamed / count;
}

std::vector<uint32_t> StreamedLayers(const StagePlan& stage) {
  std::vector<uint32_t> layers;
  for (uint32_t i = stage.layer_begin; i < stage.layer_end; ++i) {
    if (IsStreamed({stage.layer_begin, stage.layer_end}, stage.streamed, i)) layers.push_back(i);
  }
  return layers;
}

uint32_t StreamedLayersOf(const Plan& plan) {
  uint32_t layers = 0;
  for (const StagePlan& stage : plan.stages) layers += stage.streamed;
  return layers;
}

WireLoss LossOf(const Plan& plan) {
  if (plan.codec == Codec::kF32 || plan.stages.size() < 2) return {};
  WireLoss loss{.codec = plan.codec, .cuts = {}};
  for (const StagePlan& stage : plan.stages) loss.cuts.push_back(stage.layer_end);
  return loss;
}

StageGroup GroupOf(const Plan& plan, size_t stage) {
  const auto joins = [&](size_t i) {
    const StagePlan &a = plan.stages[i - 1], &b = plan.stages[i];
    return a.shard && b.shard && a.layer_begin == b.layer_begin && a.layer_end == b.layer_end;
  };
  StageGroup group{stage, stage + 1};
  while (group.begin > 0 && joins(group.begin)) --group.begin;
  while (group.end < plan.stages.size() && joins(group.end)) ++group.end;
  return group;
}

std::vector<StageGroup> GroupsOf(const Plan& plan) {
  std::vector<StageGroup> groups;
  for (size_t i = 0; i < plan.stages.size(); i = groups.back().end)
    groups.push_back(GroupOf(plan, i));
  return groups;
}

Split SplitOf(const Plan& plan) {
  if (plan.stages.size() < 2) return Split::kAuto;
  if (!HasShards(plan)) return Split::kLayer;
  return IsHybrid(plan) ? Split::kHybrid : Split::kTensor;
}

std::vector<size_t> RowsTo(const Plan& plan, size_t stage) {
  const StageGroup own = GroupOf(plan, stage);
  const size_t member = stage - own.begin;
  if (own.end == plan.stages.size())
    return own.begin > 0 && member == 0 ? std::vector<size_t>{0} : std::vector<size_t>{};
  const StageGroup next = GroupOf(plan, own.end);
  std::vector<size_t> to;
  for (size_t i = member; i < next.size(); i += own.size()) to.push_back(next.begin + i);
  return to;
}

size_t RowsFrom(const Plan& plan, size_t stage) {
  const StageGroup own = GroupOf(plan, stage);
  if (stage == 0) return GroupOf(plan, plan.stages.size() - 1).begin;
  if (own.begin == 0) return 0;
  const StageGroup before = GroupOf(plan, own.begin - 1);
  return before.begin + (stage - own.begin) % before.size();
}

std::vector<size_t> ConnectsTo(const Plan& plan, size_t stage) {
  std::vector<size_t> to;
  for (size_t i = stage + 1; i < GroupOf(plan, stage).end; ++i) to.push_back(i);
  for (const size_t next : RowsTo(plan, stage)) {
    // The last group returns rows to the lead on the link that the lead has sent them on.
    if (next > stage || RowsFrom(plan, stage) != next) to.push_back(next);
  }
  return to;
}

std::vector<size_t> ConnectedFrom(const Plan& plan, size_t stage) {
  std::vector<size_t> from;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    if (std::ranges::count(ConnectsTo(plan, i), stage) > 0) from.push_back(i);
  }
  return from;
}

bool AreLinked(const Plan& plan, size_t stage, const NodeId& node) {
  const auto is_node = [&](size_t other) { return plan.stages[other].node == node; };
  return std::ranges::any_of(ConnectsTo(plan, stage), is_node) ||
         std::ranges::any_of(ConnectedFrom(plan, stage), is_node);
}

std::string RangeText(uint64_t begin, uint64_t end) {
  return begin + 1 == end ? fmt::format("{}", begin) : fmt::format("{}-{}", begin, end - 1);
}

std::string LayersText(uint64_t begin, uint64_t end) {
  if (begin == end) return "no layers";
  return begin + 1 == end ? fmt::format("layer {}", begin)
                          : fmt::format("layers {}-{}", begin, end - 1);
}

std::string DescribeStage(const Plan& plan, int stage) {
  if (stage < 0 || static_cast<size_t>(stage) >= plan.stages.size())
    return "no layers of " + plan.model_name;
  const StagePlan& part = plan.stages[static_cast<size_t>(stage)];
  const std::string lead = stage == 0 ? ", embedding and output" : "";
  if (part.layer_begin == part.layer_end)
    return fmt::format("embedding and output of {}", plan.model_name);
  if (part.shard) {
    const bool all = part.layer_begin == 0 && part.layer_end == plan.layers;
    const std::string layers = all ? "every layer" : LayersText(part.layer_begin, part.layer_end);
    return fmt::format("a part of {}{} of {}", layers, lead, plan.model_name);
  }
  if (part.layer_begin + 1 == part.layer_end)
    return fmt::format("layer {}{} of {}", part.layer_begin, lead, plan.model_name);
  return fmt::format("layers {}-{}{} of {}", part.layer_begin, part.layer_end - 1, lead,
                     plan.model_name);
}

}  // namespace exo::wire
