// How this device is, what it holds back for that, and that it stays awake while it answers.
#include <utility>

#include "base/log.h"
#include "node/node_impl.h"
#include "sys/system.h"

namespace exo::node {
namespace {

constexpr Time kLookPeriod = std::chrono::seconds(5);

uint32_t MinuteOfDay() {
  constexpr int64_t kDay = 24 * 60;
  return static_cast<uint32_t>(((sys::LocalSeconds() / 60) % kDay + kDay) % kDay);
}

}  // namespace

// Not on the loop: a driver or the bus may take its time. One look at a time, so that one that
// hangs leaves what was known.
void NodeImpl::LookAtHealth() {
  const Time now = sys::Now();
  if (looking_ || now < look_at_) return;
  look_at_ = now + kLookPeriod;
  struct Look {
    sys::Health health;
    std::optional<bool> somebody_works;
  };
  looking_ = jobs_.Run(
      Jobs::Class::kIo, "health",
      [reader = health_reader_, login = login_](const std::atomic<bool>&) {
        return Look{reader->Read(), login->SomebodyWorks()};
      },
      [this](Look look) {
        looking_ = false;
        const wire::HealthRecord health =
            shares_->Judge(look.health, look.somebody_works, MinuteOfDay(), sys::Now());
        if (health == record_.health) return;
        if (health.withheld != record_.health.withheld) {
          LOG(kInfo, "models may count on {} % of this device: {}",
              wire::kAllWithheld - health.withheld, cluster::DescribeHealth(health));
        }
        record_.health = health;
        FeedRecord();
      });
}

// About once a second. A device that computes a stage of others' answers must not sleep either.
void NodeImpl::StayAwakeForAnswers() {
  if (!options_.keep_awake) return;
  const uint64_t items = backend_->items_done();
  const bool computes = std::exchange(items_seen_, items) != items;
  awake_.Note(core_->entry_requests() + core_->lead_requests() > 0 || computes, sys::Now());
}

}  // namespace exo::node
