#include "backend/stage_pieces.h"

#include "backend/shard.h"

namespace exo::backend {

std::vector<TensorPiece> WholeTensors(const std::vector<const model::TensorRef*>& tensors) {
  std::vector<TensorPiece> pieces;
  for (const model::TensorRef* tensor : tensors) pieces.push_back({tensor->name, 0, tensor->bytes});
  return pieces;
}

Result<std::vector<TensorPiece>> StagePieces(const StageSpec& spec) {
  if (!spec.shard) return WholeTensors(StageTensors(spec));
  const ShardPlan plan = TRY(PlanShard(spec));
  std::vector<TensorPiece> pieces;
  for (const model::TensorRef* tensor : StageTensors(plan.spec)) {
    const auto found = plan.slices.find(tensor->name);
    if (found == plan.slices.end()) {
      pieces.push_back({tensor->name, 0, tensor->bytes});
    } else if (const Slice& slice = found->second; slice.IsGathered(*tensor)) {
      pieces.push_back({slice.whole.name, 0, slice.whole.bytes});
    } else if (tensor->bytes > 0) {  // a shard may have no experts
      pieces.push_back({slice.whole.name, slice.Start(), slice.Start() + tensor->bytes});
    }
  }
  return pieces;
}

}  // namespace exo::backend
