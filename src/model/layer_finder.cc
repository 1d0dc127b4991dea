#include "model/layer_finder.h"

#include <fmt/ranges.h>

namespace exo::model {
namespace {

std::string ShapeText(const std::vector<uint64_t>& dims) {
  return fmt::format("[{}]", fmt::join(dims, ", "));
}

}  // namespace

Result<TensorRef> TensorFinder::Find(const std::string& name, const std::vector<uint64_t>& dims,
                                     Shape shape) {
  const GgufTensor* tensor = gguf_.FindTensor(name);
  if (tensor == nullptr) return Fail(ErrorCode::kCorrupt, "the tensor '{}' is missing", name);
  if (tensor->dims != dims) {
    return Fail(ErrorCode::kCorrupt, "the tensor '{}' has the shape {}, {} was expected", name,
                ShapeText(tensor->dims), ShapeText(dims));
  }
  const auto info = tensor::FindDType(tensor->type);
  if (!info) {
    std::vector<std::string_view> names;
    for (const tensor::DTypeInfo& one : tensor::AllTypes()) names.push_back(one.name);
    return Fail(ErrorCode::kUnsupported,
                "the tensor '{}' has the type {}, which cannot be computed; {} can", name,
                tensor::GgufTypeName(tensor->type), fmt::join(names, ", "));
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

Result<TensorRef> TensorFinder::Matrix(const std::string& name, Shape shape) {
  return Find(name, {shape.cols, shape.rows}, shape);
}

Result<TensorRef> TensorFinder::Matrices(const std::string& name, Shape shape, uint64_t count) {
  TensorRef ref = TRY(Find(name, {shape.cols, shape.rows, count}, shape));
  ref.count = count;
  return ref;
}

Result<TensorRef> TensorFinder::Row(const std::string& name, uint64_t cols) {
  return Find(name, {cols}, {.rows = 1, .cols = cols});
}

Result<TensorRef> TensorFinder::Vector(const std::string& name, uint64_t size) {
  TensorRef ref = TRY(Row(name, size));
  if (tensor::Info(ref.type).quantized) {
    return Fail(ErrorCode::kUnsupported,
                "the vector '{}' has the type {} (a float type is expected)", name,
                tensor::Info(ref.type).name);
  }
  ref.vector = true;
  return ref;
}

Result<std::optional<TensorRef>> TensorFinder::VectorIf(bool wanted, const std::string& name,
                                                        uint64_t size) {
  if (!wanted) return std::optional<TensorRef>();
  return TRY(Vector(name, size));
}

Result<void> TensorFinder::RefuseOthers() const {
  for (const GgufTensor& tensor : gguf_.tensors()) {
    if (used_.contains(tensor.name)) continue;
    return Fail(ErrorCode::kUnsupported,
                "the model has a tensor '{}' that this build does not know", tensor.name);
  }
  return {};
}

Result<void> LayerFinder::Attention(const ModelConfig& config, LayerTensors& layer) {
  const uint64_t d = config.width, q = config.q_width(), kv = config.kv_width();
  layer.attn_norm = TRY(Vector("attn_norm.weight", d));
  layer.attn_q = TRY(Matrix("attn_q.weight", {.rows = q, .cols = d}));
  layer.attn_k = TRY(Matrix("attn_k.weight", {.rows = kv, .cols = d}));
  layer.attn_v = TRY(Matrix("attn_v.weight", {.rows = kv, .cols = d}));
  layer.attn_output = TRY(Matrix("attn_output.weight", {.rows = d, .cols = q}));
  if (config.qkv_bias) {
    layer.q_bias = TRY(Vector("attn_q.bias", q));
    layer.k_bias = TRY(Vector("attn_k.bias", kv));
    layer.v_bias = TRY(Vector("attn_v.bias", kv));
  }
  if (config.output_bias) layer.o_bias = TRY(Vector("attn_output.bias", d));
  if (config.qk_norm) {
    layer.q_norm = TRY(Vector("attn_q_norm.weight", config.head_dim));
    layer.k_norm = TRY(Vector("attn_k_norm.weight", config.head_dim));
  }
  return {};
}

Result<void> LayerFinder::Gated(std::string_view suffix, uint64_t width, uint64_t ffn,
                                LayerTensors& layer) {
  const auto name = [&](const char* part) { return fmt::format("ffn_{}{}.weight", part, suffix); };
  layer.ffn_gate = TRY(Matrix(name("gate"), {.rows = ffn, .cols = width}));
  layer.ffn_up = TRY(Matrix(name("up"), {.rows = ffn, .cols = width}));
  layer.ffn_down = TRY(Matrix(name("down"), {.rows = width, .cols = ffn}));
  return {};
}

Result<void> LayerFinder::Dense(const ModelConfig& config, LayerTensors& layer) {
  layer.ffn_norm = TRY(Vector("ffn_norm.weight", config.width));
  return Gated("", config.width, config.ffn_width, layer);
}

Result<void> LayerFinder::Experts(const ModelConfig& config, LayerTensors& layer) {
  const ExpertConfig& experts = config.experts;
  const auto stack = [&](const char* name, uint64_t rows, uint64_t cols) {
    return finder_.Matrices(prefix_ + name, {.rows = rows, .cols = cols}, experts.count);
  };
  layer.ffn_norm = TRY(Vector("ffn_norm.weight", config.width));
  layer.router = TRY(Matrix("ffn_gate_inp.weight", {.rows = experts.count, .cols = config.width}));
  layer.gate_exps = TRY(stack("ffn_gate_exps.weight", experts.width, config.width));
  layer.up_exps = TRY(stack("ffn_up_exps.weight", experts.width, config.width));
  layer.down_exps = TRY(stack("ffn_down_exps.weight", config.width, experts.width));
  return {};
}

Result<void> LayerFinder::SharedExpert(const ModelConfig& config, LayerTensors& layer) {
  layer.shared_router = TRY(finder_.Row(prefix_ + "ffn_gate_inp_shexp.weight", config.width));
  return Gated("_shexp", config.width, config.ffn_width, layer);
}

}  // namespace exo::model
