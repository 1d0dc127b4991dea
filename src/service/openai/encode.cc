#include "service/openai/encode.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "service/errors.h"
#include "service/openai/errors.h"
#include "service/openai/reports.h"

namespace exo::service::openai {
namespace {

// One server-sent event.
std::string Event(const Json& json) {
  return "data: " + Dump(json) + "\n\n";
}

class OpenAiEncoder : public Encoder {
 public:
  explicit OpenAiEncoder(EncoderOptions options) : options_(std::move(options)) {}

  HttpResponse Fail(const node::GenerateError& error) override {
    const ApiError api = FromGenerateError(error, options_.prompt_param);
    Json json = ErrorJson(api);
    if (error.context > 0) {  // llama-server's names
      json["error"]["n_prompt_tokens"] = error.prompt_tokens;
      json["error"]["n_ctx"] = error.context;
    }
    HttpResponse response = ErrorResponse(api);
    response.body = Dump(json);
    return response;
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    return Event(ErrorJson(FromGenerateError(error, options_.prompt_param)));
  }

 protected:
  // What is known of each choice.
  struct Told {
    std::vector<TokenId> ids;
    bool called = false;    // a tool
    size_t characters = 0;  // of the tokens whose logprobs were told
  };

  bool chat() const { return options_.chat; }
  // Every delta comes by here first.
  void Count(const node::Delta& delta) {
    Told& told = told_.at(delta.choice);
    told.ids.insert(told.ids.end(), delta.ids.begin(), delta.ids.end());
    told.called = told.called || std::holds_alternative<node::ToolCallDelta>(delta.what);
  }
  const char* FinishName(size_t choice, wire::FinishReason reason,
                         const node::GenerateStats& stats) const {
    if (choice < stats.reasons.size()) reason = stats.reasons[choice];
    if (reason == wire::FinishReason::kLength) return "length";
    return told_[choice].called ? "tool_calls" : "stop";
  }
  Json Object(bool chunk, Json choices) const {
    const char* name = chunk ? "chat.completion.chunk" : "chat.completion";
    return {{"id", options_.id},
            {"object", chat() ? name : "text_completion"},
            {"created", options_.created},
            {"model", options_.model},
            {"choices", std::move(choices)}};
  }
  // `shown`: the choices that are told.
  void AddReports(Json& json, const node::GenerateStats& stats,
                  std::span<const size_t> shown) const {
    openai::AddReports(json, stats, told_[shown[0]].ids);
    if (shown.size() == 1) return;
    Json all = Json::array();
    for (const size_t choice : shown) all.push_back(told_[choice].ids);
    json["exo"]["choice_token_ids"] = std::move(all);
  }
  // What comes before the text of a choice.
  std::string_view EchoOf(size_t choice) const {
    return options_.echo.empty() ? "" : std::string_view(options_.echo[choice / options_.drawn]);
  }
  // `most`: characters of the text, where all of it is known.
  Json LogprobsJson(std::span<const node::SampledLogprob> tokens, size_t choice,
                    size_t most = SIZE_MAX) {
    if (!options_.logprobs) return nullptr;
    if (!chat()) return CompletionLogprobs(tokens, told_[choice].characters, most);
    return {{"content", ChatLogprobs(tokens)}, {"refusal", nullptr}};
  }

  const EncoderOptions options_;
  std::vector<Told> told_ = std::vector<Told>(size_t{options_.prompts} * options_.drawn);
};

Json FunctionCall(std::string_view id, std::string_view name, std::string_view arguments) {
  return {
      {"id", id}, {"type", "function"}, {"function", {{"name", name}, {"arguments", arguments}}}};
}

// Of a choice of no tokens: less than any other.
double MeanLogprob(std::span<const node::SampledLogprob> tokens) {
  if (tokens.empty()) return -std::numeric_limits<double>::infinity();
  double sum = 0;
  for (const node::SampledLogprob& one : tokens) sum += one.token.logprob;
  return sum / static_cast<double>(tokens.size());
}

class StreamEncoder final : public OpenAiEncoder {
 public:
  using OpenAiEncoder::OpenAiEncoder;

  std::optional<StreamFormat> format() const override { return kServerSentEvents; }

