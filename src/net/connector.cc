#include "net/connector.h"

#include <algorithm>
#include <thread>

#include "base/log.h"
#include "base/thread.h"
#include "sys/files.h"

namespace exo::net {

struct Connector::Target {
  Target(EventLoop& loop, wire::Address k) : key(std::move(k)), timer(loop) {}

  wire::Address key;
  bool fixed = false;  // named by the user: never forgotten
  bool self = false;
  bool refused = false;
  std::optional<NodeId> id;  // who was there, or is expected there
  uint32_t failures = 0;
  enum class State {
    kResting,
    kWaiting,
    kResolving,
    kConnecting,
    kHandedOver
  } state = State::kResting;
  Timer timer;
  std::vector<wire::Address> addresses;  // of this attempt, last one first
  Fd fd;
  std::unique_ptr<FdWatch> watch;  // after fd: destroyed first
};

Connector::Connector(EventLoop& loop, Host& host, std::string bind_host)
    : loop_(loop),
      host_(host),
      bind_host_(std::move(bind_host)),
      rng_(sys::RandomValue<uint64_t>()) {}

Connector::~Connector() {
  Stop();
}

Connector::Target* Connector::Find(const wire::Address& key) {
  const auto at = targets_.find(key);
  return at == targets_.end() ? nullptr : at->second.get();
}

// Forgets the hint that failed most often, when there are too many.
bool Connector::MakeRoom() {
  if (targets_.size() < kMaxTargets) return true;
  auto worst = targets_.end();
  for (auto at = targets_.begin(); at != targets_.end(); ++at) {
    const Target& t = *at->second;
    if (t.fixed || t.failures == 0 || t.state != Target::State::kWaiting) continue;
    if (worst == targets_.end() || t.failures > worst->second->failures) worst = at;
  }
  if (worst == targets_.end()) return false;
  targets_.erase(worst);
  return true;
}

void Connector::AddStatic(const wire::Address& address) {
  if (!*alive_) return;
  Target* target = Find(address);
  if (target == nullptr) {
    target =
        targets_.emplace(address, std::make_unique<Target>(loop_, address)).first->second.get();
    Schedule(*target, Time(0));
  }
  target->fixed = true;
}

void Connector::AddHint(const wire::Address& address, const std::optional<NodeId>& id) {
  if (!*alive_) return;
  Target* target = Find(address);
  if (target == nullptr) {
    if (address.port == 0 || !MakeRoom()) return;
    target =
        targets_.emplace(address, std::make_unique<Target>(loop_, address)).first->second.get();
    target->id = id;
    if (!(id && host_.IsUp(*id))) Schedule(*target, Time(0));
    return;
  }
  if (id) target->id = id;
  if (target->self || target->refused) return;
  if (target->id && host_.IsUp(*target->id)) return;
  // Heard again: no reason to wait for the end of a long back-off.
  if (target->state == Target::State::kResting ||
      (target->state == Target::State::kWaiting && target->failures > 1)) {
    target->failures = 1;
    Retry(*target);
  }
}

void Connector::Schedule(Target& target, Time delay) {
  target.state = Target::State::kWaiting;
  const double jitter = 0.8 + 0.4 * rng_.Uniform();
  target.timer.Start(Time(static_cast<int64_t>(static_cast<double>(delay.count()) * jitter)),
                     [this, &target] { Begin(target); });
}

void Connector::Retry(Target& target) {
  target.watch.reset();
  target.fd.Close();
  if (!target.fixed && target.failures >= kMaxHintFailures) {
    // Not from inside its own timer or watch.
    target.state = Target::State::kResting;
    loop_.Post([this, alive = alive_, key = target.key] {
      if (!*alive) return;
      const Target* again = Find(key);
      if (again != nullptr && again->state == Target::State::kResting) targets_.erase(key);
    });
    return;
  }
  const uint32_t doublings = std::min(target.failures > 0 ? target.failures - 1 : 0, 5u);
  Schedule(target, std::min(kFirstRetry * (1 << doublings), kLastRetry));
}

void Connector::Begin(Target& target) {
  if (target.id && host_.IsUp(*target.id)) {
    target.state = Target::State::kResting;
    return;
  }
  target.refused = false;
  if (ToSocketAddress(target.key)) {
    target.addresses = {target.key};
    return Try(target);
  }
  target.state = Target::State::kResolving;
  // getaddrinfo has no time limit and cannot be stopped: the thread is left alone, and its answer
  // may find nobody. One per name at a time, and names come from the user only.
  StartThread([this, gate = gate_, key = target.key] {
    auto found = Resolve(key.host, key.port);
    const MutexLock lock(gate->mutex);
    if (!gate->open) return;
    loop_.Post([this, alive = alive_, key, found = std::move(found)] {
      if (!*alive) return;
      Target* again = Find(key);
      if (again == nullptr) return;
      if (found.empty() && again->failures == 0) {
        LOG(kWarning, "the peer {}:{} is not known to the name service; trying on", key.host,
            key.port);
      }
      again->addresses = found;
      std::reverse(again->addresses.begin(), again->addresses.end());
      Try(*again);
    });
  }).detach();
}

void Connector::Try(Target& target) {
  target.watch.reset();
  target.fd.Close();
  while (!target.addresses.empty()) {
    const wire::Address address = target.addresses.back();
    target.addresses.pop_back();
    auto fd = BeginConnect(address, bind_host_);
    if (!fd) continue;
    target.state = Target::State::kConnecting;
    target.fd = std::move(*fd);
    target.watch = std::make_unique<FdWatch>(loop_, target.fd.get());
    target.watch->OnWritable([this, &target] { Connected(target); });
    target.timer.Start(kConnectTimeout, [this, &target] { Try(target); });
    return;
  }
  ++target.failures;
  Retry(target);
}

void Connector::Connected(Target& target) {
  if (ConnectError(target.fd.get()) != 0) return Try(target);
  target.timer.Cancel();
  target.watch.reset();
  target.state = Target::State::kHandedOver;
  host_.OnConnected(std::move(target.fd), target.key);
}

void Connector::Finished(const wire::Address& key, Outcome outcome,
                         const std::optional<NodeId>& id) {
  Target* target = Find(key);
  if (target == nullptr || target->state != Target::State::kHandedOver) return;
  if (outcome == Outcome::kUp || outcome == Outcome::kSame) target->id = id;
  switch (outcome) {
    case Outcome::kUp:
    case Outcome::kSame:
      target->failures = 0;
      target->state = Target::State::kResting;
      // The other connection may be gone again, or never have come up.
      if (!(id && host_.IsUp(*id))) Schedule(*target, kFirstRetry);
      return;
    case Outcome::kSelf:
      target->self = true;
      target->state = Target::State::kResting;
      return;
    case Outcome::kRefused:
      target->refused = true;
      target->failures = std::max(target->failures + 1, 6u);
      return Retry(*target);
    case Outcome::kFailed:
      ++target->failures;
      return Retry(*target);
  }
}

void Connector::OnDown(const NodeId& id) {
  for (auto& [key, target] : targets_) {
    if (target->id != id || target->self) continue;
    if (target->state != Target::State::kResting && target->state != Target::State::kWaiting)
      continue;
    target->failures = 0;
    Schedule(*target, kAfterDrop);
  }
}

void Connector::OnLeft(const NodeId& id) {
  constexpr uint32_t kAsAfter = 3;  // failures: about 4 s
  for (auto& [key, target] : targets_) {
    if (target->id != id || target->self) continue;
    if (target->state != Target::State::kResting && target->state != Target::State::kWaiting)
      continue;
    target->failures = kAsAfter;
    Retry(*target);
  }
}

void Connector::RetryRefused() {
  for (auto& [key, target] : targets_) {
    if (!target->refused || target->state != Target::State::kWaiting) continue;
    target->refused = false;
    target->failures = 0;
    Schedule(*target, Time(0));
  }
}

void Connector::Moved(const NodeId& id, const wire::Address& address) {
  std::erase_if(targets_, [&](const auto& entry) {
    const Target& target = *entry.second;
    return target.id == id && !target.fixed && entry.first.port != address.port &&
           (target.state == Target::State::kResting || target.state == Target::State::kWaiting);
  });
  AddHint(address, id);
}

void Connector::Stop() {
  *alive_ = false;
  {
    const MutexLock lock(gate_->mutex);
    gate_->open = false;
  }
  targets_.clear();
}

void Connector::Forget(const NodeId& id) {
  std::erase_if(targets_,
                [&](const auto& entry) { return entry.second->id == id && !entry.second->fixed; });
}

std::vector<wire::Address> Connector::AddressesOf(const NodeId& id) const {
  std::vector<wire::Address> found;
  for (const auto& [key, target] : targets_) {
    if (target->id == id) found.push_back(key);
  }
  return found;
}

}  // namespace exo::net
