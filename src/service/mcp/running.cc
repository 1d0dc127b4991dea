#include "service/mcp/running.h"

#include <ranges>

namespace exo::service::mcp {

class RunningCall final : public Handler {
 public:
  RunningCall(std::shared_ptr<Running> running, CallName name, std::unique_ptr<Answer> answer)
      : running_(std::move(running)),
        answer_(std::move(answer)),
        place_(running_->answers_.emplace(std::move(name), answer_.get())) {}
  ~RunningCall() override { running_->answers_.erase(place_); }

  void SetPaused(bool paused) override { answer_->SetPaused(paused); }

 private:
  const std::shared_ptr<Running> running_;
  const std::unique_ptr<Answer> answer_;
  const Running::Answers::iterator place_;
};

std::unique_ptr<Handler> Running::Keep(const std::shared_ptr<Running>& running, CallName name,
                                       std::unique_ptr<Answer> answer) {
  if (name.session.empty()) return answer;
  return std::make_unique<RunningCall>(running, std::move(name), std::move(answer));
}

void Running::Cancel(const CallName& name) {
  const auto [begin, end] = answers_.equal_range(name);
  for (Answer* answer : std::ranges::subrange(begin, end) | std::views::values) answer->Cancel();
}

void Running::CancelSession(uint64_t key, const std::string& session) {
  for (auto at = answers_.lower_bound({.key = key, .session = session, .id = ""});
       at != answers_.end() && at->first.key == key && at->first.session == session; ++at) {
    at->second->Cancel();
  }
}

}  // namespace exo::service::mcp
