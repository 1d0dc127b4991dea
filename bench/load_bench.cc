// What a load does to an answer beside it: steps of one sequence of a 1B-shaped model, alone and
// while an 8B-shaped one loads on the same device, and the load alone and beside. Weights come from
// memory (valid blocks, no file), so that only the device is measured.
//   cmake -B build -DEXO_BENCH=ON && ninja -C build load_bench && build/bench/load_bench [threads]
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "backend/devices.h"
#include "base/random.h"
#include "sys/system.h"
#include "tensor/float16.h"

namespace exo {
namespace {

using backend::StageSpec;
using tensor::DType;

// Gives the same valid Q4_0 blocks (or ones) for every tensor.
class SameBlocks final : public backend::TensorSource {
 public:
  SameBlocks() {
    Rng rng(1);
    for (std::byte& b : blocks_) b = static_cast<std::byte>(rng.Next());
    const uint16_t scale = tensor::FloatToHalf(0.01f);
    for (size_t at = 0; at + 18 <= blocks_.size(); at += 18) std::memcpy(&blocks_[at], &scale, 2);
  }
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t,
                                          uint64_t bytes) override {
    if (tensor.vector) return std::as_bytes(std::span(ones_)).first(bytes);
    return std::span<const std::byte>(blocks_).first(bytes);
  }
  void Done(const model::TensorRef&, uint64_t, uint64_t) override {}

 private:
  std::vector<std::byte> blocks_ = std::vector<std::byte>(18u << 20);
  std::vector<float> ones_ = std::vector<float>(1 << 16, 1.0f);
};

struct Shape {
  uint32_t layers, width, ffn, heads, kv_heads, vocab;
};

StageSpec SpecOf(const Shape& shape) {
  auto config = std::make_shared<model::ModelConfig>(
      model::ModelConfig{.architecture = "llama",
                         .layers = shape.layers,
                         .width = shape.width,
                         .ffn_width = shape.ffn,
                         .heads = shape.heads,
                         .kv_heads = shape.kv_heads,
                         .head_dim = shape.width / shape.heads,
                         .vocab = shape.vocab,
                         .context = 4096,
                         .rotary_dim = shape.width / shape.heads});
  auto tensors = std::make_shared<model::ModelTensors>();
  const auto matrix = [n = 0](uint64_t rows, uint64_t cols) mutable {
    return model::TensorRef{.name = fmt::format("m{}", n++),
                            .type = DType::kQ4_0,
                            .rows = rows,
                            .cols = cols,
                            .bytes = rows * cols / 32 * 18};
  };
  auto make = matrix;
  const auto vector = [](uint64_t size) {
    return model::TensorRef{
        .name = "v", .rows = 1, .cols = size, .vector = true, .bytes = size * 4};
  };
  const uint64_t kv = config->kv_width();
  tensors->token_embd = make(shape.vocab, shape.width);
  tensors->output = make(shape.vocab, shape.width);
  tensors->output_norm = vector(shape.width);
  for (uint32_t i = 0; i < shape.layers; ++i) {
    model::LayerTensors layer;
    layer.attn_norm = layer.ffn_norm = vector(shape.width);
    layer.attn_q = make(shape.width, shape.width);
    layer.attn_k = make(kv, shape.width);
    layer.attn_v = make(kv, shape.width);
    layer.attn_output = make(shape.width, shape.width);
    layer.ffn_gate = make(shape.ffn, shape.width);
    layer.ffn_up = make(shape.ffn, shape.width);
    layer.ffn_down = make(shape.width, shape.ffn);
    tensors->layers.push_back(std::move(layer));
  }
  return {.config = std::move(config),
          .tensors = std::move(tensors),
          .layer_end = shape.layers,
          .lead = true};
}

double Milliseconds(Time time) {
  return std::chrono::duration<double, std::milli>(time).count();
}

// Decodes until `enough`; milliseconds of each step.
template <class Enough>
std::vector<double> Decode(backend::StageCompute& stage, const Enough& enough) {
  std::vector<double> steps;
  uint32_t position = 1;
  const TokenId token = 7;
  const uint32_t row = 0;
  while (!enough(steps.size())) {
    const Time start = sys::Now();
    const backend::Segment segment = {.sequence = 1, .first = position, .count = 1};
    auto running = stage.Run({.segments = {&segment, 1},
                              .tokens = {&token, 1},
                              .output_rows = {&row, 1},
                              .wanted = backend::Wanted::kLogits});
    if (!running || !(*running)->Wait() || !(*running)->Logits(0, 1, backend::kAllLogits))
      std::abort();
    steps.push_back(Milliseconds(sys::Now() - start));
    position = position % 500 + 1;
  }
  return steps;
}

void Print(const char* what, std::vector<double> steps) {
  std::sort(steps.begin(), steps.end());
  fmt::print("{}: {} steps, median {:.1f} ms, 99 % {:.1f}, longest {:.1f}\n", what, steps.size(),
             steps[steps.size() / 2], steps[steps.size() * 99 / 100], steps.back());
}

int Run(unsigned threads) {
  const auto backend = backend::MakeBackend({.threads = threads});
  if (!backend) return 1;
  fmt::print("{}\n", (*backend)->Describe());
  SameBlocks source;
  const StageSpec small = SpecOf({16, 2048, 8192, 32, 8, 32000});
  const StageSpec large = SpecOf({32, 4096, 14336, 32, 8, 32000});
  const auto load = [&] {
    const Time start = sys::Now();
    if (!(*backend)->Load(large, source, {}, nullptr)) std::abort();
    return Milliseconds(sys::Now() - start) / 1000;
  };
  auto stage = (*backend)->Load(small, source, {}, nullptr);
  if (!stage || !(*stage)->Open(1, 512)) return 1;
  // From one position, so that every length up to the capacity continues the sequence.
  std::vector<TokenId> prompt(501, 7);
  for (uint32_t at = 0; at < 501; at += 250) {
    const uint32_t count = std::min<uint32_t>(250, 501 - at);
    const backend::Segment segment = {.sequence = 1, .first = at, .count = count};
    auto running =
        (*stage)->Run({.segments = {&segment, 1}, .tokens = std::span(prompt).first(count)});
    if (!running || !(*running)->Wait()) return 1;
  }
  Print("steps alone", Decode(**stage, [](size_t n) { return n >= 100; }));
  fmt::print("load alone: {:.2f} s\n", load());
  std::atomic<bool> loaded{false};
  double seconds = 0;
  std::thread loader([&] {
    seconds = load();
    loaded.store(true);
  });
  Print("steps beside a load", Decode(**stage, [&](size_t) { return loaded.load(); }));
  loader.join();
  fmt::print("load beside steps: {:.2f} s\n", seconds);
  return 0;
}

}  // namespace
}  // namespace exo

int main(int argc, char** argv) {
  return exo::Run(argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 0);
}
