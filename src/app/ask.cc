#include "app/ask.h"

#include <fmt/format.h>

namespace exo::app {

using nlohmann::json;

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
  Answer answer;
  TRY(api.PostStream(
      options.raw ? "/v1/completions" : "/v1/chat/completions", body, [&](const json& event) {
        if (event.contains("exo")) answer.report = event["exo"];
        if (event.contains("timings")) answer.timings = event["timings"];
        for (const json& choice : event.value("choices", json::array())) {
          const json& text = options.raw ? choice.value("text", json())
                                         : choice.value("delta", json()).value("content", json());
          if (text.is_string() && !text.get_ref<const std::string&>().empty()) {
            answer.text += text.get_ref<const std::string&>();
            on_text(text.get_ref<const std::string&>());
          }
          if (choice.contains("finish_reason") && choice["finish_reason"].is_string()) {
            answer.finish_reason = choice["finish_reason"];
          }
        }
      }));
  return answer;
}

std::string DescribeStages(const json& report) {
  std::string text;
  for (const json& stage : report.value("stages", json::array())) {
    const int begin = stage.value("layer_begin", 0), end = stage.value("layer_end", 0);
    const std::string layers =
        begin == end ? "no layers" : fmt::format("layers {}-{}", begin, end - 1);
    text += fmt::format("  {:<12} {:<14} {:9.1f} ms\n", stage.value("node", ""), layers,
                        stage.value("ms", 0.0));
  }
  return text;
}

}  // namespace exo::app
