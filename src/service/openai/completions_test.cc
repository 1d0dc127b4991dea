// Completions over a real connection: answers, streams, errors in OpenAI's shape.
#include <gtest/gtest.h>

#include <cstdlib>
#include <limits>

#include "service/harness.h"

namespace exo::service::openai {
namespace {

const char* const kRaw = "/v1/completions";

Json Chat(Json more = Json::object()) {
  Json body = {{"model", "tiny"}, {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  body.update(more);
  return body;
}
Json Raw(Json more = Json::object()) {
  Json body = {{"model", "tiny"}, {"prompt", "Once"}};
  body.update(more);
  return body;
}
std::string StreamText(const std::vector<Json>& events, bool chat) {
  std::string text;
  for (const Json& event : events) {
    for (const Json& choice : event["choices"]) {
      text += chat ? choice["delta"].value("content", "") : choice.value("text", "");
    }
  }
  return text;
}

TEST(CompletionsTest, ChatAnswerHasOpenAisShape) {
  TestServer server;
  const auto answer = Post(server, kChat, Chat({{"seed", 5}}));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const Json json = answer.json();
  EXPECT_EQ(json["object"], "chat.completion");
  EXPECT_TRUE(std::string(json["id"]).starts_with("chatcmpl-"));
  EXPECT_GT(json["created"], 1'600'000'000);
  EXPECT_EQ(json["model"], "tiny");
  const Json& choice = json["choices"].at(0);
  EXPECT_EQ(choice["index"], 0);
  EXPECT_EQ(choice["message"]["role"], "assistant");
  EXPECT_EQ(choice["message"]["content"], "Hello");
  EXPECT_TRUE(choice["message"]["refusal"].is_null() && choice["logprobs"].is_null());
  EXPECT_EQ(choice["finish_reason"], "stop");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 7);
  EXPECT_EQ(json["usage"]["completion_tokens"], 2);
  EXPECT_EQ(json["usage"]["total_tokens"], 9);
  EXPECT_EQ(json["usage"]["prompt_tokens_details"]["cached_tokens"], 0);
  EXPECT_EQ(json["timings"]["prompt_n"], 7);
  EXPECT_EQ(json["timings"]["predicted_ms"], 20);
  EXPECT_EQ(json["exo"]["seed"], 5);
  EXPECT_EQ(json["exo"]["token_ids"], Json::array({0, 1}));
  EXPECT_EQ(json["exo"]["stages"][0]["node"], "kitchen");
  EXPECT_TRUE(answer.has("cache-control: no-cache"));
  EXPECT_FALSE(answer.has("access-control"));
}

TEST(CompletionsTest, ChatStreamHasRoleTextFinishUsageAndDone) {
  TestServer server;
  const auto answer =
      Post(server, kChat, Chat({{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  ASSERT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("content-type: text/event-stream"));
  EXPECT_TRUE(answer.has("x-accel-buffering: no"));
  EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n"));
  const auto events = answer.events();
  ASSERT_EQ(events.size(), 5u);
  for (const Json& event : events) {
    EXPECT_EQ(event["object"], "chat.completion.chunk");
    EXPECT_EQ(event["id"], events[0]["id"]);
    EXPECT_EQ(event["created"], events[0]["created"]);
    EXPECT_TRUE(event["choices"].is_array());
  }
  EXPECT_EQ(events[0]["choices"][0]["delta"]["role"], "assistant");
  EXPECT_TRUE(events[1]["choices"][0]["finish_reason"].is_null());
  EXPECT_EQ(StreamText(events, true), "Hello");
  EXPECT_EQ(events[3]["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(events[3]["exo"]["token_ids"], Json::array({0, 1}));
  EXPECT_EQ(events[4]["choices"], Json::array());
  EXPECT_EQ(events[4]["usage"]["total_tokens"], 9);
}

TEST(CompletionsTest, RawCompletionDefaultsTo16Tokens) {
  TestServer server({}, {.pieces = {"a"}, .endless = true});
  auto answer = Post(server, kRaw, Raw());
  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(answer.json()["object"], "text_completion");
  EXPECT_EQ(answer.json()["choices"][0]["text"], std::string(16, 'a'));
  EXPECT_EQ(answer.json()["choices"][0]["finish_reason"], "length");
  answer = Post(server, kRaw, Raw({{"stream", true}, {"max_tokens", 3}}));
  EXPECT_EQ(StreamText(answer.events(), false), "aaa");
  EXPECT_EQ(answer.events().back()["choices"][0]["finish_reason"], "length");
  EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n"));
}

TEST(CompletionsTest, PromptsOfEveryForm) {
  TestServer server;
  EXPECT_EQ(Post(server, kRaw, Raw({{"prompt", Json::array({"one"})}})).status, 200);
  EXPECT_EQ(server.last_request().prompt, "one");
  EXPECT_EQ(Post(server, kRaw, Raw({{"prompt", {1, 2, 3}}})).status, 200);
  EXPECT_EQ(server.last_request().prompt_ids, (std::vector<TokenId>{1, 2, 3}));
  EXPECT_EQ(Post(server, kRaw, Raw({{"prompt", Json::array({Json::array({4})})}})).status, 200);
  EXPECT_EQ(server.last_request().prompt_ids, (std::vector<TokenId>{4}));
  for (const Json& bad : {Json::array(), Json::array({"a", 5}), Json(5), Json::array({1, "a"}),
                          Json::array({-1}), Json::array({1.5})}) {
    const auto answer = Post(server, kRaw, Raw({{"prompt", bad}}));
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_EQ(answer.error("param"), "prompt");
  }
}

TEST(CompletionsTest, SeveralPromptsHaveAnswersInTheirOrder) {
  TestServer server;
  const Json texts = {{"prompt", {"one", "two", "three"}}, {"n", 1}};
  const Json json = Post(server, kRaw, Raw(texts)).json();
  ASSERT_EQ(json["choices"].size(), 3u) << json.dump();
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(json["choices"][i]["index"], i);
    EXPECT_EQ(json["choices"][i]["text"], "Hello");
    EXPECT_EQ(json["choices"][i]["finish_reason"], "stop");
  }
  EXPECT_EQ(json["usage"]["prompt_tokens"], 21);
  EXPECT_EQ(json["usage"]["completion_tokens"], 6);
  EXPECT_EQ(json["exo"]["choice_token_ids"], Json::parse("[[0,1],[0,1],[0,1]]"));
  EXPECT_EQ(json["exo"]["stages"][0]["ms"], 4.5);
  EXPECT_TRUE(server.last_request().has_seed);  // drawn once, for all of them
  EXPECT_EQ(json["exo"]["seed"], server.last_request().sampler.seed);
  EXPECT_GT(json["exo"]["ttft_ms"], 0);  // of the first token of any

  Json ids = Raw({{"prompt", {{1, 2}, {3}}}, {"n", 2}, {"stream", true}});
  ids["stream_options"] = {{"include_usage", true}};
  const auto events = Post(server, kRaw, ids).events();
  std::vector<size_t> ends(4);
  for (const Json& event : events) {
    for (const Json& choice : event["choices"])
      ends.at(choice["index"]) += choice["finish_reason"] == "stop" ? 1 : 0;
  }
  EXPECT_EQ(ends, (std::vector<size_t>{1, 1, 1, 1}));
  EXPECT_EQ(events.back()["usage"]["prompt_tokens"], 14);
}

TEST(CompletionsTest, TheFirstErrorOfSeveralPromptsEndsAll) {
  TestServer server({}, {.refusal = node::GenerateError{{ErrorCode::kInvalid, "too long"},
                                                        node::Refusal::kContextLength}});
  const auto refused = Post(server, kRaw, Raw({{"prompt", {"a", "b"}}}));
  EXPECT_EQ(refused.status, 400);
  EXPECT_EQ(refused.error("message"), "too long (text 1 of 2)");
  EXPECT_EQ(refused.error("param"), "prompt");
  server.Set({.prefill = std::chrono::seconds(60)});
  TestClient client(server.port());
  client.Write(RequestText("POST", kRaw, Raw({{"prompt", {"a", "b"}}, {"n", 8}}).dump()));
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == 2; }));
  client.Close();
  EXPECT_TRUE(WaitUntil([&] { return server.alive() == 0; }));
  EXPECT_EQ(Post(server, kRaw, Raw({{"prompt", Json(std::vector<std::string>(129, "a"))}})).status,
            400);
}

TEST(CompletionsTest, EchoPutsThePromptBeforeItsAnswers) {
  TestServer server;
  const Json json = Post(server, kRaw, Raw({{"echo", true}, {"n", 1}})).json();
  EXPECT_EQ(json["choices"][0]["text"], "OnceHello");
  for (const bool stream : {false, true}) {
    const auto answer = Post(
        server, kRaw, Raw({{"echo", true}, {"prompt", {{72, 105}, {65}}}, {"stream", stream}}));
    std::vector<std::string> texts(2);
    for (const Json& event : stream ? answer.events() : std::vector<Json>{answer.json()}) {
      for (const Json& choice : event["choices"])
        texts.at(choice["index"]) += choice["text"].get<std::string>();
    }
    EXPECT_EQ(texts, (std::vector<std::string>{"HiHello", "AHello"})) << answer.body;
  }
  const auto unknown = Post(server, kRaw, Raw({{"echo", true}, {"model", "x"}, {"prompt", {1}}}));
  EXPECT_EQ(unknown.status, 404);
  const auto both = Post(server, kRaw, Raw({{"echo", true}, {"logprobs", 1}}));
  EXPECT_EQ(both.status, 400);
  EXPECT_EQ(both.error("param"), "echo");
}

TEST(CompletionsTest, StreamsBreakNoCharacterAndShowNoStop) {
  TestServer server;
  server.Set({.pieces = {"\xF0\x9F", "\x98\x80 a", "\xC3", "\xA9", "ST", "O", "P tail"}});
  for (const bool stream : {false, true}) {
    const auto answer = Post(server, kChat, Chat({{"stream", stream}, {"stop", "STOP"}}));
    const Json end = stream ? answer.events().back() : answer.json();
    const std::string text = stream
                                 ? StreamText(answer.events(), true)
                                 : std::string(answer.json()["choices"][0]["message"]["content"]);
    EXPECT_EQ(text, "\xF0\x9F\x98\x80 a\xC3\xA9") << stream;
    EXPECT_EQ(end["choices"][0]["finish_reason"], "stop");
    EXPECT_EQ(answer.body.find("STO"), std::string::npos);
    EXPECT_EQ(answer.body.find("\xEF\xBF\xBD"), std::string::npos);
  }
}

TEST(CompletionsTest, FieldsReachTheNode) {
  TestServer server;
  EXPECT_EQ(Post(server, kChat, Chat()).status, 200);
  EXPECT_EQ(server.last_request().sampler.temperature, 1);
  EXPECT_FALSE(server.last_request().has_seed);
  EXPECT_FALSE(server.last_request().max_tokens);
  const Json body = {
      {"model", "hub/tiny"},
      {"temperature", 0},
      {"top_p", 0.5},
      {"top_k", 40},
      {"min_p", 0.1},
      {"seed", -1},
      {"max_tokens", 5},
      {"max_completion_tokens", 9},
      {"stop", {"a", "b"}},
      {"frequency_penalty", 0.5},
      {"presence_penalty", -0.5},
      {"repeat_penalty", 1.1},
      {"user", "x"},
      {"metadata", {{"a", "b"}}},
      {"store", true},
      {"tools", Json::array()},
      {"n", 1},
      {"some_unknown_field", {1}},
      {"logit_bias", Json::object()},
      {"response_format", {{"type", "text"}}},
      {"tool_choice", "auto"},
      {"top_logprobs", nullptr},
      {"messages",
       {{{"role", "developer"}, {"content", "S"}},
        {{"role", "user"},
         {"content", {{{"type", "text"}, {"text", "a"}}, {{"type", "text"}, {"text", "b"}}}}}}}};
  const auto answer = Post(server, kChat, body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto request = server.last_request();
  EXPECT_EQ(request.sampler, (wire::SamplerSettings{.temperature = 0,
                                                    .top_k = 40,
                                                    .top_p = 0.5f,
                                                    .min_p = 0.1f,
                                                    .repeat_penalty = 1.1f,
                                                    .presence_penalty = -0.5f,
                                                    .frequency_penalty = 0.5f,
                                                    .seed = UINT64_MAX}));
  EXPECT_TRUE(request.has_seed);
  EXPECT_EQ(request.max_tokens, 9u);
  EXPECT_EQ(request.stop, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(request.messages[0].role, "system");
  EXPECT_EQ(request.messages[1].content, "a\nb");
}

TEST(CompletionsTest, EverySamplerFieldReachesTheNode) {
  TestServer server;
  const Json body = {{"typical_p", 0.9},
                     {"top_n_sigma", 1.5},
                     {"xtc_probability", 0.5},
                     {"xtc_threshold", 0.25},
                     {"dry_multiplier", 0.75},
                     {"dry_base", 2},
                     {"dry_allowed_length", 3},
                     {"dry_penalty_last_n", -1},
                     {"dry_sequence_breakers", {"\n", "END"}},
                     {"mirostat", 2},
                     {"mirostat_tau", 4},
                     {"mirostat_eta", 0.5},
                     {"repeat_last_n", -1},
                     {"samplers", {"top_k", "typ_p", "dry", "temperature"}},
                     {"logit_bias", {{"5", -100}, {"17", 2.5}, {"9", false}}},
                     {"stop_token_ids", {3, 4}},
                     {"logprobs", true},
                     {"top_logprobs", 20},
                     {"n", 3}};
  const auto answer = Post(server, kChat, Chat(body));
  ASSERT_EQ(answer.status, 200) << answer.body;
  const auto request = server.last_request();
  using enum wire::SamplerStep;
  const wire::SamplerSettings expected = {
      .temperature = 1,
      .penalty_window = UINT32_MAX,
      .typical_p = 0.9f,
      .top_n_sigma = 1.5f,
      .xtc_probability = 0.5f,
      .xtc_threshold = 0.25f,
      .dry_multiplier = 0.75f,
      .dry_base = 2,
      .dry_allowed_length = 3,
      .dry_window = UINT32_MAX,
      .mirostat = true,
      .mirostat_tau = 4,
      .mirostat_eta = 0.5f,
      .order = {kTopK, kTypicalP, kDry, kTemperature},
      .logit_bias = {{17, 2.5f}, {5, -100}, {9, -std::numeric_limits<float>::infinity()}},
      .logprobs = true,
      .top_logprobs = 20};
  EXPECT_EQ(request.sampler, expected);
  EXPECT_EQ(request.dry_breakers, (std::vector<std::string>{"\n", "END"}));
  EXPECT_EQ(request.stop_tokens, (std::vector<TokenId>{3, 4}));
  EXPECT_EQ(request.choices, 3u);
  EXPECT_EQ(answer.json()["choices"].size(), 3u);
  // llama-server's form of biases, its word for "off", and a completion's number of logprobs.
  EXPECT_EQ(Post(server, kRaw,
                 Raw({{"logit_bias", {{5, 1}, {6, false}}}, {"top_n_sigma", -1}, {"logprobs", 3}}))
                .status,
            200);
  EXPECT_EQ(server.last_request().sampler.logit_bias.size(), 2u);
  EXPECT_EQ(server.last_request().sampler.top_n_sigma, 0);
  EXPECT_EQ(server.last_request().sampler.top_logprobs, 3u);
}

TEST(CompletionsTest, ABadValueAndItsRangeAreSaid) {
  TestServer server;
  EXPECT_EQ(Post(server, kChat, Chat({{"n", 40}})).error("message"),
            "'n' is 40, but must be from 1 to 32");
  EXPECT_EQ(Post(server, kChat, Chat({{"logit_bias", {{"5", 101}}}})).error("message"),
            "a bias of 'logit_bias' is 101, but must be from -100 to 100, or false");
  EXPECT_EQ(Post(server, kChat, Chat({{"samplers", {"beam"}}})).error("message"),
            "an entry of 'samplers' is \"beam\", but must be one of penalties (e), dry (d), "
            "top_n_sigma (s), top_k (k), typ_p (y), top_p (p), min_p (m), xtc (x), "
            "temperature (t), typical_p (y)");
}

TEST(CompletionsTest, LimitsOfTokensMayBeHugeOrMinusOne) {
  TestServer server;
  const std::vector<std::pair<Json, std::optional<uint32_t>>> cases = {
      {4096, 4096},
      {3.0, 3},
      {-1, std::nullopt},
      {nullptr, std::nullopt},
      {uint32_t{1} << 31, uint32_t{1} << 31},
      {9007199254740991, UINT32_MAX},
      {9223372036854775807, UINT32_MAX},
      {18446744073709551615u, UINT32_MAX},
      {1e300, UINT32_MAX}};
  for (const auto& [value, tokens] : cases) {
    for (const char* field : {"max_tokens", "max_completion_tokens"}) {
      const auto answer = Post(server, kChat, Chat({{field, value}}));
      EXPECT_EQ(answer.status, 200) << value << answer.body;
      EXPECT_EQ(server.last_request().max_tokens, tokens) << value;
    }
  }
  EXPECT_EQ(Post(server, kRaw, Raw({{"max_tokens", -1}})).status, 200);
  EXPECT_EQ(server.last_request().max_tokens, std::nullopt);
  EXPECT_EQ(Post(server, kRaw, Raw({{"max_tokens", nullptr}})).status, 200);
  EXPECT_EQ(server.last_request().max_tokens, 16u);
}

TEST(CompletionsTest, ABrokenModelFileIsNotTheServersFault) {
  TestServer server;
  Script script;
  script.refusal = node::GenerateError{{ErrorCode::kCorrupt, "bad vocabulary"}};
  server.Set(script);
  const auto answer = Post(server, kChat, Chat());
  EXPECT_EQ(answer.status, 422);
  EXPECT_EQ(answer.error("type"), "invalid_request_error");
  EXPECT_EQ(answer.error("message"), "bad vocabulary");
}

// Each value is refused by its field's name.
void ExpectRefused(const TestServer& server,
                   const std::vector<std::pair<std::string, Json>>& cases) {
  for (const auto& [field, value] : cases) {
    const auto answer = Post(server, kChat, Chat({{field, value}}));
    EXPECT_EQ(answer.status, 400) << field << " " << value << answer.body;
    EXPECT_EQ(answer.error("param"), field) << answer.body;
    EXPECT_EQ(answer.error("type"), "invalid_request_error");
    EXPECT_FALSE(answer.error("message").empty());
    EXPECT_TRUE(answer.json()["error"].contains("code"));
  }
}

TEST(CompletionsTest, BadSamplerFieldsAreNamed) {
  TestServer server;
  ExpectRefused(server, {{"n", 0},
                         {"n", 33},
                         {"n", 1000000000},
                         {"logprobs", 1},
                         {"top_logprobs", 3},  // without logprobs
                         {"top_logprobs", 21},
                         {"logit_bias", {{"x", 1}}},
                         {"logit_bias", {{"-1", 1}}},
                         {"logit_bias", {{"5", 100.5}}},
                         {"logit_bias", {{"5", true}}},
                         {"logit_bias", {{"99999999999", 1}}},
                         {"logit_bias", Json::array({5})},
                         {"logit_bias", Json::array({Json::array({5, 1, 2})})},
                         {"logit_bias", "5"},
                         {"stop_token_ids", {-1}},
                         {"stop_token_ids", 5},
                         {"stop_token_ids", std::vector<int>(65, 1)},
                         {"typical_p", 1.5},
                         {"top_n_sigma", -2},
                         {"xtc_probability", 2},
                         {"xtc_threshold", -0.1},
                         {"dry_multiplier", -1},
                         {"dry_base", 0.5},
                         {"dry_allowed_length", -1},
                         {"dry_penalty_last_n", -2},
                         {"dry_sequence_breakers", "x"},
                         {"dry_sequence_breakers", {""}},
                         {"dry_sequence_breakers", {std::string(41, 'x')}},
                         {"dry_sequence_breakers", std::vector<std::string>(17, "x")},
                         {"mirostat", 1},
                         {"mirostat", 3},
                         {"mirostat_tau", -1},
                         {"mirostat_eta", 11},
                         {"repeat_last_n", -2},
                         {"samplers", "top_k"},
                         {"samplers", {"top_k", "beam"}},
                         {"samplers", std::vector<std::string>(33, "top_k")}});
  EXPECT_EQ(server.alive(), 0);
}

TEST(CompletionsTest, BadAndUnsupportedFieldsAreNamed) {
  TestServer server;
  const std::vector<std::pair<std::string, Json>> cases = {
      {"temperature", 2.1},
      {"temperature", "hot"},
      {"temperature", -1},
      {"top_p", 1.1},
      {"top_k", 1.5},
      {"min_p", -1},
      {"max_tokens", 0},
      {"max_tokens", -2},
      {"max_tokens", 1.5},
      {"max_completion_tokens", "9"},
      {"max_completion_tokens", 0},
      {"seed", 1.5},
      {"stop", 5},
      {"stop", {"a", 1}},
      {"stop", ""},
      {"stop", std::string(257, 'x')},
      {"stop", std::vector<std::string>(17, "x")},
      {"stream", "yes"},
      {"stream_options", 1},
      {"frequency_penalty", 3},
      {"presence_penalty", -3},
      {"repeat_penalty", 0},
      {"tools", 3},
      {"tool_choice", "perhaps"},
      {"response_format", {{"type", "xml"}}},
      {"reasoning_effort", 3},
      {"chat_template_kwargs", 3},
      {"model", nullptr},
      {"model", 5},
      {"messages", nullptr},
      {"messages", Json::array()},
      {"messages", "hi"}};
  ExpectRefused(server, cases);
  const Json of_chats = {{"tools", {{{"type", "function"}}}},
                         {"tool_choice", "required"},
                         {"functions", {{{"name", "f"}}}}};
  for (const auto& [field, value] : of_chats.items()) {
    const auto answer = Post(server, kRaw, Raw({{field, value}}));
    EXPECT_EQ(answer.status, 400) << field;
    EXPECT_EQ(answer.json()["error"]["param"], field);
    EXPECT_EQ(answer.json()["error"]["code"], "not_supported");
  }
  for (const char* field : {"echo", "suffix", "best_of"}) {
    const Json value = field == std::string("best_of") ? Json(33) : Json(2);
    EXPECT_EQ(Post(server, kRaw, Raw({{field, value}})).error("param"), field);
  }
  EXPECT_EQ(server.alive(), 0);
}

TEST(CompletionsTest, WhatAnAnswerMustBeReachesTheNode) {
  TestServer server;
  const auto grammar = [&](const char* path, const std::string& field) {
    const std::string body = R"({"model":"tiny","prompt":"x","messages":[{"role":"user",
        "content":"Hi"}],)" + field +
                             "}";
    const Answered answer = Call(server, "POST", path, body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    return server.last_request().sampler.grammar;
  };
  using wire::GrammarKind;
  // The keys keep their order: it is the order of the answer.
  const char* schema = R"({"type":"object","properties":{"z":{},"a":{}}})";
  const std::string named = fmt::format(R"({{"name":"n","strict":true,"schema":{}}})", schema);
  for (const char* path : {kChat, kRaw}) {
    for (const std::string& field :
         {fmt::format(R"("response_format":{{"type":"json_schema","json_schema":{}}})", named),
          fmt::format(R"("response_format":{{"type":"json_object","schema":{}}})", schema),
          fmt::format(R"("json_schema":{})", schema), fmt::format(R"("guided_json":{})", schema)}) {
      const wire::Grammar got = grammar(path, field);
      ASSERT_EQ(got.parts.size(), 1u) << field;
      EXPECT_EQ(got.parts[0].kind, GrammarKind::kJsonSchema);
      EXPECT_EQ(got.parts[0].text, schema);
    }
    EXPECT_EQ(grammar(path, R"("regex":"a+")").parts[0].kind, GrammarKind::kRegex);
    EXPECT_EQ(grammar(path, R"("guided_regex":"a+")").parts[0].text, "a+");
    EXPECT_EQ(grammar(path, R"("choice":["a","b"])").parts[0].text, R"(["a","b"])");
    EXPECT_EQ(grammar(path, R"("grammar":"root ::= \"x\"")").parts[0].kind, GrammarKind::kGbnf);
    EXPECT_TRUE(grammar(path, R"("response_format":{"type":"text"},"grammar":"")").parts.empty());
  }
  for (const char* field :
       {"response_format", "json_schema", "regex", "grammar", "guided_choice"}) {
    const Json value = std::string_view(field) == "response_format"
                           ? Json{{"type", "json_object"}, {"schema", {{"type", "nothing"}}}}
                       : std::string_view(field) == "json_schema"   ? Json(3)
                       : std::string_view(field) == "guided_choice" ? Json({1, 2})
                                                                    : Json("(");
    const Answered answer = Post(server, kChat, Chat({{field, value}}));
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.error("param"), field);
  }
}

TEST(CompletionsTest, ToolsAndTheirCallsReachTheNode) {
  TestServer server;
  const Json body = Chat(Json::parse(R"({
    "tools": [{"type":"function","function":{"name":"get","parameters":{"type":"object"}}},
              {"type":"web_search"}],
    "tool_choice": "none", "parallel_tool_calls": false, "reasoning_effort": "low",
    "chat_template_kwargs": {"enable_thinking": false}, "continue_final_message": true,
    "messages": [{"role":"developer","content":"d"}, {"role":"user","content":"u"},
      {"role":"assistant","content":null,"reasoning_content":"r",
       "tool_calls":[{"id":"c1","type":"function",
                      "function":{"name":"get","arguments":"{\"k\":[1,true,null]}"}}]},
      {"role":"tool","tool_call_id":"c1","content":"done"},
      {"role":"assistant","content":"So"}]})"));
  const Answered answer = Post(server, kChat, body);
  ASSERT_EQ(answer.status, 200) << answer.body;
  const node::GenerateRequest asked = server.last_request();
  ASSERT_EQ(asked.messages.size(), 5u);
  EXPECT_EQ(asked.messages[0].role, "system");
  EXPECT_EQ(asked.messages[2].reasoning, "r");
  EXPECT_FALSE(asked.messages[2].content);
  ASSERT_EQ(asked.messages[2].tool_calls.size(), 1u);
  EXPECT_EQ(asked.messages[2].tool_calls[0].id, "c1");
  EXPECT_EQ(asked.messages[2].tool_calls[0].arguments.at(0).key, "k");
  EXPECT_EQ(asked.messages[3].tool_call_id, "c1");
  EXPECT_EQ(asked.chat.tools.size(), 1u);
  EXPECT_EQ(asked.chat.tool_use, node::ToolUse::kNone);
  EXPECT_FALSE(asked.chat.parallel_tool_calls);
  EXPECT_TRUE(asked.chat.continue_last);
  ASSERT_EQ(asked.chat.variables.size(), 2u);
  EXPECT_EQ(asked.chat.variables[0].key, "reasoning_effort");
  EXPECT_EQ(std::get<bool>(asked.chat.variables[1].value.value), false);
  // The older names.
  Post(server, kChat, Chat({{"functions", {{{"name", "f"}}}}, {"function_call", {{"name", "f"}}}}));
  EXPECT_EQ(server.last_request().chat.tools.size(), 1u);
  EXPECT_EQ(server.last_request().chat.tool_use, node::ToolUse::kNamed);
  EXPECT_EQ(server.last_request().chat.tool_name, "f");
}

TEST(CompletionsTest, BadMessagesAreNamed) {
  TestServer server;
  const std::vector<std::pair<Json, std::string>> cases = {
      {{{"role", "tool"}}, "messages[0].content"},
      {{{"role", "king"}, {"content", "x"}}, "messages[0].role"},
      {{{"content", "x"}}, "messages[0].role"},
      {{{"role", "user"}}, "messages[0].content"},
      {{{"role", "user"}, {"content", 5}}, "messages[0].content"},
      {{{"role", "user"}, {"content", {{{"type", "image_url"}}}}}, "messages[0].content[0]"},
      {{{"role", "user"}, {"content", {{{"type", "text"}}}}}, "messages[0].content[0].text"},
      {{{"role", "assistant"}, {"content", nullptr}, {"tool_calls", {1}}},
       "messages[0].tool_calls"},
      {"hi", "messages[0]"}};
  for (const auto& [message, param] : cases) {
    const auto answer = Post(server, kChat, Chat({{"messages", Json::array({message})}}));
    EXPECT_EQ(answer.status, 400);
    EXPECT_EQ(answer.error("param"), param) << message;
  }
}

TEST(CompletionsTest, BadJsonIs400) {
  TestServer server;
  std::string deep =
      R"({"model":"tiny","messages":)" + std::string(65, '[') + std::string(65, ']') + "}";
  for (const std::string& body : std::vector<std::string>{
           "", "{", "[]", "5", "{\"model\":\"tiny\",}", "{\"model\":\"a\",\"model\":\"b\"}",
           "{\"model\":\"\xFF\"}", "{\"temperature\":1e309}", "{\"model\":\"\\ud800\"}", deep,
           std::string(200000, '['), "{\"model\":NaN}", std::string("{\"a\":\0}", 7)}) {
    const auto answer = Call(server, "POST", kChat, body);
    EXPECT_EQ(answer.status, 400) << body.substr(0, 80);
    EXPECT_EQ(answer.error("code"), "invalid_json") << answer.body;
  }
  EXPECT_EQ(
      Post(server, kChat,
           Chat({{"messages", Json::parse(R"([{"role":"user","content":"\u0000\ud83d\ude00"}])")}}))
          .status,
      200);
}

TEST(CompletionsTest, RefusalsHaveTheirStatus) {
  TestServer server;
  const auto unknown = Post(server, kChat, Chat({{"model", "gpt"}, {"stream", true}}));
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.error("code"), "model_not_found");
  EXPECT_EQ(unknown.error("param"), "model");
  struct Case {
    node::Refusal refusal;
    int status;
    std::string code;
  };
  for (const Case& c : {Case{node::Refusal::kContextLength, 400, "context_length_exceeded"},
                        Case{node::Refusal::kQueueFull, 429, "queue_full"},
                        Case{node::Refusal::kNoPlan, 503, "no_plan"},
                        Case{node::Refusal::kLost, 503, "device_lost"},
                        Case{node::Refusal::kBadInput, 400, "invalid_value"}}) {
    Script script;
    script.refusal =
        node::GenerateError{{ErrorCode::kInvalid, "700 tokens, 512 is the context"}, c.refusal};
    server.Set(script);
    for (const bool stream : {false, true}) {
      const auto answer = Post(server, kChat, Chat({{"stream", stream}}));
      EXPECT_EQ(answer.status, c.status);
      EXPECT_EQ(answer.error("code"), c.code);
      EXPECT_EQ(answer.error("message"), "700 tokens, 512 is the context");
      EXPECT_EQ(answer.has("retry-after"), c.status == 429 || c.status == 503);
    }
  }
}

TEST(CompletionsTest, AnErrorInMidStreamIsOneEventAndTheEnd) {
  TestServer server;
  Script script;
  script.loss =
      node::GenerateError{{ErrorCode::kDisconnected, "desk was lost"}, node::Refusal::kLost};
  server.Set(script);
  TestClient client(server.port());
  client.Write(RequestText("POST", kChat, Chat({{"stream", true}}).dump()));
  const auto answer = client.Read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.events().back()["error"]["message"], "desk was lost");
  EXPECT_EQ(answer.body.find("[DONE]"), std::string::npos);
  EXPECT_EQ(client.ReadToEnd(), "");  // closed
  EXPECT_EQ(Post(server, kChat, Chat()).status, 503);
}

TEST(CompletionsTest, WhatIsOfTheWrongKindIsNeverIgnored) {
  TestServer server;
  const Json tool = {{"type", "function"}, {"function", {{"name", "f"}, {"parameters", 5}}}};
  const Json told = {{"type", "function"}, {"function", {{"name", "f"}, {"description", 5}}}};
  const std::vector<std::tuple<const char*, Json, const char*>> cases = {
      {"tools", Json::array({tool}), "tools[0].function.parameters"},
      {"tools", Json::array({told}), "tools[0].function.description"},
      {"functions", {{{"name", "f"}, {"parameters", "{}"}}}, "functions[0].parameters"},
      {"response_format", Json::object(), "response_format"},
      {"response_format", "", "response_format"},
      {"response_format", Json::array(), "response_format"},
      {"choice", Json::array(), "choice"},
      {"guided_choice", Json::array(), "guided_choice"},
      {"regex", "", "regex"},
      {"guided_regex", "", "guided_regex"},
      {"grammar", 5, "grammar"},
      {"metadata", 5, "metadata"},
      {"store", "yes", "store"},
      {"user", 5, "user"},
      {"safety_identifier", 5, "safety_identifier"},
      {"service_tier", 5, "service_tier"},
      {"prompt_cache_key", 5, "prompt_cache_key"},
      {"verbosity", 5, "verbosity"},
      {"prediction", 5, "prediction"}};
  for (const auto& [field, value, param] : cases) {
    const auto answer = Post(server, kChat, Chat({{field, value}}));
    EXPECT_EQ(answer.status, 400) << field << value << answer.body;
    EXPECT_EQ(answer.error("param"), param) << answer.body;
  }
  // llama-server's clients send these when they mean none.
  EXPECT_EQ(Post(server, kChat, Chat({{"grammar", ""}, {"json_schema", ""}})).status, 200);
  for (const char* field : {"text", "include", "metadata", "truncation"}) {
    const auto answer =
        Post(server, "/v1/responses", {{"model", "tiny"}, {"input", "Hi"}, {field, 5}});
    EXPECT_EQ(answer.status, 400) << field;
    EXPECT_EQ(answer.error("param"), field) << answer.body;
  }
}

TEST(CompletionsTest, ErrorsOfTheNodeNameTheFieldThatItBlames) {
  TestServer server;
  server.Set({.refusal = node::GenerateError{.error = {ErrorCode::kInvalid, "no such token"},
                                             .refusal = node::Refusal::kBadInput,
                                             .field = "logit_bias"}});
  EXPECT_EQ(Post(server, kChat, Chat()).error("param"), "logit_bias");
  EXPECT_EQ(Post(server, kRaw, Raw()).error("param"), "logit_bias");
  server.Set({.refusal = node::GenerateError{.error = {ErrorCode::kUnsupported, "cannot rank"},
                                             .refusal = node::Refusal::kBadModel,
                                             .field = "model"}});
  const Json pair = {{"model", "tiny"}, {"query", "q"}, {"documents", {"a"}}};
  const auto ranked = Post(server, "/v1/rerank", pair);
  EXPECT_EQ(ranked.status, 400);
  EXPECT_EQ(ranked.error("param"), "model");
}

// Requests of OpenAI's own documentation: accepted, or refused with the field named.
TEST(CompletionsTest, TakesOrNamesTheDocumentedFields) {
  TestServer server;
  for (const char* field :
       {"user", "service_tier", "safety_identifier", "prompt_cache_key", "verbosity"}) {
    EXPECT_EQ(Post(server, kChat, Chat({{field, "low"}})).status, 200) << field;
  }
  EXPECT_EQ(
      Post(server, kChat, Chat({{"parallel_tool_calls", false}, {"modalities", {"text"}}})).status,
      200);
}

}  // namespace
}  // namespace exo::service::openai
