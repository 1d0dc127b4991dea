#include "checkpoint/tensor_plan.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "model/keys.h"
#include "tensor/dtype.h"

namespace exo::checkpoint {
namespace {

using tensor::DType;

// What a tensor is turned into besides being renamed.
enum class Change : uint8_t {
  kNone,
  kQueries,   // rotated pairs of query heads
  kKeys,      // and of key heads
  kAdded,     // a norm: Gemma stores it without its 1
  kSqueezed,  // a matrix of one row that is a vector in GGUF
  kExperts,   // the matrices of all experts in one tensor
  kPostNorm,  // the norm behind attention: in front of the dense block, but for Gemma
};

struct Rename {
  std::string_view from;  // behind "model.layers.N."; of experts, behind "experts.E."
  std::string_view to;    // behind "blk.N."
  Change change = Change::kNone;
};
constexpr std::array kLayerTensors = std::to_array<Rename>({
    {"input_layernorm.weight", "attn_norm.weight", Change::kAdded},
    {"self_attn.q_proj.weight", "attn_q.weight", Change::kQueries},
    {"self_attn.q_proj.bias", "attn_q.bias", Change::kQueries},
    {"self_attn.k_proj.weight", "attn_k.weight", Change::kKeys},
    {"self_attn.k_proj.bias", "attn_k.bias", Change::kKeys},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
    {"self_attn.q_norm.weight", "attn_q_norm.weight", Change::kAdded},
    {"self_attn.k_norm.weight", "attn_k_norm.weight", Change::kAdded},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.o_proj.bias", "attn_output.bias"},
    {"post_attention_layernorm.weight", "ffn_norm.weight", Change::kPostNorm},
    {"pre_feedforward_layernorm.weight", "ffn_norm.weight", Change::kAdded},
    {"post_feedforward_layernorm.weight", "post_ffw_norm.weight", Change::kAdded},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate.weight", "ffn_gate_inp.weight"},
    {"gate_proj.weight", "ffn_gate_exps.weight", Change::kExperts},
    {"up_proj.weight", "ffn_up_exps.weight", Change::kExperts},
    {"down_proj.weight", "ffn_down_exps.weight", Change::kExperts},
    {"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight", Change::kSqueezed},
    {"mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight"},
    {"mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight"},
    {"mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight"},
});

std::string ShapeOf(const StoredTensor& tensor) {
  return fmt::format("[{}]", fmt::join(tensor.shape, ", "));
}

// Takes tensors by name and makes plans of them; knows what was taken.
class Planner {
 public:
  Planner(const ModelDescription& model, const FileReader& reader)
      : model_(model), reader_(reader) {}

  Result<void> Index(const std::vector<StoredTensor>& stored) {
    for (const StoredTensor& tensor : stored) {
      if (!tensors_.emplace(tensor.name, &tensor).second)
        return Fail(ErrorCode::kCorrupt, "the tensor '{}' is there twice", tensor.name);
    }
    return {};
  }

  // Nothing where the checkpoint has no such tensor.
  Result<void> Plan(const std::string& from, std::string to, Change change) {
    const StoredTensor* stored = Take(from);
    if (stored == nullptr) return {};
    PlannedTensor plan{.name = std::move(to)};
    plan.sources.push_back(TRY(SourceOf(*stored)));
    TRY(SetShape(*stored, change, plan));
    return Add(std::move(plan), change);
  }

