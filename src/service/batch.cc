#include "service/batch.h"

#include <algorithm>

#include "base/check.h"

namespace exo::service {
namespace {

// Answers in work: enough to fill steps with rows of several; more would only queue before other
// clients.
constexpr size_t kTogether = 16;

size_t Together(const std::vector<node::GenerateRequest>& requests) {
  CHECK(!requests.empty());
  return std::max<size_t>(1, kTogether / std::max<uint32_t>(1, requests[0].choices));
}

node::GenerateError OverQuota(const ApiError& quota, std::string message) {
  return {.error = {ErrorCode::kOverloaded, std::move(message)},
          .refusal = node::Refusal::kQuota,
          .retry_after_s = quota.retry_after};
}

}  // namespace

struct Batch::Part final : node::GenerateSink {
  Part(Batch& whole, size_t position) : batch(whole), at(position) {}

  void OnStarted(const node::StartReport& report) override {
    if (batch.ended_ || std::exchange(started, true)) return;
    if (!batch.reads_) batch.Count(report.prompt_tokens);
    batch.sink_.OnStarted(at, report);
  }
  void OnDelta(const node::Delta& delta) override {
    if (batch.ended_) return;
    batch.Count(delta.ids.size());
    batch.sink_.OnDelta(at, delta);
  }
  void OnDone(wire::FinishReason reason, const node::GenerateStats& stats) override {
    if (reason == wire::FinishReason::kError || reason == wire::FinishReason::kCancelled)
      return OnError({{ErrorCode::kCancelled, "the answer was ended by the node"}});
    OnStarted({.prompt_tokens = stats.prompt_tokens, .stages = stats.stages, .codec = stats.codec});
    batch.EndPart(at, reason, stats);
  }
  void OnError(const node::GenerateError& error) override { batch.Fail(at, error); }

  Batch& batch;
  const size_t at;
  bool started = false;
  std::unique_ptr<node::Generation> generation;
};

Batch::Batch(node::Api& api, std::vector<node::GenerateRequest> requests, Caller caller,
             BatchSink& sink)
    : api_(api),
      requests_(std::move(requests)),
      caller_(std::move(caller)),
      sink_(sink),
      together_(Together(requests_)),
      reads_(requests_[0].readout.has_value()),
      parts_(requests_.size()) {}

Batch::~Batch() = default;

void Batch::Begin() {
  if (const auto quota = CheckQuota(); !quota) {
    ended_ = true;
    return sink_.OnError(OverQuota(quota.error(), quota.error().message));
  }
  BeginMore();
}

void Batch::BeginMore() {
  while (!ended_ && !paused_ && next_ < requests_.size() && next_ - done_ < together_) {
    const size_t at = next_++;
    parts_[at] = std::make_unique<Part>(*this, at);
    parts_[at]->generation = api_.Generate(std::move(requests_[at]), *parts_[at]);
  }
}

void Batch::SetPaused(bool paused) {
  paused_ = paused;
  if (ended_) return;
  for (const auto& part : parts_) {
    if (part != nullptr && part->generation != nullptr) part->generation->SetPaused(paused);
  }
  BeginMore();
}

void Batch::Cancel() {
  ended_ = true;
  parts_.clear();
}

void Batch::Fail(size_t part, node::GenerateError error) {
  if (std::exchange(ended_, true)) return;
  if (requests_.size() > 1 && error.refusal == node::Refusal::kContextLength)
    error.error.message += fmt::format(" (text {} of {})", part + 1, requests_.size());
  sink_.OnError(error);
}

void Batch::EndPart(size_t part, wire::FinishReason reason, const node::GenerateStats& stats) {
  if (ended_) return;
  if (reads_) Count(stats.prompt_tokens);
  ++done_;
  ended_ = done_ == requests_.size();
  sink_.OnDone(part, reason, stats);
  if (ended_) return;
  const auto quota = CheckQuota();
  if (next_ == requests_.size() || quota) return BeginMore();
  ended_ = true;
  sink_.OnError(OverQuota(
      quota.error(), fmt::format("the quota of the key '{}' was used up after {} of {} texts; try "
                                 "again tomorrow",
                                 caller_.name, done_, requests_.size())));
}

void Batch::Count(uint64_t tokens) {
  if (caller_.gate != nullptr) caller_.gate->CountTokens(caller_, tokens);
}

Parsed<> Batch::CheckQuota() const {
  return caller_.gate == nullptr ? Parsed<>() : caller_.gate->CheckQuota(caller_);
}

}  // namespace exo::service
