#include "service/openai/completions.h"

#include "service/answer.h"
#include "service/openai/encode.h"
#include "service/openai/errors.h"
#include "service/openai/ids.h"
#include "sys/files.h"

namespace exo::service::openai {
namespace {

EncoderOptions OptionsOf(const CompletionCall& call) {
  return {.id = NewId(call.chat ? "chatcmpl-" : "cmpl-"),
          .model = call.requests[0].model,
          .prompt_param = call.chat ? "messages" : "prompt",
          .created = SecondsNow(),
          .chat = call.chat,
          .stream = call.stream,
          .include_usage = call.include_usage,
          .prompts = static_cast<uint32_t>(call.requests.size()),
          .choices = call.choices,
          .drawn = call.requests[0].choices,
          .logprobs = call.logprobs};
}

// Several prompts are answered with one seed, which is told.
void ShareSeed(std::vector<node::GenerateRequest>& requests) {
  if (requests.size() == 1 || requests[0].has_seed) return;
  const auto seed = sys::RandomValue<uint64_t>();
  for (node::GenerateRequest& request : requests) {
    request.sampler.seed = seed;
    request.has_seed = true;
  }
}

// Finds the texts of the prompts, which come before their answers, then answers.
class Echoing final : public Handler {
 public:
  Echoing(node::Api& api, CompletionCall call, Caller caller, Exchange& exchange)
      : api_(api), call_(std::move(call)), caller_(std::move(caller)), exchange_(exchange) {}

  void SetPaused(bool paused) override {
    paused_ = paused;
    if (answer_ != nullptr) answer_->SetPaused(paused);
  }
  void FindNext() {
    while (texts_.size() < call_.requests.size()) {
      const node::GenerateRequest& next = call_.requests[texts_.size()];
      if (!next.prompt) return Detokenize(next);
      texts_.push_back(*next.prompt);
    }
    EncoderOptions options = OptionsOf(call_);
    options.echo = std::move(texts_);
    answer_ = Generate(api_, std::move(call_.requests), MakeEncoder(std::move(options)),
                       std::move(caller_))(exchange_);
    if (answer_ != nullptr && paused_) answer_->SetPaused(true);
  }

 private:
  void Detokenize(const node::GenerateRequest& request) {
    api_.Detokenize(request.model, *request.prompt_ids,
                    [this, alive = std::weak_ptr<char>(alive_)](Result<std::string> text) {
                      if (alive.expired()) return;
                      if (text) {
                        texts_.push_back(*std::move(text));
                        return FindNext();
                      }
                      ApiError error = FromModelError(text.error());
                      if (text.error().code == ErrorCode::kInvalid) error.param = "prompt";
                      exchange_.Send(ErrorResponse(error));
                    });
  }

  node::Api& api_;
  CompletionCall call_;
  Caller caller_;
  Exchange& exchange_;
  std::vector<std::string> texts_;
  bool paused_ = false;
  std::unique_ptr<Handler> answer_;
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

}  // namespace

Parsed<Action> AnswerCompletion(node::Api& api, HttpRequest& request, Parsed<CompletionCall> read) {
  CompletionCall call = TRY(std::move(read));
  TakeAsker(request, call.user, call.requests);
  ShareSeed(call.requests);
  if (!call.echo) {
    auto encoder = MakeEncoder(OptionsOf(call));
    return Generate(api, std::move(call.requests), std::move(encoder), request.caller);
  }
  return [&api, call = std::move(call),
          caller = request.caller](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    auto echoing = std::make_unique<Echoing>(api, std::move(call), std::move(caller), exchange);
    echoing->FindNext();
    return echoing;
  };
}

}  // namespace exo::service::openai
