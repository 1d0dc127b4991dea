// One running completion: hears the node's answer and moves it to the client through the encoder of
// its dialect, whole or as a stream.
//
// Thread: the event loop. Destroying it cancels the answer.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <vector>

#include "service/batch.h"
#include "service/encoder.h"
#include "service/http/dialect.h"

namespace exo::service {

class Answer final : public Handler, public BatchSink {
 public:
  // The answer to one prompt, or to several of the same model and number of choices: choice c of
  // prompt p is the encoder's choice p * choices + c.
  Answer(Exchange& exchange, std::unique_ptr<Encoder> encoder, node::Api& api,
         std::vector<node::GenerateRequest> requests, Caller caller);
  void Begin() { batch_.Begin(); }

  // For a client that has said elsewhere that it wants no answer any more: what computes it stops,
  // and it ends where it is. One that has not begun is 202 without a body.
  void Cancel();

  void SetPaused(bool paused) override { batch_.SetPaused(paused); }

  void OnStarted(size_t part, const node::StartReport& report) override;
  void OnDelta(size_t part, const node::Delta& delta) override;
  void OnDone(size_t part, wire::FinishReason reason, const node::GenerateStats& stats) override;
  void OnError(const node::GenerateError& error) override;

 private:
  void Add(size_t part, wire::FinishReason reason, const node::GenerateStats& stats);
  void Finish();
  double MillisecondsTaken() const;

  Exchange& exchange_;
  const std::unique_ptr<Encoder> encoder_;
  const std::optional<StreamFormat> format_;
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  const size_t parts_;
  const uint32_t choices_;  // of each part
  size_t done_ = 0;
  double first_token_ms_ = 0;  // 0: none has come
  bool started_ = false, ended_ = false;
  node::GenerateStats stats_;  // of all parts
  Batch batch_;                // last: it calls this object
};

// What a request tells about the one who asks, and the memory of its body, handed on. Clients take
// turns where a model is busy: those with a key by it, others by address, program and the `user`
// that they name. Prefixes are shared within a key only, or between all who have none.
void TakeAsker(HttpRequest& from, std::string_view user, node::GenerateRequest& to);
void TakeAsker(HttpRequest& from, std::string_view user, std::span<node::GenerateRequest> to);

// Begins an answer. `api` must outlive the server. What is computed counts for the caller's key,
// and an answer is no longer than what it had left at the beginning.
std::unique_ptr<Answer> StartAnswer(node::Api& api, std::vector<node::GenerateRequest> requests,
                                    std::unique_ptr<Encoder> encoder, Caller caller,
                                    Exchange& exchange);

// What a completion route's `read` returns: the action that begins the answer.
Action Generate(node::Api& api, node::GenerateRequest request, std::unique_ptr<Encoder> encoder,
                Caller caller);
Action Generate(node::Api& api, std::vector<node::GenerateRequest> requests,
                std::unique_ptr<Encoder> encoder, Caller caller);

}  // namespace exo::service
