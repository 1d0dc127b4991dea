#include "backend/cpu/resident_copy.h"

#include <algorithm>
#include <cstring>

#include "base/thread.h"
#include "base/units.h"
#include "sys/system.h"

namespace exo::backend {
namespace {

// Copied between two looks at whether to stop.
constexpr uint64_t kPart = 1 * kMiB;
// Where a tensor begins.
constexpr uint64_t kAlignment = 64;
// Memory is taken only where so much more is available.
constexpr uint64_t kReserve = 256 * kMiB;

}  // namespace

ResidentCopy::ResidentCopy(const kernels::Kernels& kernels, StageWeights& weights)
    : weights_(weights) {
  if (weights.broken == nullptr) return;
  const auto one = [&](Matrix& matrix) { Plan(kernels, {&matrix.weights}, matrix.owner); };
  const auto all = [&](Matrices& matrices) {
    std::vector<kernels::Weights*> each;
    for (kernels::Weights& matrix : matrices.weights) each.push_back(&matrix);
    Plan(kernels, std::move(each), matrices.owner);
  };
  for (LayerWeights& layer : weights.layers) {
    for (Matrix* matrix : {&layer.q, &layer.k, &layer.v, &layer.o, &layer.gate, &layer.up,
                           &layer.down, &layer.router, &layer.shared_router})
      one(*matrix);
    for (Matrices* matrices : {&layer.gate_exps, &layer.up_exps, &layer.down_exps}) all(*matrices);
    for (PartOfMatrix& part : layer.o_parts) one(part.matrix);
    for (PartOfMatrix& part : layer.down_parts) one(part.matrix);
  }
  one(weights.output);
  one(weights.embedding);
  if (moves_.empty() || sys::ReadMemory().available < bytes_ + kReserve) return;
  auto memory = Buffer::Allocate(bytes_);
  if (!memory) return;
  memory_ = std::move(*memory);
  std::byte* at = memory_.data();
  for (Move& move : moves_) {
    move.to = at;
    at += RoundUp(move.weights.size() * move.matrix_bytes, kAlignment);
  }
  thread_ = StartThread([this] { Main(); });
}

ResidentCopy::~ResidentCopy() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
}

void ResidentCopy::Plan(const kernels::Kernels& kernels, std::vector<kernels::Weights*> weights,
                        std::shared_ptr<const void>& owner) {
  if (owner == nullptr || weights.empty()) return;
  const kernels::Weights& first = *weights[0];
  const uint64_t bytes = kernels.PackedBytes(first.type, first.rows, first.cols);
  moves_.push_back({.weights = std::move(weights),
                    .owner = &owner,
                    .matrix_bytes = bytes,
                    .from = first.data,
                    .to = nullptr});
  bytes_ += RoundUp(moves_.back().weights.size() * bytes, kAlignment);
}

void ResidentCopy::Main() {
  sys::LowerThreadPriority();
  for (const Move& move : moves_) {
    if (!Copy(move)) return;
    copied_.fetch_add(1, std::memory_order_release);
  }
}

// False when it was stopped, or the file lost pages: then nobody may use what was read.
bool ResidentCopy::Copy(const Move& move) const {
  const uint64_t bytes = move.weights.size() * move.matrix_bytes;
  for (uint64_t at = 0; at < bytes; at += kPart) {
    if (stop_.load(std::memory_order_relaxed)) return false;
    std::memcpy(move.to + at, move.from + at, std::min(kPart, bytes - at));
  }
  return !weights_.broken->load();
}

void ResidentCopy::Adopt() {
  const size_t copied = copied_.load(std::memory_order_acquire);
  if (adopted_ == copied) return;
  for (; adopted_ < copied; ++adopted_) {
    const Move& move = moves_[adopted_];
    for (size_t i = 0; i < move.weights.size(); ++i)
      move.weights[i]->data = move.to + i * move.matrix_bytes;
  }
  if (!complete()) return;
  // Nothing of the file is used any more: what becomes of it does not matter.
  thread_.join();
  weights_.broken = nullptr;
  for (const Move& move : moves_) move.owner->reset();
}

}  // namespace exo::backend
