#include "backend/cpu/measure_costs.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "backend/cpu/measured_product.h"
#include "backend/sampling.h"
#include "tensor/blocks.h"
#include "tensor/float16.h"

namespace exo::backend {
namespace {

using tensor::DType;

// More than what a large L3 cache keeps.
constexpr size_t kWeightBytes = 64 << 20;
constexpr size_t kPrefillTokens = 64;
constexpr uint32_t kTurns = 24;
constexpr uint32_t kLayerTurns = 96;  // longer passes, of which fewer are undisturbed
constexpr uint32_t kStages = 4;
// Of the models that people run; the others cost what is typical.
constexpr DType kCommonTypes[] = {DType::kF16,  DType::kBF16,   DType::kQ8_0,
                                  DType::kQ3_K, DType::kQ4_K,   DType::kQ5_K,
                                  DType::kQ6_K, DType::kIQ4_XS, DType::kMXFP4};

// A layer of an ordinary model of a billion weights, whose matrices are the same bytes.
class PlainLayer final : public TensorSource {
 public:
  static constexpr uint32_t kWidth = 2048;
  static constexpr uint32_t kFfnWidth = 4096;
  static constexpr uint32_t kKvWidth = 512;

  PlainLayer() {
    config_->architecture = "llama";
    config_->layers = 1;
    config_->width = kWidth;
    config_->ffn_width = kFfnWidth;
    config_->head_dim = config_->rotary_dim = 64;
    config_->heads = kWidth / config_->head_dim;
    config_->kv_heads = kKvWidth / config_->head_dim;
    config_->context = kPositions;
    AddLayer();
    matrix_.resize(uint64_t{kFfnWidth} * RowBytes(kWidth));
    const uint16_t scale = tensor::FloatToHalf(0.01f);
    const uint64_t block = tensor::Info(DType::kQ4_0).block_bytes;
    for (uint64_t at = 0; at < matrix_.size(); at += block)
      tensor::SetScale(DType::kQ4_0, scale, &matrix_[at]);
  }

  StageSpec Spec() const {
    return {.config = config_, .tensors = tensors_, .layer_end = 1, .chunk = kPositions};
  }
  Result<std::span<const std::byte>> Read(const model::TensorRef& tensor, uint64_t,
                                          uint64_t bytes) override {
    const auto from = tensor.vector ? std::as_bytes(std::span(gains_)) : std::span(matrix_);
    return std::span<const std::byte>(from).first(bytes);
  }
  void Done(const model::TensorRef&, uint64_t, uint64_t) override {}

  static constexpr uint32_t kPositions = 128;

 private:
  static uint64_t RowBytes(uint32_t cols) {
    const tensor::DTypeInfo& info = tensor::Info(DType::kQ4_0);
    return uint64_t{cols} / info.block_values * info.block_bytes;
  }
  void AddLayer() {
    const auto matrix = [](const char* part, uint32_t rows, uint32_t cols) {
      model::TensorRef tensor{.name = part, .type = DType::kQ4_0, .rows = rows, .cols = cols};
      tensor.bytes = rows * RowBytes(cols);
      return tensor;
    };
    const auto gain = [](const char* part) {
      model::TensorRef tensor{.name = part, .type = DType::kF32, .rows = 1, .cols = kWidth};
      tensor.vector = true;
      tensor.bytes = kWidth * sizeof(float);
      return tensor;
    };
    model::LayerTensors& layer = tensors_->layers.emplace_back();
    layer.attn_norm = gain("attn_norm");
    layer.attn_q = matrix("attn_q", kWidth, kWidth);
    layer.attn_k = matrix("attn_k", kKvWidth, kWidth);
    layer.attn_v = matrix("attn_v", kKvWidth, kWidth);
    layer.attn_output = matrix("attn_output", kWidth, kWidth);
    layer.ffn_norm = gain("ffn_norm");
    layer.ffn_gate = matrix("ffn_gate", kFfnWidth, kWidth);
    layer.ffn_up = matrix("ffn_up", kFfnWidth, kWidth);
    layer.ffn_down = matrix("ffn_down", kWidth, kFfnWidth);
  }

