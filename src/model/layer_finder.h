// Looks tensors up by their GGUF names and checks type and shape; remembers which were asked for.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/config.h"
#include "model/gguf.h"
#include "model/tensors.h"

namespace exo::model {

struct Shape {
  uint64_t rows = 1;
  uint64_t cols = 0;
};

// Errors of all: kCorrupt (missing, another shape), kUnsupported (type).
class TensorFinder {
 public:
  explicit TensorFinder(const Gguf& gguf) : gguf_(gguf) {}

  // A matrix of [rows, cols], in GGUF order {cols, rows}.
  Result<TensorRef> Matrix(const std::string& name, Shape shape);
  // `count` matrices of that shape, one behind the other: {cols, rows, count}.
  Result<TensorRef> Matrices(const std::string& name, Shape shape, uint64_t count);
  // A vector used as a matrix of one row.
  Result<TensorRef> Row(const std::string& name, uint64_t cols);
  // A vector of floats. Norms, biases and frequency factors must be float types: they are no
  // multiples of blocks.
  Result<TensorRef> Vector(const std::string& name, uint64_t size);
  Result<std::optional<TensorRef>> VectorIf(bool wanted, const std::string& name, uint64_t size);

  // A tensor that nothing asked for belongs to arithmetic that this build would leave out.
  Result<void> RefuseOthers() const;

 private:
  Result<TensorRef> Find(const std::string& name, const std::vector<uint64_t>& dims, Shape shape);

  const Gguf& gguf_;
  std::set<std::string, std::less<>> used_;
};

// The tensors of one layer: "blk.7." + name; and the groups that many architectures have.
class LayerFinder {
 public:
  LayerFinder(TensorFinder& finder, uint32_t layer)
      : finder_(finder), prefix_(fmt::format("blk.{}.", layer)) {}

  Result<TensorRef> Matrix(std::string_view name, Shape shape) {
    return finder_.Matrix(prefix_ + std::string(name), shape);
  }
  Result<TensorRef> Vector(std::string_view name, uint64_t size) {
    return finder_.Vector(prefix_ + std::string(name), size);
  }

  // Norm, q, k, v and output; biases and norms of q and k where the configuration has them.
  Result<void> Attention(const ModelConfig& config, LayerTensors& layer);
  // Norm and gate, up, down of the dense block.
  Result<void> Dense(const ModelConfig& config, LayerTensors& layer);
  // Norm, router and the experts' gate, up, down.
  Result<void> Experts(const ModelConfig& config, LayerTensors& layer);
  // Gate, up, down of the expert that every token passes, and its own gate.
  Result<void> SharedExpert(const ModelConfig& config, LayerTensors& layer);

 private:
  Result<void> Gated(std::string_view suffix, uint64_t width, uint64_t ffn, LayerTensors& layer);

  TensorFinder& finder_;
  const std::string prefix_;
};

}  // namespace exo::model
