#include "node/shape.h"

#include <algorithm>
#include <initializer_list>
#include <numeric>
#include <optional>

#include "backend/collective.h"
#include "tensor/dtype.h"

namespace exo::node {
namespace {

// Columns of a matrix can be cut between leaves of its sums and blocks of its format.
uint32_t GrainOf(const model::TensorRef& matrix) {
  return std::max<uint32_t>(backend::kLeafColumns, tensor::Info(matrix.type).block_values);
}

uint64_t BytesOf(std::initializer_list<const std::optional<model::TensorRef>*> tensors) {
  uint64_t bytes = 0;
  for (const auto* tensor : tensors) bytes += *tensor ? (*tensor)->bytes : 0;
  return bytes;
}

// Packed, a layer's tensors take nearly the part of its bytes that they have in the file.
cluster::LayerParts PartsOf(const model::LayerTensors& layer, uint64_t packed) {
  double all = 0;
  for (const model::TensorRef* tensor : layer.All()) all += static_cast<double>(tensor->bytes);
  const auto part = [&](uint64_t bytes) {
    return static_cast<uint64_t>(static_cast<double>(packed) * static_cast<double>(bytes) / all);
  };
  return {.heads = part(layer.attn_q.bytes + layer.attn_output.bytes),
          .kv = part(layer.attn_k.bytes + layer.attn_v.bytes),
          .ffn = part(BytesOf({&layer.ffn_gate, &layer.ffn_up, &layer.ffn_down})),
          .experts = part(BytesOf({&layer.gate_exps, &layer.up_exps, &layer.down_exps}))};
}

// Where a tensor split may cut, and what of each layer is divided how.
void AddCuts(const store::Manifest& manifest, cluster::ModelShape& shape) {
  const model::ModelConfig& config = *manifest.config();
  const uint32_t group = config.group() * config.head_dim;  // columns of one KV head
  cluster::TensorCuts cuts{.kv_heads = config.kv_heads,
                           .heads = config.heads,
                           .ffn_width = config.ffn_width,
                           .vocab = config.vocab,
                           .vocab_step = kernels::kPanelRows,
                           .experts = config.experts.count,
                           .experts_used = config.experts.used};
  for (uint32_t i = 0; i < config.layers; ++i) {
    const model::LayerTensors& layer = manifest.tensors()->layers[i];
    const uint32_t grain = GrainOf(layer.attn_output);
    cuts.kv_step = std::max(cuts.kv_step, grain / std::gcd(grain, group));
    cuts.head_step = std::max(cuts.head_step, grain / std::gcd(grain, config.head_dim));
    if (layer.ffn_down) cuts.ffn_step = std::max(cuts.ffn_step, GrainOf(*layer.ffn_down));
    shape.layer_parts.push_back(PartsOf(layer, shape.layer_bytes[i]));
  }
  shape.cuts = cuts;
}

// Rows of partial sums that a shard gives in one exchange, at most.
uint64_t MostParts(const model::ModelConfig& config) {
  const auto of = [](uint64_t columns) {
    return backend::MostSubtrees(backend::LeavesOf(columns));
  };
  return std::max(of(config.q_width()),
                  of(config.ffn_width) + backend::MostSubtrees(config.experts.used));
}

// What a row costs in a layer, by format.
std::vector<cluster::FormatWork> WorkOf(const model::LayerTensors& layer, uint64_t experts_used,
                                        uint64_t read_bytes) {
  std::vector<cluster::FormatWork> works;
  double all = 0;
  for (const model::TensorRef* tensor : layer.All()) {
    if (tensor->vector) continue;
    const auto format = static_cast<uint32_t>(tensor->type);
    auto at = std::ranges::find(works, format, &cluster::FormatWork::format);
    if (at == works.end()) at = works.insert(works.end(), {.format = format});
    const auto used = static_cast<double>(tensor->count_read(experts_used));
    const double bytes =
        used * static_cast<double>(tensor->bytes) / static_cast<double>(tensor->count);
    at->bytes += bytes;
    at->ops += 2 * used * static_cast<double>(tensor->rows * tensor->cols);
    all += bytes;
  }
  for (cluster::FormatWork& work : works) work.bytes *= static_cast<double>(read_bytes) / all;
  return works;
}

}  // namespace

cluster::ModelShape ShapeOf(const store::Manifest& manifest, std::string name,
                            const backend::Backend& backend) {
  const model::ModelConfig& config = *manifest.config();
  const model::ModelTensors& tensors = *manifest.tensors();
  const uint32_t chunk = cluster::PlanOptions{}.chunk;
  backend::StageSpec spec = {
      .config = manifest.config(), .tensors = manifest.tensors(), .chunk = chunk};
  cluster::ModelShape shape;
  shape.id = manifest.id();
  shape.name = std::move(name);
  shape.width = config.width;
  shape.trained_context = config.context;
  shape.window = config.window;
  shape.window_period = config.window_period;
  for (uint32_t layer = 0; layer < config.layers; ++layer) {
    spec.layer_begin = layer;
    spec.layer_end = layer + 1;
    const backend::StageBytes bytes = backend.Estimate(spec);
    shape.layer_bytes.push_back(bytes.weights);
    shape.layer_decode_bytes.push_back(bytes.read_per_token);
    shape.layer_work.push_back(
        WorkOf(tensors.layers[layer], config.experts.used, bytes.read_per_token));
  }
  spec.layer_begin = spec.layer_end = 0;
  const backend::StageBytes none = backend.Estimate(spec);
  spec.lead = true;
  const backend::StageBytes at_lead = backend.Estimate(spec);
  const uint64_t lead = at_lead.weights - none.weights;
  // A tied matrix is in memory once and read for each token as the output matrix.
  const uint64_t embedding_share = tensors.token_embd.bytes + tensors.output.bytes;
  shape.embedding_bytes =
      config.tied_output ? 0
                         : static_cast<uint64_t>(static_cast<double>(lead) *
                                                 static_cast<double>(tensors.token_embd.bytes) /
                                                 static_cast<double>(embedding_share));
  shape.output_bytes = lead - shape.embedding_bytes;
  shape.output_format = static_cast<uint32_t>(tensors.output.type);
  static_assert(wire::kKvTypes == kernels::kKvTypes);
  spec.layer_end = 1;
  for (size_t type = 0; type < kernels::kKvTypes; ++type) {
    spec.kv_type = static_cast<kernels::KvType>(type);
    const backend::StageBytes bytes = backend.Estimate(spec);
    shape.kv_bytes_per_position[type] =
        static_cast<uint32_t>(bytes.kv_per_position + bytes.windowed_kv_per_position);
  }
  AddCuts(manifest, shape);
  shape.partials_bytes = MostParts(config) * chunk * config.width * sizeof(float);
  shape.logits_bytes = uint64_t{backend::kLogitRows} * config.vocab * sizeof(float);
  shape.ops_per_token_layer = tensors.layers.at(0).OpsPerRow(config.experts.used);
  shape.scratch_bytes = none.scratch;
  shape.lead_scratch_bytes = at_lead.scratch - none.scratch;
  spec.lead = false;
  spec.streamed.layers = {0};
  shape.stream_scratch_bytes = backend.Estimate(spec).scratch - none.scratch;
  return shape;
}

}  // namespace exo::node
