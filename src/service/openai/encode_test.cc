// Deltas that are not text, in OpenAI's shapes, as a client sees them.
#include "service/openai/encode.h"

#include <gtest/gtest.h>

#include <limits>

#include "service/harness.h"

namespace exo::service::openai {
namespace {

const Json kBody = {{"model", "tiny"}, {"messages", {{{"role", "user"}, {"content", "Hi"}}}}};

Json Ask(const TestServer& server, const char* path, Json body) {
  return Post(server, path, body).json();
}

Script ThinksAndCalls() {
  Script script{.pieces = {}};
  script.extra = [](node::GenerateSink& sink) {
    const TokenId id = 5;
    sink.OnDelta({node::ReasoningDelta{"Let me "}, std::span(&id, 1)});
    sink.OnDelta({node::ReasoningDelta{"look."}, {}});
    sink.OnDelta({node::ToolCallDelta{0, "call_1", "weather", R"({"city":)"}, {}});
    sink.OnDelta({node::ToolCallDelta{.index = 0, .arguments = R"("Rome"})"}, {}});
    sink.OnDelta({node::ToolCallDelta{1, "call_2", "time", "{}"}, {}});
  };
  return script;
}

TEST(EncodeTest, ReasoningAndToolCallsHaveTheirFields) {
  TestServer server({}, ThinksAndCalls());
  const Json json = Ask(server, kChat, kBody);
  const Json& choice = json["choices"][0];
  EXPECT_EQ(choice["finish_reason"], "tool_calls");
  EXPECT_TRUE(choice["message"]["content"].is_null());
  EXPECT_EQ(choice["message"]["reasoning_content"], "Let me look.");
  EXPECT_EQ(choice["message"]["tool_calls"], Json::parse(R"([{"id":"call_1","type":"function",
                             "function":{"name":"weather","arguments":"{\"city\":\"Rome\"}"}},
                            {"id":"call_2","type":"function",
                             "function":{"name":"time","arguments":"{}"}}])"));
  EXPECT_EQ(json["exo"]["token_ids"], Json::array({5}));
}

TEST(EncodeTest, StreamsNameAToolCallOnceAndAddItsArguments) {
  TestServer server({}, ThinksAndCalls());
  Json body = kBody;
  body["stream"] = true;
  const auto events = Post(server, kChat, body).events();
  ASSERT_EQ(events.size(), 7u);  // role, 2 reasoning, 3 of calls, finish
  const auto delta = [&](size_t i) { return events[i]["choices"][0]["delta"]; };
  EXPECT_EQ(delta(1), Json::parse(R"({"reasoning":"Let me ","reasoning_content":"Let me "})"));
  EXPECT_EQ(delta(3)["tool_calls"][0], Json::parse(R"({"index":0,"id":"call_1","type":"function",
                            "function":{"name":"weather","arguments":"{\"city\":"}})"));
  EXPECT_EQ(delta(4)["tool_calls"][0],
            Json::parse(R"({"index":0,"function":{"arguments":"\"Rome\"}"}})"));
  EXPECT_EQ(delta(5)["tool_calls"][0]["index"], 1);
  EXPECT_EQ(events[6]["choices"][0]["finish_reason"], "tool_calls");
}

Script WithLogprobs() {
  Script script{.pieces = {}};
  script.extra = [](node::GenerateSink& sink) {
    const double never = -std::numeric_limits<double>::infinity();
    const node::SampledLogprob sampled[] = {
        {.token = {"Hi", -0.5}, .top = {{"Hi", -0.5}, {"\xC3", -1.5}}},
        {.token = {"\xC3", -1}, .top = {{"Hi", -0.5}, {"x", never}}}};
    sink.OnDelta({.what = node::TextDelta{"Hi"}, .logprobs = std::span(sampled).first(1)});
    sink.OnDelta({.what = node::TextDelta{}, .logprobs = std::span(sampled).last(1)});
  };
  return script;
}

