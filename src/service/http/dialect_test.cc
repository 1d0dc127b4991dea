// The seam for dialects, shown by a tiny one: its own routes, request, stream and errors.
#include "service/http/dialect.h"

#include <gtest/gtest.h>

#include "service/answer.h"
#include "service/harness.h"

namespace exo::service {
namespace {

constexpr StreamFormat kLines{"application/x-lines", ""};

HttpResponse RenderLine(const ApiError& error) {
  return {.status = error.status,
          .body = "E " + error.message + "\n",
          .content_type = "application/x-lines"};
}

// One line for each thing that happens.
class LineEncoder final : public Encoder {
 public:
  std::optional<StreamFormat> format() const override { return kLines; }
  std::string Start(const node::StartReport& report) override {
    return "S " + std::to_string(report.prompt_tokens) + "\n";
  }
  std::string Add(const node::Delta& delta) override {
    const auto* text = std::get_if<node::TextDelta>(&delta.what);
    return text == nullptr ? "?\n" : "T " + std::string(text->text) + "\n";
  }
  std::string Done(wire::FinishReason, const node::GenerateStats& stats) override {
    return "D " + std::to_string(stats.completion_tokens) + "\n";
  }
  HttpResponse Fail(const node::GenerateError& error) override {
    return RenderLine({.status = 418, .message = error.error.message});
  }
  std::string FailMidStream(const node::GenerateError& error) override {
    return "E " + error.error.message + "\n";
  }
};

// POST /say: the body is the prompt.
std::vector<Dialect> Lines(node::Api& api) {
  Dialect dialect{.name = "lines", .render = &RenderLine};
  dialect.routes = {{"POST", "/say", Scope::kInfer, [&api](HttpRequest request) -> Parsed<Action> {
                       if (request.body.empty())
                         return std::unexpected(ApiError{400, "say something", "", ""});
                       node::GenerateRequest call{.model = "tiny", .prompt = request.body};
                       return Generate(api, std::move(call), std::make_unique<LineEncoder>(),
                                       request.caller);
                     }}};
  return {dialect};
}

TEST(DialectTest, HasItsOwnRequestsStreamsAndErrors) {
  TestServer server({}, &Lines);
  auto answer = Call(server, "POST", "/say", "Once");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("content-type: application/x-lines"));
  EXPECT_EQ(answer.body, "S 7\nT Hel\nT lo\nD 2\n");
  EXPECT_EQ(server.last_request().prompt, "Once");
  EXPECT_EQ(Call(server, "POST", "/say", "").body, "E say something\n");

  Script script;
  script.refusal = node::GenerateError{{ErrorCode::kOverloaded, "full"}, node::Refusal::kQueueFull};
  server.Set(script);
  answer = Call(server, "POST", "/say", "x");
  EXPECT_EQ(answer.status, 418);
  EXPECT_EQ(answer.body, "E full\n");
  script.refusal = {};
  script.loss = node::GenerateError{{ErrorCode::kDisconnected, "lost"}, node::Refusal::kLost};
  server.Set(script);
  EXPECT_TRUE(Call(server, "POST", "/say", "x").body.ends_with("E lost\n"));
}

TEST(DialectTest, RendersWhatTheServerRefuses) {
  TestServer server({}, &Lines);
  EXPECT_EQ(Call(server, "GET", "/say").body, "E GET is not allowed for /say; use POST\n");
  EXPECT_EQ(Call(server, "POST", "/no", "{}").body,
            "E '/no' is not served here; there are: POST /say\n");
  EXPECT_EQ(Call(server, "POST", "/say", "x", "Host: evil.example\r\n").status, 403);
  TestClient broken(server.port());
  broken.Write("nonsense\r\n\r\n");
  EXPECT_TRUE(broken.Read().body.starts_with("E the request is not valid HTTP/1.1"));
}

// Twice the size that is read on the loop.
TEST(DialectTest, ReadsLargeBodiesElsewhereAndAnswersTheSame) {
  TestServer server({}, &Lines);
  const std::string large(2 * kMaxReadOnLoop, 'x');
  EXPECT_EQ(Call(server, "POST", "/say", large).body, "S 7\nT Hel\nT lo\nD 2\n");
  EXPECT_EQ(server.last_request().prompt, large);
}

}  // namespace
}  // namespace exo::service
