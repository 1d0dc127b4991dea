// How fast this device is: measured while it has nothing else to do, and corrected by what it
// computes for its models.
#include "backend/sampling.h"
#include "base/log.h"
#include "cluster/partition.h"
#include "node/disk_speed.h"
#include "node/known_speed.h"
#include "node/node_impl.h"
#include "sys/system.h"

namespace exo::node {
namespace {

// A device is quiet when this process has done nearly nothing for so long: no answers, and no files
// that are hashed or packed.
constexpr Time kQuietTime = std::chrono::seconds(3);
constexpr double kQuietCores = 0.05;
// Who has asked nothing for so long hardly asks in the second that comparing formats takes.
constexpr Time kLongQuietTime = std::chrono::seconds(30);
// Then it is measured again when the last time is so long ago: it may be cooler by now, or other
// programs may have ended. Half a second of work an hour.
constexpr Time kMeasureAgain = std::chrono::hours(1);

}  // namespace

// Plans are made meanwhile too: the planner has an assumption for a device of unknown speed.
void NodeImpl::StartMeasuring() {
  quota_ = sys::ReadCpuQuota();
  worked_at_ = quiet_since_ = disturbed_at_ = sys::Now();
  const auto costs = KnownCosts(*backend_, *state_);
  costs_known_ = costs.has_value();
  SetCosts(costs.value_or(backend::TypicalCosts()));
  // Until it is measured: a slow one.
  if (options_.stream_models) record_.devices[0].disk_gbps = cluster::kUnknownDiskGbps;
  if (const auto known = KnownSpeed(*backend_, *state_, quota_)) {
    speed_.SetMeasured(*known);
    PublishSpeed();
  }
  Measure();
}

void NodeImpl::Measure() {
  measuring_ = jobs_.Run(
      Jobs::Class::kCpu, {},
      [this, quota = quota_](const std::atomic<bool>&) {
        return MeasureSpeed(*backend_, *state_, quota);
      },
      [this](Result<backend::Speed> speed) { OnMeasured(std::move(speed)); });
}

void NodeImpl::OnMeasured(Result<backend::Speed> speed) {
  measuring_ = false;
  measure_at_ = sys::Now() + kMeasureAgain;
  if (!speed) {
    LOG(kWarning, "this device's speed was not measured: {}", speed.error().message);
    return;
  }
  if (!speed->alone) {
    measure_at_ = sys::Now();  // when it is quiet
    if (speed_.known().decode_gbps > 0) return;
  }
  speed_.SetMeasured(*speed);
  PublishSpeed();
}

// Once for a device: it takes a second, and no other work should be beside it.
void NodeImpl::MeasureFormats() {
  measuring_ = jobs_.Run(
      Jobs::Class::kCpu, {},
      [this](const std::atomic<bool>&) { return MeasureCosts(*backend_, *state_); },
      [this](Result<backend::WorkCosts> costs) {
        measuring_ = false;
        costs_known_ = true;
        if (costs) {
          SetCosts(*costs);
          FeedRecord();
        } else {
          LOG(kWarning, "what formats cost was not measured: {}", costs.error().message);
        }
      });
}

// Once there is a model to measure it by: the largest, which is the one that may not fit.
void NodeImpl::MeasureDisk() {
  if (disk_known_ || !options_.stream_models) return;
  std::string path;
  uint64_t most = kLeastMeasuredBytes - 1;
  for (const auto& file : models_->All()) {
    if (file->known().bytes <= most) continue;
    most = file->known().bytes;
    path = file->known().path;
  }
  if (path.empty()) return;
  const auto publish = [this](double gbps) {
    record_.devices[0].disk_gbps = gbps;
    FeedRecord();
  };
  disk_known_ = true;
  if (const auto known = KnownDiskSpeed(path, *state_)) return publish(*known);
  const auto measured = [publish](const Result<double>& gbps) {
    if (gbps) return publish(*gbps);
    LOG(kWarning, "the disk's speed was not measured: {}", gbps.error().message);
  };
  disk_known_ = jobs_.Run(
      Jobs::Class::kIo, path,
      [path, state = state_](const std::atomic<bool>&) { return MeasureDiskSpeed(path, *state); },
      measured);
}

void NodeImpl::SetCosts(const backend::WorkCosts& costs) {
  wire::DeviceRecord& device = record_.devices[0];
  device.layer_bytes = costs.layer_bytes;
  device.formats.clear();
  for (const backend::FormatCost& one : costs.formats)
    device.formats.push_back({static_cast<uint32_t>(one.type), one.decode, one.prefill});
}

void NodeImpl::PublishSpeed() {
  record_.devices[0].decode_gbps = speed_.known().decode_gbps;
  record_.devices[0].prefill_gops = speed_.known().prefill_gops;
  record_.devices[0].duty = speed_.known().duty;
  FeedRecord();
}

// A quota is known sooner than work can show it; it is measured again when it is quiet.
void NodeImpl::LookAtQuota() {
  const auto quota = sys::ReadCpuQuota();
  if (quota == quota_) return;
  quota_ = quota;
  measure_at_ = sys::Now();
  if (!(speed_.known().decode_gbps > 0)) return;
  speed_.SetDuty(backend::DutyUnder(quota, backend_->device().cores));
  PublishSpeed();
}

// About once a second.
void NodeImpl::LearnSpeed() {
  LookAtQuota();
  const Time now = sys::Now();
  const double seconds = std::chrono::duration<double>(now - worked_at_).count();
  const double cpu = sys::ProcessCpuSeconds();
  if (speed_.Learn(backend_->TakeWork(), seconds)) PublishSpeed();
  if (measuring_ || cpu - cpu_seconds_ > kQuietCores * seconds) quiet_since_ = disturbed_at_ = now;
  worked_at_ = now;
  cpu_seconds_ = cpu;
  MeasureDisk();
  if (now - quiet_since_ < kQuietTime) return;
  quiet_since_ = now;  // the next look is as far away
  if (!costs_known_ && speed_.known().decode_gbps > 0 && now - disturbed_at_ >= kLongQuietTime)
    return MeasureFormats();
  if (now >= measure_at_) Measure();
}

}  // namespace exo::node
