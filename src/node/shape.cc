#include "node/shape.h"

#include <algorithm>
#include <numeric>

#include "backend/collective.h"
#include "tensor/dtype.h"

namespace exo::node {
namespace {

// Columns of a matrix can be cut between leaves of its sums and blocks of its format.
uint32_t GrainOf(const model::TensorRef& matrix) {
  return std::max<uint32_t>(backend::kLeafColumns, tensor::Info(matrix.type).block_values);
}

// Where a tensor split may cut, and what of each layer is cut by columns of the feed-forward block.
void AddCuts(const store::Manifest& manifest, cluster::ModelShape& shape) {
  const model::ModelConfig& config = *manifest.config();
  if (config.experts.count != 0) return;
  const uint32_t head = config.group() * config.head_dim;  // columns of one KV head
  cluster::TensorCuts cuts{.kv_heads = config.kv_heads,
                           .ffn_width = config.ffn_width,
                           .vocab = config.vocab,
                           .vocab_step = kernels::kPanelRows};
  for (uint32_t i = 0; i < config.layers; ++i) {
    const model::LayerTensors& layer = manifest.tensors()->layers[i];
    const uint32_t grain = GrainOf(layer.attn_output);
    cuts.kv_step = std::max(cuts.kv_step, grain / std::gcd(grain, head));
    cuts.ffn_step = std::max(cuts.ffn_step, GrainOf(*layer.ffn_down));
    const double ffn =
        static_cast<double>(layer.ffn_gate->bytes + layer.ffn_up->bytes + layer.ffn_down->bytes);
    double all = 0;
    for (const model::TensorRef* tensor : layer.All()) all += static_cast<double>(tensor->bytes);
    shape.layer_ffn_bytes.push_back(
        static_cast<uint64_t>(static_cast<double>(shape.layer_bytes[i]) * ffn / all));
  }
  shape.cuts = cuts;
}

// What a row costs in a layer, by format. Packed, a format's tensors take nearly the part of the
// layer's bytes that they have in the file.
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
  shape.partials_bytes =
      uint64_t{backend::MostSubtrees(std::max(config.q_width(), config.ffn_width))} * chunk *
      config.width * sizeof(float);
  shape.logits_bytes = uint64_t{backend::kLogitRows} * config.vocab * sizeof(float);
  shape.ops_per_token_layer = tensors.layers.at(0).OpsPerRow(config.experts.used);
  shape.scratch_bytes = none.scratch;
  shape.lead_scratch_bytes = at_lead.scratch - none.scratch;
  return shape;
}

}  // namespace exo::node
