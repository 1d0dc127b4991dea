#include "app/waiting_line.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "sys/system.h"

namespace exo::app {
namespace {

// A quick answer needs no word.
constexpr Time kSilent = std::chrono::milliseconds(300);
constexpr Time kAskPeriod = std::chrono::seconds(1);
constexpr std::string_view kTurns = "|/-\\";

}  // namespace

WaitingLine::WaitingLine(const HttpClient& api, std::string model)
    : api_(api), model_(std::move(model)), start_(sys::Now()) {}

// "loading: desk at 40 %", "thinking about the prompt".
std::string WaitingLine::Doing() {
  const auto cluster = api_.Get("/v1/cluster");
  if (!cluster) return "";
  for (const auto& instance : cluster->value("instances", nlohmann::json::array())) {
    if (instance.value("model", "") != model_) continue;
    const std::string state = instance.value("state", ""), detail = instance.value("detail", "");
    if (state == "ready") return "reading the prompt";
    return detail.empty() ? state : fmt::format("{}: {}", state, detail);
  }
  return "";
}

void WaitingLine::Show() {
  const Time now = sys::Now();
  if (ended_ || !CanRedraw(2) || now - start_ < kSilent) return;
  if (now - asked_ >= kAskPeriod) {
    asked_ = now;
    doing_ = Doing();
  }
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(now - start_).count();
  line_.Show(fmt::format("{} {}, {} s", kTurns[turn_++ % kTurns.size()],
                         doing_.empty() ? "waiting" : doing_, seconds));
}

void WaitingLine::End() {
  if (ended_) return;
  ended_ = true;
  line_.Clear();
}

}  // namespace exo::app
