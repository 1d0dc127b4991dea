#include "app/top_command.h"

#include <fmt/format.h>

#include <optional>
#include <string>
#include <utility>

#include "app/client_commands.h"
#include "app/output.h"
#include "app/terminal.h"
#include "app/top_picture.h"
#include "sys/process.h"
#include "sys/standard_streams.h"
#include "sys/system.h"

namespace exo::app {
namespace {

// Nobody reads faster.
constexpr Time kPace = std::chrono::milliseconds(250);
// A node tells its figures each second.
constexpr Time kSilence = std::chrono::seconds(5);
constexpr Time kRetryPeriod = std::chrono::seconds(1);
// To the top left, and each line up to its end; what is below goes. Nothing flickers.
constexpr const char* kHome = "\033[H";
constexpr const char* kLineEnd = "\033[K\n";
constexpr const char* kBelow = "\033[J";
constexpr const char* kClear = "\033[2J";

enum class TopMode { kOnce, kLines, kRedrawn };  // kLines: of JSON

// A picture over the last one.
std::string Redrawn(const std::string& text) {
  std::string out = kHome;
  for (const char c : text) {
    if (c == '\n') {
      out += kLineEnd;
    } else {
      out += c;
    }
  }
  return out + kBelow;
}

// Shows what the stream of events says, at most so often.
class Watch {
 public:
  Watch(const Settings& settings, TopMode mode, bool json, int stop_fd)
      : settings_(settings), mode_(mode), json_(json), stop_fd_(stop_fd) {}

  Result<void> Run() {
    for (;;) {
      const auto heard = Listen();
      if (!written_) return written_;
      if (heard || heard.error().code == ErrorCode::kCancelled) return {};
      const bool may_come_back = heard.error().code == ErrorCode::kDisconnected;
      if (mode_ == TopMode::kOnce || !IsWhole(state_) || !may_come_back) return heard;
      Lose(fmt::format("no news: {}; looking again each second", heard.error().message));
      if (sys::TakeSignal(stop_fd_, kRetryPeriod)) return {};
    }
  }

 private:
  // Until the connection ends, or enough was seen. A node that was started again may have another
  // port and token.
  Result<void> Listen() {
    const HttpClient api = TRY(OwnNode(settings_));
    heard_ = sys::Now();
    TRY(api.Watched(stop_fd_, [this] { OnSilence(); })
            .Follow("/v1/internal/events", state_.last_event,
                    [this](const ServerEvent& event) { return OnEvent(event); }));
    if (!written_ || HasSeenEnough()) return {};
    return Fail(ErrorCode::kDisconnected, "the node has ended its stream of events");
  }

  bool OnEvent(const ServerEvent& event) {
    heard_ = sys::Now();
    const bool is_news = Apply(event, state_);
    changed_ = changed_ || is_news || !state_.lost.empty();
    state_.lost.clear();
    ShowChanged();
    return written_ && !HasSeenEnough();
  }
  bool HasSeenEnough() const { return mode_ == TopMode::kOnce && IsWhole(state_); }

  void OnSilence() {
    if (state_.lost.empty() && sys::Now() - heard_ > kSilence) Lose("the node is silent");
    ShowChanged();
  }

  void Lose(std::string why) {
    changed_ = changed_ || state_.lost != why;
    state_.lost = std::move(why);
    ShowChanged();
  }

  void ShowChanged() {
    const Time now = sys::Now();
    if (!changed_ || !IsWhole(state_) || (shown_at_ && now - *shown_at_ < kPace)) return;
    if (mode_ == TopMode::kRedrawn && !shown_at_) Write(kClear);
    changed_ = false;
    shown_at_ = now;
    Show();
    written_ = FlushOutput();
  }

  void Show() const {
    if (json_) return PrintJson(TopJson(state_));
    const std::string text = TopText(state_, sys::TerminalColumns(1).value_or(0));
    Write(mode_ == TopMode::kRedrawn ? Redrawn(text) : text);
  }

  const Settings& settings_;
  const TopMode mode_;
  const bool json_;
  const int stop_fd_;
  TopState state_;
  bool changed_ = false;
  Time heard_{};
  std::optional<Time> shown_at_;
  Result<void> written_;
};

TopMode ModeFor(const TopOptions& options) {
  if (options.once) return TopMode::kOnce;
  if (options.json) return TopMode::kLines;
  return CanRedraw(1) ? TopMode::kRedrawn : TopMode::kOnce;
}

}  // namespace

Result<void> RunTop(const Settings& settings, const TopOptions& options) {
  const TopMode mode = ModeFor(options);
  SetNoColor();  // lines are cut by their characters
  const int stop_fd = TRY(sys::StopSignals());
  return Watch(settings, mode, options.json, stop_fd).Run();
}

}  // namespace exo::app
