#include "model/adapter.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "model/layer_finder.h"

namespace exo::model {
namespace {

constexpr std::string_view kA = ".lora_a";
constexpr std::string_view kB = ".lora_b";

// The adapted tensor of the base model; empty: the name is not one of an adapter's.
std::string_view BaseName(std::string_view name) {
  if (name.ends_with(kA) || name.ends_with(kB)) return name.substr(0, name.size() - kA.size());
  return {};
}

// The matrices of each layer that may be adapted, by name.
struct Place {
  uint32_t layer = 0;
  AdapterTarget target = AdapterTarget::kQ;
  const TensorRef* base = nullptr;
};
std::map<std::string, Place, std::less<>> PlacesOf(const ModelTensors& tensors) {
  std::map<std::string, Place, std::less<>> places;
  for (uint32_t i = 0; i < tensors.layers.size(); ++i) {
    const LayerTensors& layer = tensors.layers[i];
    const auto add = [&](AdapterTarget target, const TensorRef& base) {
      places.emplace(base.name, Place{i, target, &base});
    };
    add(AdapterTarget::kQ, layer.attn_q);
    add(AdapterTarget::kK, layer.attn_k);
    add(AdapterTarget::kV, layer.attn_v);
    add(AdapterTarget::kOutput, layer.attn_output);
    if (layer.ffn_gate) add(AdapterTarget::kGate, *layer.ffn_gate);
    if (layer.ffn_up) add(AdapterTarget::kUp, *layer.ffn_up);
    if (layer.ffn_down) add(AdapterTarget::kDown, *layer.ffn_down);
  }
  return places;
}

// A pair whose shapes agree with each other: A is {cols, rank} and B {rank, rows} in GGUF order.
Result<void> CheckPair(const Gguf& gguf, std::string_view base) {
  const auto find = [&](std::string_view suffix) {
    return gguf.FindTensor(std::string(base) + std::string(suffix));
  };
  const GgufTensor* a = find(kA);
  const GgufTensor* b = find(kB);
  if (a == nullptr || b == nullptr) {
    return Fail(ErrorCode::kCorrupt, "the adapter has '{}{}' without '{}{}'", base,
                a == nullptr ? kB : kA, base, a == nullptr ? kA : kB);
  }
  if (a->dims.size() != 2 || b->dims.size() != 2) {
    return Fail(ErrorCode::kUnsupported, "the adapter changes '{}', which is not one matrix", base);
  }
  if (a->dims[1] != b->dims[0]) {
    return Fail(ErrorCode::kCorrupt, "'{}{}' has the rank {}, '{}{}' has {}", base, kA, a->dims[1],
                base, kB, b->dims[0]);
  }
  if (a->dims[1] == 0 || a->dims[1] > kMaxAdapterRank) {
    return Fail(ErrorCode::kUnsupported,
                "the adapter changes '{}' by rank {} (1 to {} is possible)", base, a->dims[1],
                kMaxAdapterRank);
  }
  return {};
}

Result<AdapterPair> FindPair(TensorFinder& finder, const Gguf& gguf, const TensorRef& base) {
  const uint64_t rank = gguf.FindTensor(base.name + std::string(kA))->dims[1];
  return AdapterPair{
      .a = TRY(finder.Matrix(base.name + std::string(kA), {.rows = rank, .cols = base.cols})),
      .b = TRY(finder.Matrix(base.name + std::string(kB), {.rows = base.rows, .cols = rank}))};
}

}  // namespace

bool IsAdapter(const Gguf& gguf) {
  return gguf.GetString("general.type").value_or("model") == "adapter";
}

Result<AdapterConfig> ReadAdapter(const Gguf& gguf) {
  if (!IsAdapter(gguf))
    return Fail(ErrorCode::kInvalid, "not an adapter: its general.type is no 'adapter'");
  const std::string type = gguf.GetString("adapter.type").value_or("");
  if (type != "lora")
    return Fail(ErrorCode::kUnsupported, "an adapter of the type '{}' (lora is possible)", type);
  if (gguf.Find("adapter.alora.invocation_tokens") != nullptr) {
    return Fail(ErrorCode::kUnsupported,
                "an activated adapter (adapter.alora.invocation_tokens), which begins in mid-text");
  }
  const auto alpha = gguf.GetFloat("adapter.lora.alpha");
  if (!alpha)
    return Fail(ErrorCode::kCorrupt, "the adapter is incomplete: {}", alpha.error().message);
  if (!std::isfinite(*alpha) || std::abs(*alpha) > std::numeric_limits<float>::max())
    return Fail(ErrorCode::kCorrupt, "adapter.lora.alpha is {}", *alpha);
  if (gguf.tensors().empty()) return Fail(ErrorCode::kCorrupt, "the adapter has no tensors");
  for (const GgufTensor& tensor : gguf.tensors()) {
    const std::string_view base = BaseName(tensor.name);
    if (base.empty()) {
      return Fail(ErrorCode::kUnsupported, "the adapter has a tensor '{}', which is no {} or {}",
                  tensor.name, kA, kB);
    }
    TRY(CheckPair(gguf, base));
  }
  return AdapterConfig{.architecture = gguf.GetString("general.architecture").value_or(""),
                       .name = gguf.GetString("general.name").value_or(""),
                       .alpha = static_cast<float>(*alpha)};
}

Result<AdapterTensors> FindAdapter(const Gguf& gguf, const ModelConfig& config,
                                   const ModelTensors& tensors) {
  const AdapterConfig adapter = TRY(ReadAdapter(gguf));
  if (adapter.architecture != config.architecture) {
    return Fail(ErrorCode::kInvalid,
                "the adapter is for a model of the architecture '{}', not '{}'",
                adapter.architecture, config.architecture);
  }
  AdapterTensors found{.alpha = adapter.alpha, .layers = {}};
  found.layers.resize(tensors.layers.size());
  TensorFinder finder(gguf);
  const auto places = PlacesOf(tensors);
  for (const GgufTensor& tensor : gguf.tensors()) {
    const std::string_view base = BaseName(tensor.name);
    const auto place = places.find(base);
    if (place == places.end()) {
      return Fail(ErrorCode::kUnsupported,
                  "the adapter changes '{}', which is no matrix of this model that can be adapted "
                  "(attention and feed-forward matrices can)",
                  base);
    }
    auto& pair = found.layers[place->second.layer].pairs[static_cast<size_t>(place->second.target)];
    if (pair) continue;  // of its other tensor
    pair = TRY(FindPair(finder, gguf, *place->second.base));
    found.max_rank = std::max(found.max_rank, pair->rank());
  }
  return found;
}

}  // namespace exo::model
