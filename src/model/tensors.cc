// The tensors of a model by their GGUF names, each checked against the configuration.
#include "model/tensors.h"

#include <set>

namespace exo::model {
namespace {

struct Shape {
  uint64_t rows = 1;
  uint64_t cols = 0;
};

std::string ShapeText(const std::vector<uint64_t>& dims) {
  return fmt::format("[{}]", fmt::join(dims, ", "));
}

class Finder {
 public:
  explicit Finder(const Gguf& gguf) : gguf_(gguf) {}

  // A matrix of [rows, cols], in GGUF order {cols, rows}.
  Result<TensorRef> Matrix(const std::string& name, Shape shape) {
    return Find(name, {shape.cols, shape.rows}, shape);
  }
  // A vector. Norms, biases and frequency factors must be float types: they are no multiples of
  // blocks.
  Result<TensorRef> Vector(const std::string& name, uint64_t size) {
    TensorRef ref = TRY(Find(name, {size}, {.rows = 1, .cols = size}));
    if (tensor::Info(ref.type).quantised) {
      return Fail(ErrorCode::kUnsupported,
                  "the vector '{}' has the type {} (a float type is expected)", name,
                  tensor::Info(ref.type).name);
    }
    return ref;
  }
  Result<std::optional<TensorRef>> VectorIf(bool wanted, const std::string& name, uint64_t size) {
    if (!wanted) return std::optional<TensorRef>();
    return TRY(Vector(name, size));
  }

  // A tensor that nothing asked for belongs to arithmetic that this build would leave out.
  Result<void> RefuseOthers() const {
    for (const GgufTensor& tensor : gguf_.tensors()) {
      if (used_.contains(tensor.name)) continue;
      return Fail(ErrorCode::kUnsupported,
                  "the model has a tensor '{}' that this build does not know", tensor.name);
    }
    return {};
  }

 private:
  Result<TensorRef> Find(const std::string& name, const std::vector<uint64_t>& dims, Shape shape) {
    const GgufTensor* tensor = gguf_.FindTensor(name);
    if (tensor == nullptr) return Fail(ErrorCode::kCorrupt, "the tensor '{}' is missing", name);
    if (tensor->dims != dims) {
      return Fail(ErrorCode::kCorrupt, "the tensor '{}' has the shape {}, {} was expected", name,
                  ShapeText(tensor->dims), ShapeText(dims));
    }
    const auto info = tensor::FindDType(tensor->type);
    if (!info) {
      std::string known;
      for (const tensor::DTypeInfo& type : tensor::AllTypes()) known.append(known.empty() ? "" : ", ").append(type.name);
      return Fail(ErrorCode::kUnsupported, "the tensor '{}' has the type {}, which does not run (these do: {})", name,
                  tensor::GgufTypeName(tensor->type), known);
    }
    used_.insert(name);
    return TensorRef{.name = name,
                     .type = info->type,
                     .rows = shape.rows,
                     .cols = shape.cols,
                     .part = tensor->part,
                     .offset = tensor->offset,
                     .bytes = tensor->bytes};
  }

  const Gguf& gguf_;
  std::set<std::string, std::less<>> used_;
};

Result<LayerTensors> FindLayer(Finder& finder, const ModelConfig& config, uint32_t index) {
  const auto name = [&](std::string_view part) { return fmt::format("blk.{}.{}", index, part); };
  const uint64_t d = config.width;
  const uint64_t q = config.q_width();
  const uint64_t kv = config.kv_width();
  LayerTensors layer;
  layer.attn_norm = TRY(finder.Vector(name("attn_norm.weight"), d));
  layer.attn_q = TRY(finder.Matrix(name("attn_q.weight"), {.rows = q, .cols = d}));
  layer.attn_k = TRY(finder.Matrix(name("attn_k.weight"), {.rows = kv, .cols = d}));
  layer.attn_v = TRY(finder.Matrix(name("attn_v.weight"), {.rows = kv, .cols = d}));
  layer.attn_output = TRY(finder.Matrix(name("attn_output.weight"), {.rows = d, .cols = q}));
  layer.ffn_norm = TRY(finder.Vector(name("ffn_norm.weight"), d));
  layer.ffn_gate =
      TRY(finder.Matrix(name("ffn_gate.weight"), {.rows = config.ffn_width, .cols = d}));
  layer.ffn_up = TRY(finder.Matrix(name("ffn_up.weight"), {.rows = config.ffn_width, .cols = d}));
  layer.ffn_down =
      TRY(finder.Matrix(name("ffn_down.weight"), {.rows = d, .cols = config.ffn_width}));
  layer.q_bias = TRY(finder.VectorIf(config.qkv_bias, name("attn_q.bias"), q));
  layer.k_bias = TRY(finder.VectorIf(config.qkv_bias, name("attn_k.bias"), kv));
  layer.v_bias = TRY(finder.VectorIf(config.qkv_bias, name("attn_v.bias"), kv));
  layer.q_norm = TRY(finder.VectorIf(config.qk_norm, name("attn_q_norm.weight"), config.head_dim));
  layer.k_norm = TRY(finder.VectorIf(config.qk_norm, name("attn_k_norm.weight"), config.head_dim));
  return layer;
}

}  // namespace

std::vector<const TensorRef*> LayerTensors::All() const {
  std::vector<const TensorRef*> all = {&attn_norm, &attn_q,   &attn_k, &attn_v,  &attn_output,
                                       &ffn_norm,  &ffn_gate, &ffn_up, &ffn_down};
  for (const auto* optional : {&q_bias, &k_bias, &v_bias, &q_norm, &k_norm}) {
    if (*optional) all.push_back(&**optional);
  }
  return all;
}

Result<ModelTensors> FindTensors(const Gguf& gguf, const ModelConfig& config) {
  Finder finder(gguf);
  ModelTensors tensors;
  const Shape vocabulary = {.rows = config.vocab, .cols = config.width};
  tensors.token_embd = TRY(finder.Matrix("token_embd.weight", vocabulary));
  tensors.output_norm = TRY(finder.Vector("output_norm.weight", config.width));
  tensors.output =
      config.tied_output ? tensors.token_embd : TRY(finder.Matrix("output.weight", vocabulary));
  tensors.rope_freqs =
      TRY(finder.VectorIf(config.rope_factors, "rope_freqs.weight", config.rotary_dim / 2));
  for (uint32_t i = 0; i < config.layers; ++i)
    tensors.layers.push_back(TRY(FindLayer(finder, config, i)));
  TRY(finder.RefuseOthers());
  return tensors;
}

}  // namespace exo::model
