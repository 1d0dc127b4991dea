// Deltas that are not text, in OpenAI's shapes, as a client sees them.
#include "service/openai/encode.h"

#include <gtest/gtest.h>

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
  EXPECT_EQ(delta(1), Json::parse(R"({"reasoning_content":"Let me "})"));
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
    sink.OnDelta({node::TextDelta{"Hi"}, {}});
    const node::SampledLogprob sampled[] = {
        {.token = {"Hi", -0.5}, .top = {{"Hi", -0.5}, {"\xC3", -1.5}}}};
    sink.OnDelta({node::LogprobsDelta{sampled}, {}});
  };
  return script;
}

TEST(EncodeTest, LogprobsOfAChatHaveBytesAndAlternatives) {
  TestServer server({}, WithLogprobs());
  const Json whole = Ask(server, kChat, kBody)["choices"][0]["logprobs"];
  const Json& token = whole["content"][0];
  EXPECT_EQ(token["token"], "Hi");
  EXPECT_EQ(token["logprob"], -0.5);
  EXPECT_EQ(token["bytes"], Json::array({72, 105}));
  EXPECT_EQ(token["top_logprobs"][1]["bytes"], Json::array({0xC3}));
  EXPECT_EQ(token["top_logprobs"][1]["token"], "\xEF\xBF\xBD");  // part of a character
  Json body = kBody;
  body["stream"] = true;
  const auto events = Post(server, kChat, body).events();
  ASSERT_EQ(events.size(), 4u);
  EXPECT_EQ(events[2]["choices"][0]["logprobs"], whole);
}

TEST(EncodeTest, LogprobsOfACompletionHaveTheOlderShape) {
  TestServer server({}, WithLogprobs());
  const Json body = {{"model", "tiny"}, {"prompt", "x"}};
  const Json whole = Ask(server, "/v1/completions", body)["choices"][0];
  EXPECT_EQ(whole["text"], "Hi");
  EXPECT_EQ(whole["logprobs"]["tokens"], Json::array({"Hi"}));
  EXPECT_EQ(whole["logprobs"]["token_logprobs"], Json::array({-0.5}));
  EXPECT_EQ(whole["logprobs"]["top_logprobs"][0]["Hi"], -0.5);
  EXPECT_EQ(whole["logprobs"]["text_offset"], Json::array({0}));
}

}  // namespace
}  // namespace exo::service::openai
