// Several requests to the node that make one answer: texts to read, or the prompts of a completion.
// Some are in work at a time, begun in their order; the first error ends all. What is computed
// counts for the caller's key, and nothing more is begun once its quota is used up.
//
// Thread: the event loop. Destroying it cancels what runs.
#pragma once

#include <memory>
#include <vector>

#include "node/api.h"
#include "service/http/access.h"

namespace exo::service {

// Hears of the requests by their position. After OnError, and after every OnDone, nothing more is
// called.
class BatchSink {
 public:
  virtual ~BatchSink() = default;
  virtual void OnStarted(size_t part, const node::StartReport& report) = 0;
  virtual void OnDelta(size_t part, const node::Delta& delta) = 0;
  virtual void OnDone(size_t part, wire::FinishReason reason, const node::GenerateStats& stats) = 0;
  virtual void OnError(const node::GenerateError& error) = 0;
};

class Batch {
 public:
  // `api` and `sink` must outlive it. At least one request.
  Batch(node::Api& api, std::vector<node::GenerateRequest> requests, Caller caller,
        BatchSink& sink);
  ~Batch();

  // Once; may call the sink already: with kQuota where the key has nothing left.
  void Begin();
  // What runs stops; the sink hears nothing more. Not from a call of the sink.
  void Cancel();
  // While paused nothing is produced or begun.
  void SetPaused(bool paused);

 private:
  struct Part;

  void BeginMore();
  void Fail(size_t part, node::GenerateError error);
  void EndPart(size_t part, wire::FinishReason reason, const node::GenerateStats& stats);
  void Count(uint64_t tokens);
  Parsed<> CheckQuota() const;

  node::Api& api_;
  std::vector<node::GenerateRequest> requests_;
  const Caller caller_;
  BatchSink& sink_;
  const size_t together_;
  const bool reads_;  // texts: each counts once it is read; a prompt counts when it is begun
  size_t next_ = 0, done_ = 0;
  bool paused_ = false, ended_ = false;
  std::vector<std::unique_ptr<Part>> parts_;  // last: their generations call this object
};

}  // namespace exo::service
