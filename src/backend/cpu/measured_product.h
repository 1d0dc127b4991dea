// A product with many weights of one format, over and over: as decode and prefill go through the
// weights of a model. What the measurements of a device repeat.
//
// Thread: one caller at a time.
#pragma once

#include "backend/buffer.h"
#include "base/result.h"
#include "base/units.h"
#include "kernels/kernels.h"
#include "sys/thread_pool.h"

namespace exo::backend {

// Not sys::Now(): a system that sleeps in between computes nothing, but is not slow.
Time AwakeClock();

// Random weights as kernels pack them: the same panel again and again.
struct MeasuredWeights {
  tensor::DType type = tensor::DType::kQ4_0;
  size_t panels = 0;
  Buffer packed;

  static constexpr size_t kCols = 2048;
  // Errors: kOverloaded (memory).
  static Result<MeasuredWeights> Make(const kernels::Kernels& kernels, tensor::DType type,
                                      size_t panels);
  static size_t PanelBytes(const kernels::Kernels& kernels, tensor::DType type);
};

class MeasuredProduct {
 public:
  // What it is given must outlive it. Errors: kOverloaded (memory).
  static Result<MeasuredProduct> Make(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                                      const MeasuredWeights& weights, size_t tokens);
  // Some panels after those of the last pass: a quarter of a millisecond, or less.
  void Pass();
  // Of a pass.
  double bytes() const;
  double ops() const;  // 2 per multiply-add

 private:
  MeasuredProduct(const kernels::Kernels& kernels, sys::ThreadPool& pool,
                  const MeasuredWeights& weights, size_t tokens)
      : kernels_(&kernels), pool_(&pool), weights_(&weights), tokens_(tokens) {}
  void FitPass();

  const kernels::Kernels* kernels_;
  sys::ThreadPool* pool_;
  const MeasuredWeights* weights_;
  size_t tokens_ = 0;
  size_t panels_ = 0;  // of a pass
  size_t next_ = 0;    // the first one of the next pass
  Buffer activations_, out_;
};

}  // namespace exo::backend
