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

Result<void> CheckStages(const Plan& plan) {
  uint32_t next = 0;
  std::set<NodeId> nodes;
  for (size_t i = 0; i < plan.stages.size(); ++i) {
    const StagePlan& stage = plan.stages[i];
    const bool may_be_empty = i == 0;
    if (stage.layer_begin != next || stage.layer_end < stage.layer_begin ||
        stage.layer_end > plan.layers || (stage.layer_end == stage.layer_begin && !may_be_empty)) {
      return Fail(ErrorCode::kInvalid,
                  "plan: stage {} holds layers [{}, {}), expected them from {} of {}", i,
                  stage.layer_begin, stage.layer_end, next, plan.layers);
    }
    if (!nodes.insert(stage.node).second) {
      return Fail(ErrorCode::kInvalid, "plan: node {} has two stages", stage.node.Short());
    }
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
  const Hash256 full = hash.Finish();
  PlanId id;
  std::copy_n(full.bytes.begin(), PlanId::kSize, id.bytes.begin());
  return id;
}

Result<void> Validate(const Plan& plan) {
  TRY(CheckLimits(plan));
  TRY(CheckStages(plan));
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

std::string DescribeStage(const Plan& plan, int stage) {
  if (stage < 0 || static_cast<size_t>(stage) >= plan.stages.size())
    return "no layers of " + plan.model_name;
  const StagePlan& part = plan.stages[static_cast<size_t>(stage)];
  const std::string lead = stage == 0 ? ", embedding and output" : "";
  if (part.layer_begin == part.layer_end)
    return fmt::format("embedding and output of {}", plan.model_name);
  return fmt::format("layers {}-{}{} of {}", part.layer_begin, part.layer_end - 1, lead,
                     plan.model_name);
}

}  // namespace exo::wire
