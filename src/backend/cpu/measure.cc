#include "backend/cpu/measure.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <vector>

#include "backend/buffer.h"
#include "backend/sampling.h"
#include "base/random.h"
#include "sys/cgroup.h"
#include "tensor/float16.h"

namespace exo::backend {
namespace {

// 90 MB of weights: three times a large L3 cache, still quick to fill.
constexpr size_t kRows = 80 * 1024;
constexpr size_t kCols = 2048;
constexpr size_t kPrefillTokens = 64;
constexpr size_t kPanels = kRows / kernels::kPanelRows;
// A pass this long costs its wake-ups little and is short beside a quota's burst.
constexpr Time kPassTime = std::chrono::microseconds(250);
constexpr size_t kPassItems = 4;  // of a thread

// Not sys::Now(): a system that sleeps in between computes nothing, but is not slow.
Time Clock() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

// A product with all of these weights, some panels after the others, over and over: as decode and
// prefill go through the weights of a model.
class Product {
 public:
  static Result<Product> Make(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                              const Buffer& packed, size_t tokens) {
    Product product(kernels, pool, packed, tokens);
    Rng rng(1);
    std::vector<float> x(tokens * kCols);
    for (float& value : x) value = static_cast<float>(rng.Uniform() - 0.5);
    const auto kind = kernels::KindFor(kType);
    product.activations_ = TRY(Buffer::Allocate(kernels.ActivationBytes(kind, tokens, kCols)));
    kernels.Prepare(kind, x.data(), kCols, tokens, kCols, 0, tokens, product.activations_.data());
    product.out_ = TRY(Buffer::Allocate(kRows * tokens * sizeof(float)));
    product.FitPass();
    return product;
  }

  void Pass() {
    const size_t first = next_;
    const size_t count = std::min(panels_, kPanels - first);
    next_ = (first + count) % kPanels;
    const size_t items = std::min(count, size_t{pool_->threads()} * kPassItems);
    const kernels::Activations x = {.kind = kernels::KindFor(kType),
                                    .tokens = tokens_,
                                    .cols = kCols,
                                    .data = activations_.data()};
    pool_->Run(static_cast<uint32_t>(items), [&](uint32_t item, unsigned) {
      const size_t begin = first + count * item / items;
      const size_t end = first + count * (item + 1) / items;
      kernels_->MatMul(weights_, x, begin, end - begin, out_.As<float>().data(), kRows, false);
    });
  }

  size_t panels() const { return panels_; }  // of a pass

  static constexpr tensor::DType kType = tensor::DType::kQ4_0;

 private:
  Product(const kernels::Kernels& kernels, sys::ThreadPool& pool, const Buffer& packed,
          size_t tokens)
      : kernels_(&kernels),
        pool_(&pool),
        weights_{.type = kType, .rows = kRows, .cols = kCols, .data = packed.data()},
        tokens_(tokens) {}

  // As many panels as a pass has time for, in halves and doubles of the number of threads: all
  // passes are alike. The fastest of a few decides: any of them may have been interrupted.
  void FitPass() {
    constexpr int kTries = 3;
    for (panels_ = pool_->threads(); 2 * panels_ <= kPanels; panels_ *= 2) {
      Time fastest = Time::max();
      for (int i = 0; i < kTries; ++i) {
        const Time begin = Clock();
        Pass();
        fastest = std::min(fastest, Clock() - begin);
      }
      if (fastest > kPassTime / 2) break;
    }
    // The last pass of a round is as long as the others.
    while (kPanels % panels_ != 0) --panels_;
  }

  const kernels::Kernels* kernels_;
  sys::ThreadPool* pool_;
  kernels::Weights weights_;
  size_t tokens_ = 0;
  size_t panels_ = 0;  // of a pass
  size_t next_ = 0;    // the first one of the next pass
  Buffer activations_, out_;
};

Result<Buffer> MakeWeights(const kernels::Kernels& kernels) {
  Buffer packed = TRY(Buffer::Allocate(kernels.PackedBytes(Product::kType, kRows, kCols)));
  const size_t panel = kernels.PackedBytes(Product::kType, kernels::kPanelRows, kCols);
  const size_t row_bytes = TRY(tensor::RowBytes(Product::kType, kCols));
  std::vector<std::byte> source(kernels::kPanelRows * row_bytes);
  Rng rng(1);
  for (std::byte& b : source) b = static_cast<std::byte>(rng.Next());
  const uint16_t scale = tensor::FloatToHalf(0.01f);
  for (size_t at = 0; at < source.size(); at += 18) std::memcpy(&source[at], &scale, 2);
  kernels.Pack(Product::kType, kernels::kPanelRows, kCols, 0, 1, source.data(), packed.data());
  for (size_t at = panel; at < packed.size(); at += panel)
    std::memcpy(packed.data() + at, packed.data(), panel);
  return packed;
}

}  // namespace

Result<Speed> MeasureSpeed(const kernels::Kernels& kernels, sys::ThreadPool& pool) {
  const Buffer packed = TRY(MakeWeights(kernels));
  Product decode = TRY(Product::Make(kernels, pool, packed, 1));
  Product prefill = TRY(Product::Make(kernels, pool, packed, kPrefillTokens));
  const double panel_bytes = static_cast<double>(packed.size()) / kPanels;
  const double panel_ops = 2.0 * kernels::kPanelRows * kCols * kPrefillTokens;
  const std::array works = {
      SampledWork{[&] { decode.Pass(); }, panel_bytes * static_cast<double>(decode.panels())},
      SampledWork{[&] { prefill.Pass(); }, panel_ops * static_cast<double>(prefill.panels())}};
  const auto rates = SustainedRates(works, SamplingFor(sys::ReadCpuQuota()), Clock);
  return Speed{.decode_gbps = rates[0] * 1e-9, .prefill_gops = rates[1] * 1e-9};
}

}  // namespace exo::backend
