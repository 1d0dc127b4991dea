#include "backend/cpu/measured_product.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/random.h"
#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::backend {
namespace {

// A pass this long costs its wake-ups little and is short beside a quota's burst.
constexpr Time kPassTime = std::chrono::microseconds(250);
constexpr size_t kPassItems = 4;  // of a thread

// Bytes that are weights of an ordinary size: products with denormal numbers take longer.
void MakeOrdinary(tensor::DType type, std::vector<std::byte>& blocks) {
  const tensor::DTypeInfo& info = tensor::Info(type);
  const uint16_t scale = tensor::FloatToHalf(0.01f);
  for (size_t at = 0; at < blocks.size(); at += info.block_bytes) {
    std::byte* block = &blocks[at];
    if (type == tensor::DType::kMXFP4) {
      block[0] = std::byte{120};
    } else if (info.quantized) {
      tensor::SetScale(type, scale, block);
    } else {
      std::byte& exponent = block[info.block_bytes - 1];  // and the sign
      exponent = (exponent & std::byte{0x83}) | std::byte{0x30};
    }
  }
}

}  // namespace

Time AwakeClock() {
  return std::chrono::steady_clock::now().time_since_epoch();
}

size_t MeasuredWeights::PanelBytes(const kernels::Kernels& kernels, tensor::DType type) {
  return kernels.PackedBytes(type, kernels::kPanelRows, kCols);
}

Result<MeasuredWeights> MeasuredWeights::Make(const kernels::Kernels& kernels, tensor::DType type,
                                              size_t panels) {
  const size_t panel = PanelBytes(kernels, type);
  MeasuredWeights weights{
      .type = type, .panels = panels, .packed = TRY(Buffer::Allocate(panels * panel))};
  std::vector<std::byte> source(kernels::kPanelRows * TRY(tensor::RowBytes(type, kCols)));
  Rng rng(1);
  for (std::byte& b : source) b = static_cast<std::byte>(rng.Next());
  MakeOrdinary(type, source);
  std::byte* packed = weights.packed.data();
  kernels.Pack(type, kernels::kPanelRows, kCols, 0, 1, source.data(), packed);
  for (size_t i = 1; i < panels; ++i) std::memcpy(packed + i * panel, packed, panel);
  return weights;
}

Result<MeasuredProduct> MeasuredProduct::Make(const kernels::Kernels& kernels,
                                              sys::ThreadPool& pool, const MeasuredWeights& weights,
                                              size_t tokens) {
  constexpr size_t kCols = MeasuredWeights::kCols;
  MeasuredProduct product(kernels, pool, weights, tokens);
  Rng rng(1);
  std::vector<float> x(tokens * kCols);
  for (float& value : x) value = static_cast<float>(rng.Uniform() - 0.5);
  const auto kind = kernels::KindFor(weights.type);
  product.activations_ = TRY(Buffer::Allocate(kernels.ActivationBytes(kind, tokens, kCols)));
  kernels.Prepare(kind, x.data(), kCols, tokens, kCols, 0, tokens, product.activations_.data());
  const size_t rows = weights.panels * kernels::kPanelRows;
  product.out_ = TRY(Buffer::Allocate(rows * tokens * sizeof(float)));
  // Pages that come into being while they are written would count as work.
  std::memset(product.out_.data(), 0, product.out_.size());
  product.FitPass();
  return product;
}

void MeasuredProduct::Pass() {
  const size_t first = next_;
  const size_t count = std::min(panels_, weights_->panels - first);
  next_ = (first + count) % weights_->panels;
  const size_t items = std::min(count, size_t{pool_->threads()} * kPassItems);
  const size_t rows = weights_->panels * kernels::kPanelRows;
  const kernels::Weights matrix = {.type = weights_->type,
                                   .rows = rows,
                                   .cols = MeasuredWeights::kCols,
                                   .data = weights_->packed.data()};
  const kernels::Activations x = {.kind = kernels::KindFor(weights_->type),
                                  .tokens = tokens_,
                                  .cols = MeasuredWeights::kCols,
                                  .data = activations_.data()};
  pool_->Run(static_cast<uint32_t>(items), [&](uint32_t item, unsigned) {
    const size_t begin = first + count * item / items;
    const size_t end = first + count * (item + 1) / items;
    kernels_->MatMul(matrix, x, begin, end - begin, out_.As<float>().data(), rows, false);
  });
}

double MeasuredProduct::bytes() const {
  return static_cast<double>(panels_ * MeasuredWeights::PanelBytes(*kernels_, weights_->type));
}

double MeasuredProduct::ops() const {
  return 2.0 *
         static_cast<double>(panels_ * kernels::kPanelRows * MeasuredWeights::kCols * tokens_);
}

// As many panels as a pass has time for, in halves and doubles of the number of threads: all
// passes are alike. The fastest of a few decides: any of them may have been interrupted.
void MeasuredProduct::FitPass() {
  constexpr int kTries = 3;
  for (panels_ = pool_->threads(); 2 * panels_ <= weights_->panels; panels_ *= 2) {
    Time fastest = Time::max();
    for (int i = 0; i < kTries; ++i) {
      const Time begin = AwakeClock();
      Pass();
      fastest = std::min(fastest, AwakeClock() - begin);
    }
    if (fastest > kPassTime / 2) break;
  }
  // The last pass of a round is as long as the others.
  while (weights_->panels % panels_ != 0) --panels_;
}

}  // namespace exo::backend
