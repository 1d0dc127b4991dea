// What a model is: its shape, its arithmetic options and its special tokens, read from GGUF
// metadata. Immutable after loading; shared by every part that needs it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"

namespace exo::model {

enum class RopeStyle : uint8_t { kInterleaved, kHalves };

// Shape and options of a decoder-only transformer: RMSNorm, GQA attention with RoPE, SwiGLU FFN.
struct ModelConfig {
  std::string architecture;  // "llama", "qwen2", "qwen3"
  std::string name;          // general.name, may be empty

  uint32_t layers = 0;
  uint32_t width = 0;  // hidden size d
  uint32_t ffn_width = 0;
  uint32_t heads = 0;     // query heads
  uint32_t kv_heads = 0;  // divides heads
  uint32_t head_dim = 0;  // K and V length of a head
  uint32_t vocab = 0;     // rows of the embedding
  uint32_t context = 0;   // trained context length

  float norm_eps = 1e-5f;
  RopeStyle rope_style = RopeStyle::kInterleaved;
  uint32_t rotary_dim = 0;
  double rope_base = 10000.0;
  double rope_scale = 1.0;    // multiplies frequencies: 1 / factor for linear scaling
  float attention_scale = 0;  // 0: 1 / sqrt(head_dim)

  bool tied_output = false;   // output matrix = token embedding
  bool qkv_bias = false;      // qwen2
  bool qk_norm = false;       // qwen3: RMSNorm per head on q and k before RoPE
  bool rope_factors = false;  // rope_freqs.weight is present

  uint32_t group() const { return heads / kv_heads; }
  uint32_t q_width() const { return heads * head_dim; }
  uint32_t kv_width() const { return kv_heads * head_dim; }
};

}  // namespace exo::model