  // The experts of a layer: one tensor each, or MLX's one of all. `prefix`: of the layer.
  Result<void> PlanExperts(const std::string& prefix, std::string_view matrix, std::string to) {
    PlannedTensor plan{.name = std::move(to)};
    if (const StoredTensor* all = Take(fmt::format("{}mlp.switch_mlp.{}", prefix, matrix))) {
      plan.sources.push_back(TRY(SourceOf(*all)));
      TRY(SetShape(*all, Change::kExperts, plan));
      return Add(std::move(plan), Change::kExperts);
    }
    for (uint64_t expert = 0; expert < model::kMaxExperts; ++expert) {
      const StoredTensor* one = Take(fmt::format("{}mlp.experts.{}.{}", prefix, expert, matrix));
      if (one == nullptr) break;
      plan.sources.push_back(TRY(SourceOf(*one)));
      const auto dims = plan.dims;
      const DType type = plan.type;
      TRY(SetShape(*one, Change::kNone, plan));
      if (expert > 0 && (plan.dims != dims || plan.type != type ||
                         one->element != plan.sources[0].stored.element)) {
        return Fail(ErrorCode::kCorrupt, "the tensor '{}' has the shape {}, expert 0 another",
                    one->name, ShapeOf(*one));
      }
    }
    if (plan.sources.empty()) return {};
    plan.dims.push_back(plan.sources.size());
    return Add(std::move(plan), Change::kExperts);
  }

  void Ignore(const std::string& name) { taken_.insert(name); }

  // A tensor that nothing took belongs to arithmetic that would be left out.
  Result<std::vector<PlannedTensor>> Finish() {
    for (const auto& [name, tensor] : tensors_) {
      if (taken_.contains(name) || name.ends_with("rotary_emb.inv_freq")) continue;
      return Fail(ErrorCode::kUnsupported,
                  "the checkpoint has a tensor '{}' that this build does not know", name);
    }
    return std::move(plans_);
  }

  void AddMadeUp(std::string name, std::vector<float> values) {
    plans_.push_back({.name = std::move(name), .dims = {values.size()}, .values = values});
  }

 private:
  const StoredTensor* Find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : found->second;
  }
  const StoredTensor* Take(const std::string& name) {
    const StoredTensor* found = Find(name);
    if (found != nullptr) taken_.insert(name);
    return found;
  }

  // Floats, or codes with their scales. Leading axes count as rows.
  Result<RowSource> SourceOf(const StoredTensor& stored) {
    RowSource source{.stored = stored};
    const uint64_t row = stored.shape.empty() ? 1 : stored.shape.back();
    source.rows = stored.values() / row;
    if (stored.element == Element::kOther) {
      return Fail(ErrorCode::kUnsupported,
                  "the tensor '{}' has the type {} (F32, F16 and BF16 can "
                  "be computed)",
                  stored.name, stored.element_name);
    }
    if (stored.element == Element::kU32) source.affine = TRY(AffineOf(stored));
    return source;
  }

  QuantizedAs QuantizationOf(const std::string& module) const {
    const auto other = model_.other.find(module);
    return other == model_.other.end() ? model_.quantized : other->second;
  }

  Result<Affine> AffineOf(const StoredTensor& codes) {
    const std::string module = codes.name.substr(0, codes.name.rfind('.'));
    const QuantizedAs as = QuantizationOf(module);
    const StoredTensor* scales = Take(module + ".scales");
    const StoredTensor* biases = Take(module + ".biases");
    if (as.bits == 0 || scales == nullptr || biases == nullptr) {
      return Fail(ErrorCode::kCorrupt,
                  "the tensor '{}' has words of 32 bits, without {} nobody can read them",
                  codes.name,
                  as.bits == 0        ? "a 'quantization' in config.json"
                  : scales == nullptr ? "its scales"
                                      : "its biases");
    }
    std::vector<uint64_t> expected = codes.shape;
    if (!expected.empty()) expected.back() = codes.shape.back() * 32 / as.bits / as.group;
    const bool floats = scales->element != Element::kU32 && scales->element != Element::kOther;
    if (scales->shape != expected || biases->shape != expected || !floats ||
        biases->element != scales->element || codes.shape.back() * 32 / as.bits % as.group != 0) {
      return Fail(
          ErrorCode::kCorrupt,
          "the tensor '{}' of {} has scales of {} and biases of {}; [..., {}] floats of one "
          "type were expected",
          codes.name, ShapeOf(codes), ShapeOf(*scales), ShapeOf(*biases),
          expected.empty() ? 0 : expected.back());
    }
    return Affine{.scales = *scales, .biases = *biases, .bits = as.bits, .group = as.group};
  }

