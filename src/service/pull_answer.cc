#include "service/pull_answer.h"

#include <utility>

namespace exo::service {
namespace {

ApiError FromPullError(const Error& error) {
  // Not this API's devices: the servers of others.
  if (error.code == ErrorCode::kDisconnected) return {502, error.message, "model", "unreachable"};
  ApiError answer = FromModelError(error);
  answer.param = "model";
  return answer;
}

// Begins its stream with the first progress, so that a name that means nothing has a status.
class PullAnswer final : public Handler, private node::PullWatcher {
 public:
  PullAnswer(Exchange& exchange, std::unique_ptr<PullEncoder> encoder)
      : exchange_(exchange), encoder_(std::move(encoder)) {}

  void Begin(node::Api& api, std::string model) { pulling_ = api.Pull(std::move(model), *this); }
  void SetPaused(bool paused) override { paused_ = paused; }

 private:
  void OnProgress(const node::PullProgress& progress) override {
    // A slow reader misses figures that are soon old.
    if (!encoder_->format() || paused_) return;
    Push(encoder_->Add(progress));
  }

  void OnPulled(const Result<std::string>& name) override {
    if (!name && !started_) return exchange_.Send(encoder_->Fail(FromPullError(name.error())));
    std::string last =
        name ? encoder_->Done(*name) : encoder_->FailMidStream(FromPullError(name.error()));
    if (!encoder_->format()) return exchange_.Send({.body = std::move(last)});
    Push(last);
    exchange_.EndStream(name.has_value());
  }

  void Push(std::string_view bytes) {
    if (!std::exchange(started_, true)) exchange_.StartStream(*encoder_->format());
    if (!bytes.empty()) exchange_.Push(bytes);
  }

  Exchange& exchange_;
  const std::unique_ptr<PullEncoder> encoder_;
  bool started_ = false, paused_ = false;
  std::unique_ptr<node::Pulling> pulling_;  // last: it calls this object
};

}  // namespace

Action PullModel(node::Api& api, std::string model, std::unique_ptr<PullEncoder> encoder) {
  return [&api, model = std::move(model),
          encoder = std::move(encoder)](Exchange& exchange) mutable -> std::unique_ptr<Handler> {
    auto answer = std::make_unique<PullAnswer>(exchange, std::move(encoder));
    answer->Begin(api, std::move(model));
    return answer;
  };
}

}  // namespace exo::service
