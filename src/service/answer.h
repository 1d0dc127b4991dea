// One running completion: hears the node's answer and writes it to the client, whole or as a
// stream.
//
// Thread: the event loop. Destroying it destroys the Generation, which cancels it.
#pragma once

#include "service/exchange.h"
#include "service/parse_request.h"
#include "service/render.h"

namespace exo::service {

class Answer final : public Handler, public node::GenerateSink {
 public:
  Answer(Exchange& exchange, AnswerHead head, const CompletionCall& call);
  // Takes the request out of `call`.
  void Start(node::Api& api, CompletionCall& call);

  void SetPaused(bool paused) override;

  void OnStarted(uint32_t prompt_tokens) override;
  void OnText(std::string_view text, std::span<const TokenId> ids) override;
  void OnDone(wire::FinishReason reason, const node::GenerateStats& stats) override;
  void OnError(const node::GenerateError& error) override;

 private:
  void Fail(const ApiError& error);

  Exchange& exchange_;
  const AnswerHead head_;
  const bool stream_;
  const bool include_usage_;
  const std::string prompt_param_;
  bool streaming_ = false;  // headers are out
  bool ended_ = false;
  std::string text_;
  std::vector<TokenId> ids_;
  std::unique_ptr<node::Generation> generation_;  // last: destroyed first, as it calls this object
};

// The whole response of an error, with Retry-After where waiting helps.
HttpResponse ErrorResponse(const ApiError& error);
HttpResponse JsonResponse(const Json& json);

}  // namespace exo::service
