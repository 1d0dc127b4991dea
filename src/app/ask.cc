#include "app/ask.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "base/text.h"
#include "wire/plan.h"

namespace exo::app {

using nlohmann::json;

namespace {

void Hear(const json& text, std::string& all, const std::function<void(std::string_view)>& hear) {
  if (!text.is_string() || text.get_ref<const std::string&>().empty()) return;
  all += text.get_ref<const std::string&>();
  hear(text.get_ref<const std::string&>());
}

// A choice of completions has a text, one of chats a delta.
Result<Answer> AskAt(const HttpClient& api, const std::string& path, const json& body,
                     const ChatListener& listener) {
  Answer answer;
  TRY(api.PostStream(path, body, [&](const json& event) {
    if (event.contains("exo")) answer.report = event["exo"];
    if (event.contains("timings")) answer.timings = event["timings"];
    for (const json& choice : event.value("choices", json::array())) {
      const json delta = choice.value("delta", json::object());
      Hear(delta.value("reasoning_content", json()), answer.thoughts, listener.on_thought);
      Hear(choice.contains("text") ? choice["text"] : delta.value("content", json()), answer.text,
           listener.on_text);
      const json reason = choice.value("finish_reason", json());
      if (reason.is_string()) answer.finish_reason = reason;
    }
  }));
  return answer;
}

}  // namespace

Result<Answer> Ask(const HttpClient& api, const AskOptions& options,
                   const std::function<void(std::string_view)>& on_text) {
  json body = {{"model", options.model}, {"stream", true}, {"temperature", options.temperature}};
  if (options.max_tokens) body["max_tokens"] = *options.max_tokens;
  if (options.seed) body["seed"] = *options.seed;
  if (options.top_k) body["top_k"] = *options.top_k;
  if (options.top_p) body["top_p"] = *options.top_p;
  if (options.min_p) body["min_p"] = *options.min_p;
  if (options.raw) {
    body["prompt"] = options.prompt;
  } else {
    body["messages"] = json::array({{{"role", "user"}, {"content", options.prompt}}});
  }
  const ChatListener listener{.on_thought = [](std::string_view) {}, .on_text = on_text};
  if (!options.raw) return AskChat(api, body, listener);
  return AskAt(api, "/v1/completions", body, listener);
}

Result<Answer> AskChat(const HttpClient& api, const json& body, const ChatListener& listener) {
  return AskAt(api, "/v1/chat/completions", body, listener);
}

std::string DescribeSpeed(const Answer& answer) {
  std::vector<std::string> devices;
  for (const json& stage : answer.report.value("stages", json::array())) {
    const std::string name = Printable(stage.value("node", ""));
    if (std::ranges::find(devices, name) == devices.end()) devices.push_back(name);
  }
  const uint64_t cached = answer.timings.is_object() ? answer.timings.value("cache_n", 0u) : 0;
  const uint64_t computed = answer.timings.is_object() ? answer.timings.value("prompt_n", 0u) : 0;
  return fmt::format(
      "first token after {:.0f} ms, {:.1f} tokens/s, {} prompt tokens ({} cached), on {}",
      answer.report.value("ttft_ms", 0.0), answer.report.value("tokens_per_second", 0.0),
      cached + computed, cached, fmt::join(devices, ", "));
}

std::string DescribeStages(const json& report) {
  std::string text;
  for (const json& stage : report.value("stages", json::array())) {
    const std::string layers = wire::LayersText(stage.value("layer_begin", uint64_t{0}),
                                                stage.value("layer_end", uint64_t{0}));
    text += fmt::format("  {:<12} {:<14} {:9.1f} ms\n", stage.value("node", ""), layers,
                        stage.value("ms", 0.0));
  }
  return text;
}

}  // namespace exo::app