  Result<DType> TypeOf(const RowSource& source) const {
    if (source.affine) {
      const bool blocks = source.affine->bits == 4 && TRY(FitsQ4_1(*source.affine, reader_));
      return blocks ? DType::kQ4_1 : DType::kF32;
    }
    if (source.stored.element == Element::kF16) return DType::kF16;
    return source.stored.element == Element::kBF16 ? DType::kBF16 : DType::kF32;
  }

  // Shape and type of what one stored tensor becomes.
  Result<void> SetShape(const StoredTensor& stored, Change change, PlannedTensor& plan) const {
    const RowSource& source = plan.sources.back();
    const size_t axes = change == Change::kExperts ? 3 : 2;
    if (stored.shape.empty() || stored.shape.size() > axes ||
        (change == Change::kSqueezed && source.rows != 1)) {
      return Fail(ErrorCode::kCorrupt, "the tensor '{}' has the shape {}", stored.name,
                  ShapeOf(stored));
    }
    plan.dims.assign(stored.shape.rbegin(), stored.shape.rend());
    if (source.affine) plan.dims[0] = plan.dims[0] * 32 / source.affine->bits;
    plan.type = TRY(TypeOf(source));
    if (change == Change::kSqueezed) plan.dims.resize(1);
    if (plan.dims.size() == 1) {
      if (source.affine)
        return Fail(ErrorCode::kUnsupported, "the vector '{}' is quantized", stored.name);
      plan.type = DType::kF32;
    }
    return {};
  }

  Result<void> Add(PlannedTensor plan, Change change) {
    if (change == Change::kQueries || change == Change::kKeys) {
      const uint32_t heads = change == Change::kQueries ? model_.heads : model_.kv_heads;
      const uint64_t size = plan.dims.size() == 1 ? plan.cols() : plan.rows();
      if (size % (2 * uint64_t{heads}) != 0) {
        return Fail(ErrorCode::kCorrupt, "the tensor '{}' has {} rows for {} heads", plan.name,
                    size, heads);
      }
      if (model_.family->interleaved) plan.heads = heads;
    }
    if (model_.family->gemma && (change == Change::kAdded || change == Change::kPostNorm))
      plan.added = 1;
    plans_.push_back(std::move(plan));
    return {};
  }

  const ModelDescription& model_;
  const FileReader& reader_;
  std::map<std::string, const StoredTensor*, std::less<>> tensors_;
  std::set<std::string, std::less<>> taken_;
  std::vector<PlannedTensor> plans_;
};

Result<void> PlanLayer(const ModelDescription& model, uint32_t layer, Planner& planner) {
  const std::string from = fmt::format("model.layers.{}.", layer);
  const std::string to = fmt::format("blk.{}.", layer);
  for (const Rename& rename : kLayerTensors) {
    if (rename.change == Change::kExperts) {
      TRY(planner.PlanExperts(from, rename.from, to + std::string(rename.to)));
      continue;
    }
    const bool behind = rename.change == Change::kPostNorm && model.family->gemma;
    TRY(planner.Plan(from + std::string(rename.from),
                     to + std::string(behind ? "post_attention_norm.weight" : rename.to),
                     rename.change));
  }
  return {};
}

}  // namespace

Result<std::vector<PlannedTensor>> PlanTensors(const ModelDescription& model,
                                               const std::vector<StoredTensor>& stored,
                                               const FileReader& reader) {
  Planner planner(model, reader);
  TRY(planner.Index(stored));
  TRY(planner.Plan("model.embed_tokens.weight", "token_embd.weight", Change::kNone));
  if (!model.rope_factors.empty()) planner.AddMadeUp("rope_freqs.weight", model.rope_factors);
  for (uint32_t layer = 0; layer < model.layers; ++layer) TRY(PlanLayer(model, layer, planner));
  TRY(planner.Plan("model.norm.weight", "output_norm.weight", Change::kAdded));
  if (model.tied_output) {
    planner.Ignore("lm_head.weight");  // some files have a copy of the embedding
  } else {
    TRY(planner.Plan("lm_head.weight", "output.weight", Change::kNone));
  }
  return planner.Finish();
}

}  // namespace exo::checkpoint
