// A whole model in this process, without cluster or network: what `exo bench`, `exo logits` and
// tests run. It is one stage that is also the lead: the same StageCompute that a cluster uses.
//
// Thread: one caller at a time.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "tensor/row_codec.h"

namespace exo::engine {

struct LocalOptions {
  kernels::KvType kv_type = kernels::KvType::kF16;
  uint32_t chunk = 256;
  // Layer boundaries of stages that run one after the other in this process; empty: one stage.
  // {2, 5} splits 8 layers into [0,2) [2,5) [5,8): tests compare splits with ==.
  std::vector<uint32_t> cuts;
  std::vector<backend::StageAdapter> adapters = {};  // loaded with the model
  // How rows go from one of these stages to the next, and from the last one to the lead.
  tensor::RowCodec codec = tensor::RowCodec::kF32;
};

class LocalModel {
 public:
  // Errors: those of Backend::Load.
  static Result<std::unique_ptr<LocalModel>> Load(
      backend::Backend& backend, std::shared_ptr<const model::ModelConfig> config,
      std::shared_ptr<const model::ModelTensors> tensors, backend::TensorSource& source,
      const LocalOptions& options);

  const model::ModelConfig& config() const { return *config_; }
  uint64_t weights_bytes() const;

  Result<void> Open(backend::SequenceId sequence, uint32_t capacity,
                    std::span<const backend::AdapterUse> adapters = {});
  void Close(backend::SequenceId sequence);
  Result<void> Truncate(backend::SequenceId sequence, uint32_t length);
  // Opens `sequence` with the first `length` positions of `from` (StageCompute::Fork).
  Result<void> Fork(backend::SequenceId from, uint32_t length, backend::SequenceId sequence,
                    uint32_t capacity);

  // Appends tokens at position `first` in chunks; logits of the last `outputs` of them
  // [outputs][vocab].
  Result<void> Append(backend::SequenceId sequence, uint32_t first, std::span<const TokenId> tokens,
                      size_t outputs, std::span<float> logits);
  // One token for each of several sequences at once; logits [sequences][vocab].
  struct Next {
    backend::SequenceId sequence;
    uint32_t position;
    TokenId token;
  };
  Result<void> Step(std::span<const Next> next, std::span<float> logits);

 private:
  // The rows as they arrive at another stage, in `arrived`.
  Result<std::span<const float>> OverWire(std::span<const float> rows,
                                          std::vector<float>& arrived) const;
  // Logits of the batch's output rows after all stages [output_rows][vocab].
  Result<void> Run(backend::Batch batch, std::span<float> logits);

  std::shared_ptr<const model::ModelConfig> config_;
  uint32_t chunk_ = 0;
  tensor::RowCodec codec_ = tensor::RowCodec::kF32;
  std::vector<std::unique_ptr<backend::StageCompute>> stages_;  // [0] is the lead
};

}  // namespace exo::engine
