#include "net/discovery.h"

#include <algorithm>
#include <map>

#include "base/log.h"
#include "net/beacon.h"
#include "net/interfaces.h"
#include "net/mdns.h"
#include "sys/system.h"

namespace exo::net {
namespace {

// A node counts for so long after its last announcement (every 10 s).
constexpr Time kHeardFor = std::chrono::minutes(1);
constexpr size_t kMaxHeard = 256;

class DiscoveryImpl final : public Discovery {
 public:
  DiscoveryImpl(EventLoop& loop, const ClusterSecret* secret, DiscoveryOptions options,
                std::function<void(const Found&)> on_found)
      : loop_(loop), secret_(secret), options_(options), on_found_(std::move(on_found)) {
    if (options_.beacon) StartBeacon();
    StartMdns();
    if (options_.scope == DiscoveryScope::kLan) {
      changes_ = std::make_unique<InterfaceChanges>(loop_, [this] {
        StartMdns();  // its records name the addresses
        Refresh();
      });
    }
  }

  void Refresh() override {
    if (beacon_) beacon_->Burst();
  }

  void SetInviting(bool inviting) override {
    if (beacon_) beacon_->SetInviting(inviting);
    if (inviting) Refresh();
  }

  std::vector<wire::Address> ForeignAddresses() const override {
    const Time now = sys::Now();
    std::vector<wire::Address> addresses;
    for (const auto& [address, heard] : foreign_) {
      if (now - heard < kHeardFor) addresses.push_back(address);
    }
    return addresses;
  }

  uint32_t foreign_nodes() const override {
    const Time now = sys::Now();
    return static_cast<uint32_t>(
        std::count_if(foreign_.begin(), foreign_.end(),
                      [now](const auto& entry) { return now - entry.second < kHeardFor; }));
  }

  DiscoveryReport Report() const override {
    DiscoveryReport report{
        .beacon_error = beacon_error_, .mdns_error = mdns_error_, .mdns = mdns_ != nullptr};
    if (beacon_) {
      report.beacon_port = options_.beacon_port;
      report.addresses = beacon_->interfaces();
      report.hears_itself = beacon_->HearsItself();
      report.send_error = beacon_->send_error();
    }
    for (const auto& [address, at] : members_) {
      if (sys::Now() - at < kHeardFor) report.heard.push_back(address);
    }
    return report;
  }

 private:
  void StartBeacon() {
    auto beacon =
        Beacon::Start(loop_, secret_, options_, [this](const Found& found) { Take(found); });
    if (beacon) {
      beacon_ = std::move(*beacon);
      beacon_error_.clear();
    } else {
      beacon_error_ = beacon.error().message;
      LOG(kWarning, "discovery without beacon: {}", beacon_error_);
    }
  }

  void StartMdns() {
    mdns_.reset();
    // The library leaves the loopback interface alone; the beacon is enough there.
    if (!options_.mdns || options_.scope == DiscoveryScope::kLoopback) return;
    auto mdns =
        Mdns::Start(loop_, secret_, options_.port, [this](const Found& found) { Take(found); });
    if (mdns) {
      mdns_ = std::move(*mdns);
      mdns_error_.clear();
    } else {
      mdns_error_ = mdns.error().message;
      LOG(kWarning, "discovery without mDNS: {}", mdns_error_);
    }
  }

  void Take(const Found& found) {
    auto& heard = found.same_cluster ? members_ : foreign_;
    const Time now = sys::Now();
    if (heard.size() >= kMaxHeard)
      std::erase_if(heard, [now](const auto& entry) { return now - entry.second >= kHeardFor; });
    if (heard.size() < kMaxHeard || heard.contains(found.address)) heard[found.address] = now;
    on_found_(found);
  }

  EventLoop& loop_;
  const ClusterSecret* secret_;
  const DiscoveryOptions options_;
  std::function<void(const Found&)> on_found_;
  std::map<wire::Address, Time> foreign_, members_;  // when last heard
  std::string beacon_error_;
  std::string mdns_error_;
  std::unique_ptr<Beacon> beacon_;
  std::unique_ptr<Mdns> mdns_;
  std::unique_ptr<InterfaceChanges> changes_;
};

}  // namespace

std::unique_ptr<Discovery> Discovery::Start(EventLoop& loop, const ClusterSecret* secret,
                                            DiscoveryOptions options,
                                            std::function<void(const Found&)> on_found) {
  return std::make_unique<DiscoveryImpl>(loop, secret, options, std::move(on_found));
}

}  // namespace exo::net