  std::shared_ptr<model::ModelConfig> config_ = std::make_shared<model::ModelConfig>();
  std::shared_ptr<model::ModelTensors> tensors_ = std::make_shared<model::ModelTensors>();
  std::vector<std::byte> matrix_;
  const std::vector<float> gains_ = std::vector<float>(kWidth, 1.0f);
};

// One row through such a layer, behind half of its context, again and again.
class PlainStage {
 public:
  static Result<PlainStage> Make(Backend& backend) {
    PlainLayer layer;
    PlainStage stage;
    stage.compute_ = TRY(backend.Load(layer.Spec(), layer, [](uint64_t, uint64_t) {}, nullptr));
    stage.bytes_ = static_cast<double>(backend.Estimate(layer.Spec()).read_per_token);
    TRY(stage.compute_->Open(kSequence, PlainLayer::kPositions));
    TRY(stage.Run(0, kBehind));
    return stage;
  }

  Result<void> Row() { return Run(kBehind, 1); }
  double bytes() const { return bytes_; }

 private:
  static constexpr SequenceId kSequence = 1;
  static constexpr uint32_t kBehind = PlainLayer::kPositions / 2;

  Result<void> Run(uint32_t first, uint32_t rows) {
    const std::vector<float> hidden(size_t{rows} * PlainLayer::kWidth, 0.01f);
    const Segment segment{.sequence = kSequence, .first = first, .count = rows};
    const auto running = TRY(compute_->Run({.segments = std::span(&segment, 1), .hidden = hidden}));
    TRY(running->Wait());
    return {};
  }

  std::unique_ptr<StageCompute> compute_;
  double bytes_ = 0;
};

class Comparison {
 public:
  Comparison(const kernels::Kernels& kernels, sys::ThreadPool& pool, Backend& backend)
      : kernels_(kernels), pool_(pool), backend_(backend) {}

  Result<WorkCosts> All() {
    const MeasuredWeights base = TRY(Weights(DType::kQ4_0));
    MeasuredProduct decode = TRY(MeasuredProduct::Make(kernels_, pool_, base, 1));
    MeasuredProduct prefill = TRY(MeasuredProduct::Make(kernels_, pool_, base, kPrefillTokens));
    WorkCosts costs = TypicalCosts();
    costs.layer_bytes = TRY(LayerBytes(decode));
    for (const DType type : kCommonTypes) {
      std::erase_if(costs.formats, [&](const FormatCost& one) { return one.type == type; });
      costs.formats.push_back(TRY(CostOf(type, decode, prefill)));
    }
    return costs;
  }

 private:
  Result<MeasuredWeights> Weights(DType type) const {
    const size_t panel = MeasuredWeights::PanelBytes(kernels_, type);
    // In whole passes of any number of threads.
    constexpr size_t kRound = 64;
    return MeasuredWeights::Make(kernels_, type, kWeightBytes / panel / kRound * kRound);
  }
  static double Relative(MeasuredProduct& work, MeasuredProduct& base) {
    return RelativeTime([&] { work.Pass(); }, [&] { base.Pass(); }, kTurns, AwakeClock);
  }
  Result<FormatCost> CostOf(DType type, MeasuredProduct& decode, MeasuredProduct& prefill) const {
    const MeasuredWeights weights = TRY(Weights(type));
    MeasuredProduct one = TRY(MeasuredProduct::Make(kernels_, pool_, weights, 1));
    MeasuredProduct many = TRY(MeasuredProduct::Make(kernels_, pool_, weights, kPrefillTokens));
    return FormatCost{.type = type,
                      .decode = Relative(one, decode) * decode.bytes() / one.bytes(),
                      .prefill = Relative(many, prefill) * prefill.ops() / many.ops()};
  }
  // What a row takes in a layer, less what its weights take.
  Result<double> LayerBytes(MeasuredProduct& decode) const {
    // Several, so that no cache keeps the weights of one until its next turn.
    std::vector<PlainStage> stages;
    for (uint32_t i = 0; i < kStages; ++i) stages.push_back(TRY(PlainStage::Make(backend_)));
    Result<void> ran;
    uint32_t turn = 0;
    const auto row = [&] {
      if (auto done = stages[turn++ % kStages].Row(); !done) ran = std::move(done);
    };
    const double passes = RelativeTime(row, [&] { decode.Pass(); }, kLayerTurns, AwakeClock);
    TRY(std::move(ran));
    return std::max(passes * decode.bytes() - stages[0].bytes(), 0.0);
  }

  const kernels::Kernels& kernels_;
  sys::ThreadPool& pool_;
  Backend& backend_;
};

}  // namespace

Result<WorkCosts> MeasureCosts(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                               Backend& backend) {
  return Comparison(kernels, pool, backend).All();
}

}  // namespace exo::backend
