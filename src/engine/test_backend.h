// A backend that counts how often its stages are asked for logits, and for how many rows. For tests
// only.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "backend/backend.h"

namespace exo::engine {

struct LogitCount {
  std::atomic<size_t> calls{0}, rows{0};
};

class CountingBackend final : public backend::Backend {
 public:
  CountingBackend(backend::Backend& inner, LogitCount& count) : inner_(inner), count_(count) {}

  std::string Describe() const override { return inner_.Describe(); }
  const backend::DeviceInfo& device() const override { return inner_.device(); }
  NumericsId Numerics() const override { return inner_.Numerics(); }
  Result<backend::Speed> MeasureSpeed() override { return inner_.MeasureSpeed(); }
  Result<backend::WorkCosts> MeasureCosts() override { return inner_.MeasureCosts(); }
  void SetCosts(backend::WorkCosts costs) override { inner_.SetCosts(std::move(costs)); }
  backend::WorkDone TakeWork() override { return inner_.TakeWork(); }
  uint64_t items_done() const override { return inner_.items_done(); }
  std::chrono::nanoseconds busy() const override { return inner_.busy(); }
  std::string_view layout() const override { return inner_.layout(); }
  backend::StageBytes Estimate(const backend::StageSpec& spec) const override {
    return inner_.Estimate(spec);
  }
  Result<std::unique_ptr<backend::StageCompute>> Load(
      const backend::StageSpec& spec, backend::TensorSource& source,
      const std::function<void(uint64_t done, uint64_t total)>& progress,
      const std::atomic<bool>* cancel) override {
    return std::make_unique<Stage>(TRY(inner_.Load(spec, source, progress, cancel)), count_);
  }

 private:
  class Running final : public backend::Running {
   public:
    Running(std::unique_ptr<backend::Running> inner, LogitCount& count)
        : inner_(std::move(inner)), count_(count) {}
    Result<std::span<const float>> Wait() override { return inner_->Wait(); }
    Result<std::span<float>> Logits(size_t first, size_t count, uint32_t best) override {
      ++count_.calls;
      count_.rows += count;
      return inner_->Logits(first, count, best);
    }
    Result<std::span<const float>> States(size_t first, size_t count) override {
      return inner_->States(first, count);
    }

   private:
    const std::unique_ptr<backend::Running> inner_;
    LogitCount& count_;
  };

  class Stage final : public backend::StageCompute {
   public:
    Stage(std::unique_ptr<backend::StageCompute> inner, LogitCount& count)
        : inner_(std::move(inner)), count_(count) {}
    Result<void> Open(backend::SequenceId sequence, uint32_t capacity,
                      std::span<const backend::AdapterUse> adapters) override {
      return inner_->Open(sequence, capacity, adapters);
    }
    Result<void> Fork(backend::SequenceId from, uint32_t length, backend::SequenceId sequence,
                      uint32_t capacity) override {
      return inner_->Fork(from, length, sequence, capacity);
    }
    void Close(backend::SequenceId sequence) override { inner_->Close(sequence); }
    Result<void> Truncate(backend::SequenceId sequence, uint32_t length) override {
      return inner_->Truncate(sequence, length);
    }
    std::optional<size_t> SavedBytes(uint32_t positions, backend::PageForm form) const override {
      return inner_->SavedBytes(positions, form);
    }
    Result<void> SavePage(backend::SequenceId sequence, uint32_t first, uint32_t positions,
                          backend::PageForm form, std::span<std::byte> out) override {
      return inner_->SavePage(sequence, first, positions, form, out);
    }
    Result<void> LoadPage(backend::SequenceId sequence, uint32_t first, uint32_t count,
                          uint32_t positions, backend::PageForm form,
                          std::span<const std::byte> page) override {
      return inner_->LoadPage(sequence, first, count, positions, form, page);
    }
    Result<std::unique_ptr<backend::Running>> Run(const backend::Batch& batch) override {
      return std::make_unique<Running>(TRY(inner_->Run(batch)), count_);
    }
    uint64_t weights_bytes() const override { return inner_->weights_bytes(); }

   private:
    const std::unique_ptr<backend::StageCompute> inner_;
    LogitCount& count_;
  };

  backend::Backend& inner_;
  LogitCount& count_;
};

}  // namespace exo::engine