  std::string Start(const node::StartReport&) override {
    std::string bytes;
    for (size_t choice = 0; choice < told_.size(); ++choice) {
      if (chat()) {
        bytes +=
            Event(Chunk(choice, {{"role", "assistant"}, {"content", ""}, {"refusal", nullptr}}));
      } else if (!EchoOf(choice).empty()) {
        bytes += Event(Chunk(choice, Json(EchoOf(choice))));
      }
    }
    return bytes;
  }

  std::string Add(const node::Delta& delta) override {
    Count(delta);
    return std::visit([&](const auto& what) { return Encode(delta, what); }, delta.what);
  }

  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    std::string bytes;
    std::vector<size_t> all(told_.size());
    std::iota(all.begin(), all.end(), size_t{0});
    for (const size_t choice : all) {
      Json last = Chunk(choice, chat() ? Json::object() : Json(""));
      last["choices"][0]["finish_reason"] = FinishName(choice, reason, stats);
      if (choice == all.back()) AddReports(last, stats, all);
      bytes += Event(last);
    }
    if (options_.include_usage) {
      Json usage = Object(true, Json::array());
      usage["usage"] = UsageJson(stats);
      bytes += Event(usage);
    }
    return bytes + "data: [DONE]\n\n";
  }

 private:
  Json Chunk(size_t index, Json delta_or_text) const {
    Json choice = {{"index", index}, {"logprobs", nullptr}, {"finish_reason", nullptr}};
    choice[chat() ? "delta" : "text"] = std::move(delta_or_text);
    return Object(true, Json::array({std::move(choice)}));
  }
  // A chunk of what came, with the logprobs of its tokens.
  std::string ChunkOf(const node::Delta& delta, Json delta_or_text) {
    Json chunk = Chunk(delta.choice, std::move(delta_or_text));
    if (!delta.logprobs.empty())
      chunk["choices"][0]["logprobs"] = LogprobsJson(delta.logprobs, delta.choice);
    return Event(chunk);
  }

  // Tokens that show nothing yet have a chunk for their logprobs.
  std::string EncodeText(const node::Delta& delta, const char* name, std::string_view text) {
    if (text.empty() && (delta.logprobs.empty() || !options_.logprobs)) return "";
    return ChunkOf(delta, chat() ? Json{{name, text}} : Json(text));
  }
  std::string Encode(const node::Delta& delta, const node::TextDelta& what) {
    return EncodeText(delta, "content", what.text);
  }
  // A text completion has one text only.
  std::string Encode(const node::Delta& delta, const node::ReasoningDelta& what) {
    if (!chat() || what.text.empty()) return EncodeText(delta, "content", what.text);
    // Clients read one of the two names.
    return ChunkOf(delta, {{"reasoning_content", what.text}, {"reasoning", what.text}});
  }
  std::string Encode(const node::Delta& delta, const node::ToolCallDelta& what) {
    if (!chat()) return EncodeText(delta, "content", what.arguments);
    // Only the first piece of a call has its id, type and name.
    Json call = what.id.empty() ? Json{{"function", {{"arguments", what.arguments}}}}
                                : FunctionCall(what.id, what.name, what.arguments);
    call["index"] = what.index;
    return ChunkOf(delta, {{"tool_calls", Json::array({std::move(call)})}});
  }
};

class WholeEncoder final : public OpenAiEncoder {
 public:
  using OpenAiEncoder::OpenAiEncoder;

  std::optional<StreamFormat> format() const override { return std::nullopt; }
  std::string Start(const node::StartReport&) override { return ""; }

  std::string Add(const node::Delta& delta) override {
    Count(delta);
    Choice& choice = choices_[delta.choice];
    choice.logprobs.insert(choice.logprobs.end(), delta.logprobs.begin(), delta.logprobs.end());
    std::visit([&](const auto& what) { Collect(choice, what); }, delta.what);
    return "";
  }

  void EndPart(size_t part, const node::GenerateStats& stats) override {
    Render(part, wire::FinishReason::kStop, stats);
  }

