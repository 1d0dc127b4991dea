// What a model is: its shape, its arithmetic options and its special tokens, read from GGUF
// metadata. Immutable after loading; shared by every part that needs it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"

namespace exo::model {

enum class RopeStyle : uint8_t { kInterleaved, kHalves };
enum class Activation : uint8_t { kSilu, kGelu };  // of the gate; kGelu: the tanh form

// A mixture of experts: softmax over the router's logits, the `used` largest are chosen.
struct ExpertConfig {
  uint32_t count = 0;        // 0: no experts
  uint32_t used = 0;         // per token
  uint32_t width = 0;        // of each
  bool renormalize = false;  // the chosen ones' weights are divided by their sum
  bool shared = false;       // the dense block runs too, times sigmoid(its own gate)
};

// Shape and options of a decoder-only transformer: RMSNorm, GQA attention with RoPE, gated FFN.
struct ModelConfig {
  std::string architecture;  // a name of model/architectures
  std::string name;          // general.name, may be empty

  uint32_t layers = 0;
  uint32_t width = 0;      // hidden size d
  uint32_t ffn_width = 0;  // of the dense (or shared) block; 0: experts only
  uint32_t heads = 0;      // query heads
  uint32_t kv_heads = 0;   // divides heads
  uint32_t head_dim = 0;   // K and V length of a head
  uint32_t vocab = 0;      // rows of the embedding
  uint32_t context = 0;    // trained context length
  ExpertConfig experts;

  float norm_eps = 1e-5f;
  RopeStyle rope_style = RopeStyle::kInterleaved;
  uint32_t rotary_dim = 0;
  double rope_base = 10000.0;
  double rope_scale = 1.0;    // multiplies frequencies: 1 / factor for linear scaling
  float attention_scale = 0;  // 0: 1 / sqrt(head_dim)
  Activation activation = Activation::kSilu;
  float embedding_scale = 1;  // multiplies embedding rows

  // A layer attends to its last `window` positions, its own included; every window_period-th layer
  // to all. 0: every layer to all.
  uint32_t window = 0;
  uint32_t window_period = 1;
  double window_rope_base = 10000.0;  // of the layers with a window; their positions are not scaled

  bool tied_output = false;   // output matrix = token embedding
  bool qkv_bias = false;      // biases on q, k and v
  bool output_bias = false;   // and on attention's output matrix
  bool qk_norm = false;       // RMSNorm per head on q and k before RoPE
  bool post_norms = false;    // RMSNorm on the results of attention and FFN before they are added
  bool rope_factors = false;  // rope_freqs.weight is present

  uint32_t group() const { return heads / kv_heads; }
  uint32_t q_width() const { return heads * head_dim; }
  uint32_t kv_width() const { return kv_heads * head_dim; }
  // The window of layer `layer`; 0: none.
  uint32_t WindowOf(uint32_t layer) const { return (layer + 1) % window_period == 0 ? 0 : window; }
};

}  // namespace exo::model
