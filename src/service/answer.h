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
  Answer(Exchange& exchange, std::unique_ptr<Encoder> encoder);
  void Start(node::Api& api, node::GenerateRequest request);

  void SetPaused(bool paused) override;

  void OnStarted(const node::StartReport& report) override;
  void OnDelta(const node::Delta& delta) override;
  void OnDone(wire::FinishReason reason, const node::GenerateStats& stats) override;
  void OnError(const node::GenerateError& error) override;

 private:
  Exchange& exchange_;
  const std::unique_ptr<Encoder> encoder_;
  const std::optional<StreamFormat> format_;
  bool started_ = false;
  bool ended_ = false;
  std::unique_ptr<node::Generation> generation_;  // last: destroyed first, as it calls this object
};

// Clients take turns where a model is busy: a number for the one who asks, by address, program and
// the user it names.
uint64_t ClientNumber(std::string_view asker, std::string_view user);

// What a completion route's `read` returns. `api` must outlive the server.
Action Generate(node::Api& api, node::GenerateRequest request, std::unique_ptr<Encoder> encoder);

}  // namespace exo::service