  std::string Done(wire::FinishReason reason, const node::GenerateStats& stats) override {
    if (options_.prompts == 1) Render(0, reason, stats);
    std::string choices;
    std::vector<size_t> shown;
    for (const Part& part : parts_) {
      choices += (choices.empty() ? "" : ",") + part.json;
      shown.insert(shown.end(), part.shown.begin(), part.shown.end());
    }
    Json json = Object(false, Json::array());
    json["usage"] = UsageJson(stats);
    AddReports(json, stats, shown);
    // The first key: they are sorted.
    constexpr std::string_view kEmpty = R"({"choices":[)";
    std::string text = Dump(json);
    CHECK(text.starts_with(kEmpty));
    return text.insert(kEmpty.size(), choices);
  }

 private:
  struct Call {
    std::string id, name, arguments;
  };
  struct Choice {
    std::string text, reasoning;
    std::vector<Call> calls;
    std::vector<node::SampledLogprob> logprobs;
  };

  // What is told of a prompt.
  struct Part {
    std::vector<size_t> shown;  // choices
    std::string json;           // of them
  };

  // The choices of a prompt that are told: the likeliest.
  std::vector<size_t> Shown(size_t prompt) const {
    std::vector<size_t> drawn(options_.drawn);
    std::iota(drawn.begin(), drawn.end(), prompt * options_.drawn);
    if (options_.drawn > options_.choices) {
      std::ranges::sort(drawn, [this](size_t a, size_t b) {
        const double of_a = MeanLogprob(choices_[a].logprobs);
        const double of_b = MeanLogprob(choices_[b].logprobs);
        return of_a != of_b ? of_a > of_b : a < b;
      });
    }
    drawn.resize(options_.choices);
    return drawn;
  }
  // What is collected of a prompt's choices becomes JSON, or is not told.
  void Render(size_t prompt, wire::FinishReason reason, const node::GenerateStats& stats) {
    Part& part = parts_[prompt];
    part.shown = Shown(prompt);
    size_t index = prompt * options_.choices;
    for (const size_t i : part.shown)
      part.json += (part.json.empty() ? "" : ",") + Dump(ChoiceJson(i, index++, reason, stats));
    for (size_t i = 0; i < options_.drawn; ++i) choices_[prompt * options_.drawn + i] = {};
  }
  Json ChoiceJson(size_t i, size_t index, wire::FinishReason reason,
                  const node::GenerateStats& stats) {
    const size_t most = Characters(choices_[i].text);
    Json choice = {{"index", index},
                   {"logprobs", LogprobsJson(choices_[i].logprobs, i, most)},
                   {"finish_reason", FinishName(i, reason, stats)}};
    if (chat()) {
      choice["message"] = Message(choices_[i]);
    } else {
      choice["text"] = std::string(EchoOf(i)) + choices_[i].text;
    }
    return choice;
  }

  void Collect(Choice& choice, const node::TextDelta& delta) { choice.text += delta.text; }
  void Collect(Choice& choice, const node::ReasoningDelta& delta) {
    (chat() ? choice.reasoning : choice.text) += delta.text;
  }
  void Collect(Choice& choice, const node::ToolCallDelta& delta) {
    if (!chat()) return Collect(choice, node::TextDelta{delta.arguments});
    if (choice.calls.size() <= delta.index) choice.calls.resize(delta.index + 1);
    Call& call = choice.calls[delta.index];
    call.id += delta.id;
    call.name += delta.name;
    call.arguments += delta.arguments;
  }

  static Json Message(const Choice& choice) {
    Json message = {{"role", "assistant"},
                    {"content", choice.text},
                    {"refusal", nullptr},
                    {"annotations", Json::array()}};
    if (choice.text.empty() && !choice.calls.empty()) message["content"] = nullptr;
    if (!choice.reasoning.empty())
      message["reasoning_content"] = message["reasoning"] = choice.reasoning;
    for (const Call& call : choice.calls)
      message["tool_calls"].push_back(FunctionCall(call.id, call.name, call.arguments));
    return message;
  }

  std::vector<Choice> choices_ = std::vector<Choice>(told_.size());
  std::vector<Part> parts_ = std::vector<Part>(options_.prompts);
};

}  // namespace

std::unique_ptr<Encoder> MakeEncoder(EncoderOptions options) {
  if (options.stream) return std::make_unique<StreamEncoder>(std::move(options));
  return std::make_unique<WholeEncoder>(std::move(options));
}

}  // namespace exo::service::openai