TEST(EncodeTest, LogprobsOfAChatHaveBytesAndAlternatives) {
  TestServer server({}, WithLogprobs());
  EXPECT_TRUE(Ask(server, kChat, kBody)["choices"][0]["logprobs"].is_null());  // not asked for
  Json body = kBody;
  body["logprobs"] = true;
  body["top_logprobs"] = 2;
  const Json whole = Ask(server, kChat, body)["choices"][0]["logprobs"];
  const Json& token = whole["content"][0];
  EXPECT_EQ(token["token"], "Hi");
  EXPECT_EQ(token["logprob"], -0.5);
  EXPECT_EQ(token["bytes"], Json::array({72, 105}));
  EXPECT_EQ(token["top_logprobs"][1]["bytes"], Json::array({0xC3}));
  EXPECT_EQ(token["top_logprobs"][1]["token"], "\xEF\xBF\xBD");         // part of a character
  EXPECT_EQ(whole["content"][1]["top_logprobs"][1]["logprob"], -9999);  // JSON has no infinity
  body["stream"] = true;
  const auto events = Post(server, kChat, body).events();
  ASSERT_EQ(events.size(), 4u);  // role, the text, a token that shows nothing yet, finish
  EXPECT_EQ(events[1]["choices"][0]["delta"]["content"], "Hi");
  EXPECT_EQ(events[1]["choices"][0]["logprobs"]["content"], Json::array({whole["content"][0]}));
  EXPECT_EQ(events[2]["choices"][0]["delta"]["content"], "");
  EXPECT_EQ(events[2]["choices"][0]["logprobs"]["content"], Json::array({whole["content"][1]}));
  EXPECT_TRUE(events[3]["choices"][0]["logprobs"].is_null());
}

TEST(EncodeTest, BestOfTellsTheLikeliestOfThoseDrawn) {
  Script script{.pieces = {}};
  script.extra = [](node::GenerateSink& sink) {
    // Means of -1, -0.5 and nothing.
    const node::SampledLogprob sampled[] = {
        {.token = {"a", -1}}, {.token = {"b", 0}}, {.token = {"c", -1}}};
    const TokenId ids[] = {7, 8, 9};
    sink.OnDelta({node::TextDelta{"a"}, std::span(ids).first(1), std::span(sampled).first(1), 0});
    sink.OnDelta({node::TextDelta{"bc"}, std::span(ids).last(2), std::span(sampled).last(2), 1});
  };
  TestServer server({}, script);
  Json body = {{"model", "tiny"}, {"prompt", "x"}, {"n", 2}, {"best_of", 3}};
  const Json json = Ask(server, "/v1/completions", body);
  ASSERT_EQ(json["choices"].size(), 2u) << json.dump();
  EXPECT_EQ(json["choices"][0]["text"], "bc");
  EXPECT_EQ(json["choices"][1]["text"], "a");
  EXPECT_EQ(json["choices"][1]["index"], 1);
  EXPECT_TRUE(json["choices"][0]["logprobs"].is_null());  // not asked for
  EXPECT_EQ(json["exo"]["choice_token_ids"], Json::parse("[[8,9],[7]]"));
  EXPECT_EQ(server.last_request().choices, 3u);
  EXPECT_TRUE(server.last_request().sampler.logprobs);
  for (const Json& more : {Json{{"best_of", 1}}, Json{{"stream", true}}, Json{{"best_of", 33}}}) {
    Json bad = body;
    bad.update(more);
    const auto answer = Post(server, "/v1/completions", bad);
    EXPECT_EQ(answer.status, 400) << answer.body;
    EXPECT_EQ(answer.error("param"), "best_of");
  }
}

TEST(EncodeTest, LogprobsOfACompletionHaveTheOlderShape) {
  TestServer server({}, WithLogprobs());
  Json body = {{"model", "tiny"}, {"prompt", "x"}, {"logprobs", 2}};
  const Json whole = Ask(server, "/v1/completions", body)["choices"][0];
  EXPECT_EQ(whole["text"], "Hi");
  EXPECT_EQ(whole["logprobs"]["tokens"], Json::array({"Hi", "\xEF\xBF\xBD"}));
  EXPECT_EQ(whole["logprobs"]["token_logprobs"], Json::array({-0.5, -1}));
  EXPECT_EQ(whole["logprobs"]["top_logprobs"][0]["Hi"], -0.5);
  EXPECT_EQ(whole["logprobs"]["text_offset"], Json::array({0, 2}));
  body["stream"] = true;
  const auto events = Post(server, "/v1/completions", body).events();
  EXPECT_EQ(events[0]["choices"][0]["logprobs"]["text_offset"], Json::array({0}));
  EXPECT_EQ(events[1]["choices"][0]["logprobs"]["text_offset"], Json::array({2}));
}

