// One running completion: hears the node's answer and moves it to the client through the encoder of
// its dialect, whole or as a stream.
//
// Thread: the event loop. Destroying it destroys the Generation, which cancels it.
#pragma once

#include <memory>

#include "service/encoder.h"
#include "service/http/dialect.h"

namespace exo::service {

class Answer final : public Handler, public node::GenerateSink {
 public:
  Answer(Exchange& exchange, std::unique_ptr<Encoder> encoder, Caller caller);
  void Start(node::Api& api, node::GenerateRequest request);

  // For a client that has said elsewhere that it wants no answer any more: what computes it stops,
  // and it ends where it is. One that has not begun is 202 without a body.
  void Cancel();

  void SetPaused(bool paused) override;

  void OnStarted(const node::StartReport& report) override;
  void OnDelta(const node::Delta& delta) override;
  void OnDone(wire::FinishReason reason, const node::GenerateStats& stats) override;
  void OnError(const node::GenerateError& error) override;

 private:
  void Count(uint64_t tokens);

  Exchange& exchange_;
  const std::unique_ptr<Encoder> encoder_;
  const Caller caller_;
  const std::optional<StreamFormat> format_;
  bool started_ = false;
  bool ended_ = false;
  std::unique_ptr<node::Generation> generation_;  // last: destroyed first, as it calls this object
};

// What a request tells about the one who asks, and the memory of its body, handed on. Clients take
// turns where a model is busy: those with a key by it, others by address, program and the `user`
// that they name. Prefixes are shared within a key only, or between all who have none.
void TakeAsker(HttpRequest& from, std::string_view user, node::GenerateRequest& to);

// Begins an answer. `api` must outlive the server. What is computed counts for the caller's key,
// and an answer is no longer than what it had left at the beginning.
std::unique_ptr<Answer> StartAnswer(node::Api& api, node::GenerateRequest request,
                                    std::unique_ptr<Encoder> encoder, Caller caller,
                                    Exchange& exchange);

// What a completion route's `read` returns: the action that begins the answer.
Action Generate(node::Api& api, node::GenerateRequest request, std::unique_ptr<Encoder> encoder,
                Caller caller);

}  // namespace exo::service
