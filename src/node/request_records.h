// The calls of this node's clients: those that run and the last ones that have ended, with what is
// told of them, and the traces of the latest. No text of a prompt or an answer comes in here.
//
// Thread: the loop. Owner: Requests; a record is shared by the parts of its call.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "node/trace_record.h"

namespace exo::node {

// One call. Its parts are the texts of a batch and the choices of an answer; what is counted is
// that of all of them.
class RequestRecord {
 public:
  RequestRecord(uint64_t& version, const RequestId& id, std::string model, Asker asker, Time now);

  void OnWaiting();  // for a place
  void OnPrompt(uint64_t prompt_tokens);
  void OnPlaced(std::vector<NodeId> nodes);
  void OnTokens(uint64_t generated, uint64_t cached, Time now);
  // What the lead has measured of an answer that was too short to be timed here.
  void OnSpeed(double tokens_per_second);

  // Null: it is no longer kept.
  TraceRecord* trace() { return trace_.get(); }
  const TraceRecord* trace() const { return trace_.get(); }
  const RequestId& id() const { return view_.id; }
  bool has_ended() const { return running_ == 0; }
  // Without the names of nodes.
  const RequestView& view() const { return view_; }
  const std::vector<NodeId>& nodes() const { return nodes_; }

 private:
  friend class RequestRecords;

  uint64_t& version_;
  RequestView view_;
  std::vector<NodeId> nodes_;
  Time start_, first_token_{};
  uint64_t first_tokens_ = 0;                    // that came with the first ones
  size_t running_ = 0;                           // parts
  RequestState ended_as_ = RequestState::kDone;  // the first of those that failed
  std::unique_ptr<TraceRecord> trace_;
};

class RequestRecords {
 public:
  // A part of the call begins; the record is a new one unless another part has one.
  std::shared_ptr<RequestRecord> Begin(const RequestId& call, const std::string& model,
                                       const Asker& asker, Time now);
  // A part has ended: kDone, or kFailed or kCanceled with the reason. The first of these counts.
  void End(RequestRecord& record, RequestState how, const std::string& why);

  // Null: there is none (any more).
  std::shared_ptr<const RequestRecord> Find(const RequestId& id) const;
  // The newest first.
  std::vector<std::shared_ptr<const RequestRecord>> All() const;
  // Grows with each change of what All tells.
  uint64_t version() const { return version_; }

 private:
  void KeepTrace(const std::shared_ptr<RequestRecord>& record);

  uint64_t version_ = 0;
  std::map<RequestId, std::shared_ptr<RequestRecord>> records_;
  std::deque<RequestId> order_;  // by their beginning
  std::deque<RequestId> ended_;  // by their end
  std::deque<std::weak_ptr<RequestRecord>> traced_;
};

}  // namespace exo::node
