#include "node/request_records.h"

#include <algorithm>

#include "sys/system.h"

namespace exo::node {
namespace {

// Tokens come in bundles: the time between two of them says nothing of the speed.
constexpr Time kLeastSpan = std::chrono::milliseconds(100);

}  // namespace

RequestRecord::RequestRecord(uint64_t& version, const RequestId& id, std::string model, Asker asker,
                             Time now)
    : version_(version), start_(now), trace_(std::make_unique<TraceRecord>(now)) {
  view_.id = id;
  view_.model = std::move(model);
  view_.asker = std::move(asker);
  view_.started_ms = sys::WallClockMilliseconds();
}

void RequestRecord::OnWaiting() {
  ++version_;
  if (view_.generated == 0) view_.state = RequestState::kQueued;
}

void RequestRecord::OnPrompt(uint64_t prompt_tokens) {
  ++version_;
  view_.prompt_tokens += prompt_tokens;
  if (view_.generated == 0) view_.state = RequestState::kPrompt;
}

void RequestRecord::OnPlaced(std::vector<NodeId> nodes) {
  ++version_;
  nodes_ = std::move(nodes);
}

void RequestRecord::OnTokens(uint64_t generated, uint64_t cached, Time now) {
  ++version_;
  view_.state = RequestState::kAnswering;
  view_.cached_tokens += cached;
  view_.generated += generated;
  if (first_token_ == Time{}) {
    first_token_ = now;
    first_tokens_ = generated;
    view_.ttft_ms = std::chrono::duration<double, std::milli>(now - start_).count();
  }
  if (now - first_token_ < kLeastSpan) return;
  const double seconds = std::chrono::duration<double>(now - first_token_).count();
  view_.tokens_per_second = static_cast<double>(view_.generated - first_tokens_) / seconds;
}

void RequestRecord::OnSpeed(double tokens_per_second) {
  if (view_.tokens_per_second > 0) return;
  ++version_;
  view_.tokens_per_second = tokens_per_second;
}

std::shared_ptr<RequestRecord> RequestRecords::Begin(const RequestId& call,
                                                     const std::string& model, const Asker& asker,
                                                     Time now) {
  ++version_;
  std::shared_ptr<RequestRecord>& record = records_[call];
  if (record == nullptr) {
    record = std::make_shared<RequestRecord>(version_, call, model, asker, now);
    order_.push_back(call);
    KeepTrace(record);
  } else if (record->has_ended()) {  // the next texts of a batch
    std::erase(ended_, call);
    record->view_.ended_ms = 0;
    record->view_.state =
        record->view_.generated > 0 ? RequestState::kAnswering : RequestState::kQueued;
  }
  ++record->running_;
  return record;
}

// The oldest one that has ended makes room, or the oldest.
void RequestRecords::KeepTrace(const std::shared_ptr<RequestRecord>& record) {
  if (traced_.size() == kKeptTraces) {
    auto out = std::ranges::find_if(traced_, [](const auto& one) {
      const auto kept = one.lock();
      return kept == nullptr || kept->has_ended();
    });
    if (out == traced_.end()) out = traced_.begin();
    if (const auto kept = out->lock()) kept->trace_.reset();
    traced_.erase(out);
  }
  traced_.push_back(record);
}

void RequestRecords::End(RequestRecord& record, RequestState how, const std::string& why) {
  ++version_;
  RequestView& view = record.view_;
  if (record.ended_as_ == RequestState::kDone) {
    record.ended_as_ = how;
    if (how != RequestState::kDone) view.error = why;
  }
  if (--record.running_ > 0) return;
  view.ended_ms = sys::WallClockMilliseconds();
  view.state = record.ended_as_;
  ended_.push_back(record.id());
  if (ended_.size() <= kKeptRequests) return;
  const RequestId oldest = ended_.front();
  ended_.pop_front();
  records_.erase(oldest);
  std::erase(order_, oldest);
}

std::shared_ptr<const RequestRecord> RequestRecords::Find(const RequestId& id) const {
  const auto found = records_.find(id);
  return found == records_.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const RequestRecord>> RequestRecords::All() const {
  std::vector<std::shared_ptr<const RequestRecord>> all;
  all.reserve(order_.size());
  for (auto id = order_.rbegin(); id != order_.rend(); ++id) all.push_back(records_.at(*id));
  return all;
}

}  // namespace exo::node
