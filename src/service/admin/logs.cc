#include "service/admin/logs.h"

#include <boost/asio/steady_timer.hpp>
#include <charconv>
#include <memory>
#include <utility>

#include "service/http/paths.h"
#include "service/json.h"
#include "sys/recent_log.h"

namespace exo::service::admin {
namespace {

// Lines come from every thread: they are fetched rather than handed over.
constexpr std::chrono::milliseconds kLogPace{250};

std::string LineEvent(const sys::KeptLogLine& line) {
  constexpr const char* kNames[] = {"debug", "info", "warning", "error", ""};
  return fmt::format("id: {}\ndata: {}\n\n", line.number,
                     Dump({{"time", line.time_ms},
                           {"level", kNames[static_cast<size_t>(line.level)]},
                           {"text", line.text}}));
}

// A reader that is slow loses what is no longer kept when it has caught up.
class LogStream final : public Handler {
 public:
  // `follows`: lines that come later are told, too.
  LogStream(boost::asio::io_context& context, Exchange& exchange, Caller caller, uint64_t after,
            bool follows)
      : exchange_(exchange),
        timer_(context),
        caller_(std::move(caller)),
        after_(after),
        follows_(follows) {}

  void Start() {
    exchange_.StartStream(kServerSentEvents);
    Tell();
  }
  void SetPaused(bool paused) override {
    paused_ = paused;
    if (!paused) return Tell();
    timer_.cancel();
  }

 private:
  void Tell() {
    if (caller_.IsGone()) return exchange_.EndStream(false);
    std::string events;
    for (const sys::KeptLogLine& line : sys::KeptLogLines(after_)) {
      events += LineEvent(line);
      after_ = line.number;
    }
    exchange_.Push(events);
    if (!follows_) {
      exchange_.Push("data: [DONE]\n\n");
      return exchange_.EndStream(true);
    }
    timer_.expires_after(kLogPace);
    timer_.async_wait(
        [this, alive = std::weak_ptr<char>(alive_)](const boost::system::error_code& error) {
          if (!error && !alive.expired() && !paused_) Tell();
        });
  }

  Exchange& exchange_;
  boost::asio::steady_timer timer_;
  const Caller caller_;
  uint64_t after_;
  const bool follows_;
  bool paused_ = false;
  // A wait that was over already calls back, whatever has become of its timer.
  const std::shared_ptr<char> alive_ = std::make_shared<char>();
};

// After which line a client goes on; numbers of another node mean nothing here.
uint64_t AfterOf(const std::string& last_event_id) {
  uint64_t number = 0;
  const char* end = last_event_id.data() + last_event_id.size();
  if (std::from_chars(last_event_id.data(), end, number).ptr != end) return 0;
  const auto kept = sys::KeptLogLines(0);
  return kept.empty() || number > kept.back().number ? 0 : number;
}

}  // namespace

Route LogsRoute(boost::asio::io_context& context) {
  return {.method = "GET",
          .path = "/v1/internal/logs",
          .read = [&context](const HttpRequest& request) -> Parsed<Action> {
            const bool follows = QueryField(request.query, "follow") != "false";
            return [&context, caller = request.caller, after = AfterOf(request.last_event_id),
                    follows](Exchange& exchange) -> std::unique_ptr<Handler> {
              auto stream = std::make_unique<LogStream>(context, exchange, caller, after, follows);
              stream->Start();
              return stream;
            };
          },
          .listed = false};
}

}  // namespace exo::service::admin