// "é€" in three tokens of which the second ends the one and begins the other, and a stop text that
// is held back.
TEST(EncodeTest, TextOffsetsCountCharactersOfTheTokensThemselves) {
  Script script{.pieces = {}};
  script.extra = [](node::GenerateSink& sink) {
    const node::SampledLogprob sampled[] = {{.token = {"a\xC3", -1}},
                                            {.token = {"\xA9\xE2\x82", -1}},
                                            {.token = {"\xAC", -1}},
                                            {.token = {"EN", -1}},
                                            {.token = {"D", -1}}};
    const std::span all(sampled);
    sink.OnDelta({.what = node::TextDelta{"a"}, .logprobs = all.first(1)});
    sink.OnDelta({.what = node::TextDelta{"\xC3\xA9"}, .logprobs = all.subspan(1, 1)});
    sink.OnDelta({.what = node::TextDelta{"\xE2\x82\xAC"}, .logprobs = all.subspan(2, 1)});
    sink.OnDelta({.what = node::TextDelta{}, .logprobs = all.subspan(3, 1)});
    sink.OnDelta({.what = node::TextDelta{}, .logprobs = all.subspan(4, 1)});
  };
  TestServer server({}, script);
  Json body = {{"model", "tiny"}, {"prompt", "x"}, {"logprobs", 1}};
  const Json whole = Ask(server, "/v1/completions", body)["choices"][0];
  EXPECT_EQ(whole["text"], "a\xC3\xA9\xE2\x82\xAC");
  EXPECT_EQ(whole["logprobs"]["text_offset"], Json::array({0, 1, 2, 3, 3}));
  body["stream"] = true;
  Json offsets = Json::array();
  for (const Json& event : Post(server, "/v1/completions", body).events()) {
    const Json& logprobs = event["choices"][0]["logprobs"];
    if (!logprobs.is_null()) offsets.push_back(logprobs["text_offset"][0]);
  }
  EXPECT_EQ(offsets, Json::array({0, 1, 2, 3, 5}));
}

Script TwoChoices() {
  Script script{.pieces = {}};
  script.reasons = {wire::FinishReason::kLength, wire::FinishReason::kStop};
  script.extra = [](node::GenerateSink& sink) {
    const TokenId ids[] = {4, 9};
    sink.OnDelta({.what = node::TextDelta{"left"}, .ids = std::span(ids).first(1), .choice = 0});
    sink.OnDelta({.what = node::TextDelta{"right"}, .ids = std::span(ids).last(1), .choice = 1});
    sink.OnDelta({.what = node::TextDelta{" hand"}, .choice = 0});
  };
  return script;
}

TEST(EncodeTest, ChoicesHaveTheirIndexTextAndFinish) {
  TestServer server({}, TwoChoices());
  Json body = kBody;
  body["n"] = 2;
  const Json json = Ask(server, kChat, body);
  ASSERT_EQ(json["choices"].size(), 2u);
  EXPECT_EQ(json["choices"][0]["message"]["content"], "left hand");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["choices"][1]["index"], 1);
  EXPECT_EQ(json["choices"][1]["message"]["content"], "right");
  EXPECT_EQ(json["choices"][1]["finish_reason"], "stop");
  EXPECT_EQ(json["exo"]["token_ids"], Json::array({4}));
  EXPECT_EQ(json["exo"]["choice_token_ids"], Json::parse("[[4],[9]]"));
  EXPECT_EQ(json["usage"]["prompt_tokens"], 7);
  body["stream"] = true;
  const auto events = Post(server, kChat, body).events();
  ASSERT_EQ(events.size(), 7u);  // two roles, three texts, two ends
  std::string texts[2], ends[2];
  for (const Json& event : events) {
    const Json& choice = event["choices"][0];
    const size_t index = choice["index"];
    texts[index] += choice["delta"].value("content", "");
    if (!choice["finish_reason"].is_null()) ends[index] = choice["finish_reason"];
  }
  EXPECT_EQ(texts[0], "left hand");
  EXPECT_EQ(texts[1], "right");
  EXPECT_EQ(ends[0], "length");
  EXPECT_EQ(ends[1], "stop");
}

}  // namespace
}  // namespace exo::service::openai
