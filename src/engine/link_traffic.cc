#include "engine/link_traffic.h"

#include <utility>

namespace exo::engine {

namespace {
// What smaller ones show is how long the way is, not how wide.
constexpr size_t kLargeFrame = 64 << 10;
}  // namespace

class LinkTraffic::CountedLink final : public DataLink {
 public:
  CountedLink(std::unique_ptr<DataLink> link, std::shared_ptr<Counters> counters)
      : link_(std::move(link)), counters_(std::move(counters)) {}

  Result<void> Send(const wire::Message& message, std::span<const std::byte> tensor,
                    Time deadline) override {
    counters_->sent.fetch_add(tensor.size(), std::memory_order_relaxed);
    auto sent = link_->Send(message, tensor, deadline);
    if (tensor.size() >= kLargeFrame) {
      if (const auto mbps = link_->SendMbps()) counters_->mbps.store(*mbps);
    }
    return sent;
  }
  Result<Outcome> Poll(Time deadline, int wake_fd) override {
    auto outcome = link_->Poll(deadline, wake_fd);
    if (outcome)
      counters_->received.fetch_add(outcome->frame.tensor.size(), std::memory_order_relaxed);
    return outcome;
  }
  void SetFrameLimit(uint64_t bytes) override { link_->SetFrameLimit(bytes); }
  void SetSpin(Time spin) override { link_->SetSpin(spin); }
  void Overlap() override { link_->Overlap(); }
  void Shutdown() override { link_->Shutdown(); }
  const NodeId& peer() const override { return link_->peer(); }
  std::optional<double> SendMbps() override { return link_->SendMbps(); }

 private:
  const std::unique_ptr<DataLink> link_;
  const std::shared_ptr<Counters> counters_;
};

std::unique_ptr<DataLink> LinkTraffic::Counted(std::unique_ptr<DataLink> link) {
  const MutexLock lock(mutex_);
  std::shared_ptr<Counters>& counters = counters_[link->peer()];
  if (counters == nullptr) counters = std::make_shared<Counters>();
  return std::make_unique<CountedLink>(std::move(link), counters);
}

std::map<NodeId, LinkBytes> LinkTraffic::Bytes() const {
  const MutexLock lock(mutex_);
  std::map<NodeId, LinkBytes> bytes;
  for (const auto& [peer, counters] : counters_)
    bytes[peer] = {counters->sent.load(), counters->received.load()};
  return bytes;
}

std::map<NodeId, double> LinkTraffic::TakeMbps() {
  const MutexLock lock(mutex_);
  std::map<NodeId, double> rates;
  for (const auto& [peer, counters] : counters_) {
    if (const double mbps = counters->mbps.exchange(0); mbps > 0) rates[peer] = mbps;
  }
  return rates;
}

}  // namespace exo::engine
