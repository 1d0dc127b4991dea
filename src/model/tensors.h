// Which tensors a stage needs, by their GGUF names, and what their shapes must be. Checking a file
// against its configuration happens here, once, so that nothing later has to.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/gguf.h"
#include "tensor/dtype.h"

namespace exo::model {

// Reads and checks the configuration of a supported architecture. Errors: kUnsupported
// (architecture, tensor type, rope scaling kind; each named), kCorrupt (missing key, impossible
// number).
Result<ModelConfig> ReadConfig(const Gguf& gguf);

// A tensor with its checked shape: rows x cols, experts `count` of them one behind the other.
struct TensorRef {
  std::string name;
  tensor::DType type = tensor::DType::kF32;
  uint64_t rows = 0;
  uint64_t cols = 0;
  uint64_t count = 1;
  bool vector = false;  // a norm, bias or factor: rows == 1, kept as floats
  uint32_t part = 0;
  uint64_t offset = 0;
  uint64_t bytes = 0;

  // How many of the matrices one token needs at most, of a model that sends it to `used` experts.
  uint64_t count_read(uint64_t used) const { return count == 1 ? 1 : std::min(count, used); }
};

struct LayerTensors {
  TensorRef attn_norm, attn_q, attn_k, attn_v, attn_output;
  TensorRef ffn_norm;
  std::optional<TensorRef> q_bias, k_bias, v_bias;                 // qkv_bias
  std::optional<TensorRef> o_bias;                                 // output_bias
  std::optional<TensorRef> q_norm, k_norm;                         // qk_norm
  std::optional<TensorRef> post_attn_norm, post_ffn_norm;          // post_norms
  std::optional<TensorRef> ffn_gate, ffn_up, ffn_down;             // the dense or the shared block
  std::optional<TensorRef> router, gate_exps, up_exps, down_exps;  // experts
  std::optional<TensorRef> shared_router;                          // experts.shared: [1, width]

  std::vector<const TensorRef*> All() const;
  // Operations of the matrices for one row, 2 per multiply-add; `used`: experts that it goes to.
  uint64_t OpsPerRow(uint64_t used) const;
};

struct ModelTensors {
  TensorRef token_embd;
  TensorRef output_norm;
  TensorRef output;  // == token_embd when tied
  std::optional<TensorRef> rope_freqs;
  std::vector<LayerTensors> layers;
};

// Every tensor of the model with type and shape checked against `config`.
// Errors: kCorrupt (missing tensor, wrong shape: name, found, expected), kUnsupported (type).
Result<ModelTensors> FindTensors(const Gguf& gguf, const ModelConfig& config);

}  // namespace exo::model
