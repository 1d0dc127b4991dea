#include "engine/moved_pages.h"

namespace exo::engine {

void MovedPages::Expect(const PlanId& plan) {
  const MutexLock lock(mutex_);
  ++plans_[plan].running;
}

void MovedPages::Put(const PlanId& plan, const MovedPageName& name, uint32_t layer,
                     LayerPage page) {
  const MutexLock lock(mutex_);
  Plan& of = plans_[plan];
  if (of.dropped.contains(name.request)) return;
  const uint64_t bytes = page.bytes.size();
  if (bytes_ + bytes > limit_) return Drop(of, name.request);
  // A layer is computed by one stage, so that nothing is here twice.
  if (!of.requests[name.request].emplace(Key{name.index, layer}, std::move(page)).second) return;
  bytes_ += bytes;
}

// A part of a request's KV is worth nothing.
void MovedPages::Drop(Plan& plan, const RequestId& request) {
  plan.dropped.insert(request);
  const auto at = plan.requests.find(request);
  if (at == plan.requests.end()) return;
  for (const auto& [key, page] : at->second) bytes_ -= page.bytes.size();
  plan.requests.erase(at);
}

void MovedPages::Complete(const PlanId& plan, Time now) {
  const MutexLock lock(mutex_);
  const auto at = plans_.find(plan);
  if (at == plans_.end() || at->second.running == 0) return;
  at->second.since = now;
  if (--at->second.running == 0 && at->second.requests.empty()) plans_.erase(at);
  changed_.NotifyAll();
}

std::optional<LayerPage> MovedPages::Take(const PlanId& plan, const MovedPageName& name,
                                          uint32_t layer,
                                          std::chrono::steady_clock::time_point deadline) {
  const MutexLock lock(mutex_);
  for (;;) {
    const auto at = plans_.find(plan);
    if (at == plans_.end()) return std::nullopt;
    if (at->second.running == 0) break;
    if (!changed_.WaitUntil(mutex_, deadline)) return std::nullopt;
  }
  Plan& of = plans_.at(plan);
  const auto request = of.requests.find(name.request);
  if (request == of.requests.end()) return std::nullopt;
  auto found = request->second.extract(Key{name.index, layer});
  if (found.empty()) return std::nullopt;
  bytes_ -= found.mapped().bytes.size();
  if (request->second.empty()) of.requests.erase(request);
  if (of.requests.empty()) plans_.erase(plan);
  return std::move(found.mapped());
}

uint64_t MovedPages::CountedBytes(const Reserved& reserved) const {
  std::map<uint32_t, uint64_t> pages;  // of the layers that have memory
  uint64_t bytes = 0;
  for (const auto& [id, plan] : plans_) {
    for (const auto& [request, of] : plan.requests) {
      for (const auto& [key, page] : of) {
        const uint32_t layer = key.second;
        const bool in = layer >= reserved.layer_begin && layer < reserved.layer_end;
        if (!in || ++pages[layer] > reserved.pages) bytes += page.bytes.size();
      }
    }
  }
  return bytes;
}

void MovedPages::Limit(uint64_t bytes, const Reserved& reserved) {
  const MutexLock lock(mutex_);
  limit_ = bytes;
  for (auto& [id, plan] : plans_) {
    while (!plan.requests.empty() && CountedBytes(reserved) > limit_) {
      const RequestId request = plan.requests.begin()->first;
      Drop(plan, request);
    }
  }
}

void MovedPages::DropExpired(Time now) {
  const MutexLock lock(mutex_);
  for (auto at = plans_.begin(); at != plans_.end();) {
    if (at->second.running > 0 || now - at->second.since < keep_) {
      ++at;
      continue;
    }
    for (const auto& [request, pages] : at->second.requests) {
      for (const auto& [key, page] : pages) bytes_ -= page.bytes.size();
    }
    at = plans_.erase(at);
  }
}

uint64_t MovedPages::bytes() const {
  const MutexLock lock(mutex_);
  return bytes_;
}

}  // namespace exo::engine
