#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "service/harness.h"

namespace exo::service {
namespace {

std::vector<Json> LinesOf(const std::string& body) {
  std::vector<Json> lines;
  for (size_t begin = 0, end; (end = body.find('\n', begin)) != body.npos; begin = end + 1)
    lines.push_back(ParseJson(body.substr(begin, end - begin)).value_or(Json()));
  return lines;
}

TEST(OllamaPullTest, StepsAreToldInOllamasWordsAndOrder) {
  TestServer server;
  const Answered answer = Post(server, "/api/pull", {{"model", "hf:o/r"}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("content-type: application/x-ndjson"));
  const std::string digest = "sha256:" + std::string(64, 'a');
  const Json first = {
      {"status", "pulling aaaaaaaaaaaa"}, {"digest", digest}, {"total", 1000}, {"completed", 250}};
  Json second = first;
  second["completed"] = 1000;
  const std::vector<Json> expected = {{{"status", "pulling manifest"}},
                                      first,
                                      second,
                                      {{"status", "verifying sha256 digest"}},
                                      {{"status", "writing manifest"}},
                                      {{"status", "success"}}};
  EXPECT_EQ(LinesOf(answer.body), expected);
}

TEST(OllamaPullTest, AnswersWholeWhereNoStreamIsWanted) {
  TestServer server;
  const Answered answer = Post(server, "/api/pull", {{"model", "hf:o/r"}, {"stream", false}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.json(), (Json{{"status", "success"}}));
  const Answered failed = Post(server, "/api/pull", {{"model", "hf:o/cut"}, {"stream", false}});
  EXPECT_EQ(failed.status, 502);
  EXPECT_EQ(failed.json(), (Json{{"error", "the line is cut"}}));
}

TEST(OllamaPullTest, ACutAfterTheStreamBeganIsItsLastLine) {
  TestServer server;
  const Answered answer = Post(server, "/api/pull", {{"model", "hf:o/cut"}});
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(LinesOf(answer.body).back(), (Json{{"error", "the line is cut"}}));
}

TEST(OllamaPullTest, WhatIsHereIsASuccessAndWhatIsNowhereIs404) {
  TestServer server;
  const std::vector<Json> lines = LinesOf(Post(server, "/api/pull", {{"name", "tiny"}}).body);
  EXPECT_EQ(lines.front(), (Json{{"status", "pulling manifest"}}));
  EXPECT_EQ(lines.back(), (Json{{"status", "success"}}));
  EXPECT_EQ(Post(server, "/api/pull", {{"model", "nobody"}}).status, 404);
  EXPECT_EQ(Post(server, "/api/pull", Json::object()).status, 400);
}

TEST(AdminPullTest, EventsSayHowFarItIs) {
  TestServer server;
  const std::vector<Json> events =
      Post(server, "/v1/internal/pull", {{"model", "hf:o/r"}}).events();
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[0]["step"], "file");
  EXPECT_EQ(events[0]["file"], "r-Q4_K_M.gguf");
  EXPECT_EQ(events[0]["completed"], 250);
  EXPECT_EQ(events[0]["bytes_per_second"], 125.0);
  EXPECT_EQ(events[0]["seconds_left"], 6.0);
  EXPECT_EQ(events[1]["step"], "placing");
  EXPECT_EQ(events[2], (Json{{"step", "done"}, {"model", "r-Q4_K_M"}}));
}

TEST(AdminPullTest, ErrorsHaveAStatusInAStreamToo) {
  TestServer server;
  const Answered unknown = Post(server, "/v1/internal/pull", {{"model", "hf:o/none"}});
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.error("code"), "model_not_found");
  const std::vector<Json> events =
      Post(server, "/v1/internal/pull", {{"model", "hf:o/cut"}}).events();
  ASSERT_FALSE(events.empty());
  EXPECT_EQ(events.back()["error"]["status"], 502);
  EXPECT_EQ(events.back()["error"]["message"], "the line is cut");
}

}  // namespace
}  // namespace exo::service
