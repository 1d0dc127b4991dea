// Two ends of a data link inside one process, for tests of the loops: frames go through the real
// codec, nothing else is real.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <utility>

#include "backend/buffer.h"
#include "base/mutex.h"
#include "engine/data_link.h"
#include "sys/process.h"
#include "sys/system.h"
#include "wire/codec.h"

namespace exo::engine {

class TestLink final : public DataLink {
 public:
  // {an end for `a` that leads to `b`, an end for `b` that leads to `a`}. A frame takes `delay`.
  static std::pair<std::unique_ptr<TestLink>, std::unique_ptr<TestLink>> Pair(const NodeId& a,
                                                                              const NodeId& b,
                                                                              Time delay = {}) {
    const auto wire = std::make_shared<Wire>();
    wire->delay = delay;
    return {std::unique_ptr<TestLink>(new TestLink(wire, 0, b)),
            std::unique_ptr<TestLink>(new TestLink(wire, 1, a))};
  }
  ~TestLink() override { TestLink::Shutdown(); }

  Result<void> Send(const wire::Message& message, std::span<const std::byte> tensor,
                    Time) override {
    const MutexLock lock(wire_->mutex);
    if (wire_->broken) return Broken();
    wire_->frames[1 - end_].push_back({sys::Now() + wire_->delay,
                                       wire::EncodeFrame(message, 0, tensor.size()),
                                       {tensor.begin(), tensor.end()}});
    return {};
  }

  Result<Outcome> Poll(Time deadline, int wake_fd) override {
    for (;;) {
      {
        const MutexLock lock(wire_->mutex);
        const auto& frames = wire_->frames[end_];
        if (!frames.empty() && frames.front().at <= sys::Now()) return TakeFrame();
        if (wire_->broken) return Broken();
      }
      if (wake_fd >= 0 && sys::WaitReadable(wake_fd, std::chrono::milliseconds(1)))
        return Outcome{.event = Event::kWoken};
      if (sys::Now() >= deadline) return Outcome{.event = Event::kTimeout};
    }
  }

  void SetFrameLimit(uint64_t) override {}
  void Overlap() override {}
  void Shutdown() override {
    const MutexLock lock(wire_->mutex);
    wire_->broken = true;
  }
  const NodeId& peer() const override { return peer_; }

 private:
  struct Bytes {
    Time at{};  // when it arrives
    std::vector<std::byte> head;
    std::vector<std::byte> tensor;
  };
  struct Wire {
    Mutex mutex;
    bool broken = false;  // guarded by mutex
    Time delay{};
    std::deque<Bytes> frames[2];  // guarded by mutex; to each end
  };
  TestLink(std::shared_ptr<Wire> wire, size_t end, const NodeId& peer)
      : wire_(std::move(wire)), end_(end), peer_(peer) {}

  static std::unexpected<Error> Broken() {
    return Fail(ErrorCode::kDisconnected, "the link was cut");
  }
  Result<Outcome> TakeFrame() {
    const Bytes bytes = std::move(wire_->frames[end_].front());
    wire_->frames[end_].pop_front();
    const auto header = TRY(wire::ParseHeader(bytes.head, wire::kMaxDataFrame));
    message_ = TRY(wire::DecodeMessage(
        header.type, std::span(bytes.head).subspan(wire::kHeaderBytes, header.metadata_bytes)));
    rows_ = TRY(backend::Buffer::Allocate(bytes.tensor.size()));
    std::ranges::copy(bytes.tensor, rows_.data());  // there may be none
    return Outcome{
        .event = Event::kFrame,
        .frame = {.message = &message_, .tensor = std::span(rows_.data(), bytes.tensor.size())}};
  }

  const std::shared_ptr<Wire> wire_;
  const size_t end_;
  const NodeId peer_;
  wire::Message message_;
  backend::Buffer rows_;
};

}  // namespace exo::engine
