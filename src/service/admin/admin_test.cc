// Metrics, pairing, plans and errors of the internal routes, over a fake node.
#include <gtest/gtest.h>

#include "service/harness.h"

namespace exo::service::admin {
namespace {

TEST(MetricsTest, ArePrometheusText) {
  TestServer server;
  const auto answer = Call(server, "GET", "/metrics");
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("content-type: text/plain; version=0.0.4"));
  const auto has = [&](const std::string& line) {
    return answer.body.find("\n" + line + "\n") != std::string::npos;
  };
  EXPECT_TRUE(has("exo_loop_turn_seconds_bucket{le=\"0.001\"} 8")) << answer.body;
  EXPECT_TRUE(has("exo_loop_turn_seconds_bucket{le=\"+Inf\"} 10"));
  EXPECT_TRUE(has("exo_loop_turn_seconds_sum 0.007"));
  EXPECT_TRUE(has("exo_loop_longest_turn_seconds 0.003"));
  EXPECT_TRUE(has("exo_requests_active 2"));
  EXPECT_TRUE(has("exo_generated_tokens_total 1234"));
  EXPECT_TRUE(has("exo_memory_budget_bytes 1099511627776"));  // exact, no exponent
  EXPECT_TRUE(has("exo_log_lines_lost_total 3"));
  EXPECT_TRUE(has("exo_prefix_store_bytes 8388608"));
  EXPECT_TRUE(has("exo_prefix_pages_written_total 11"));
  EXPECT_TRUE(has("exo_prefix_pages_dropped_total 12"));
  EXPECT_TRUE(has("exo_prefix_pages_loaded_total 13"));
  EXPECT_TRUE(has("exo_prefix_pages_missed_total 14"));
  EXPECT_TRUE(has("exo_prefix_restored_tokens_total 3072"));
  EXPECT_TRUE(has("exo_moved_tokens_total 512"));
  EXPECT_TRUE(has("exo_recomputed_tokens_total 13"));
  EXPECT_TRUE(has("exo_http_connections 1"));
  EXPECT_TRUE(has("exo_http_body_bytes 0"));
  EXPECT_TRUE(has("exo_http_requests_total 1"));
}

TEST(InspectRoutesTest, TellWhatTheDoctorFindsAndWhereAModelLies) {
  TestServer server;
  const Json checks = Call(server, "GET", "/v1/internal/doctor").json()["checks"];
  ASSERT_EQ(checks.size(), 2u);
  EXPECT_EQ(checks[0]["state"], "ok");
  EXPECT_EQ(checks[1], (Json{{"id", "disk"},
                             {"state", "problem"},
                             {"title", "the disk is full"},
                             {"detail", "0 B of 1 GiB"},
                             {"fix", "make room"}}));
  const Json place = Call(server, "GET", "/v1/internal/models/tiny").json();
  EXPECT_EQ(place["path"], "/models/tiny.gguf");
  EXPECT_EQ(place["devices"], (Json{"kitchen", "desk"}));
  EXPECT_EQ(Call(server, "GET", "/v1/internal/models/none").status, 404);
}

TEST(PairingRoutesTest, InviteJoinApproveForget) {
  TestServer server;
  const Json invite = Post(server, "/v1/internal/invite", {{"guest", true}}).json();
  EXPECT_EQ(invite["code"], "042137");
  EXPECT_EQ(invite["links"][0], "exo://10.0.0.1:7/x");
  EXPECT_EQ(invite["guest"], true);
  EXPECT_EQ(Post(server, "/v1/internal/join", {{"code", "042137"}, {"at", "b:1"}}).json()["name"],
            "kitchen b:1");
  const auto wrong = Post(server, "/v1/internal/join", {{"code", "1"}});
  EXPECT_EQ(wrong.status, 400);
  EXPECT_EQ(wrong.error("message"), "the code is wrong");
  EXPECT_EQ(Post(server, "/v1/internal/approve", {{"device", "02"}}).json()["state"], "member");
  EXPECT_EQ(Post(server, "/v1/internal/forget", {{"device", "desk"}}).json()["state"], "forgotten");
  EXPECT_EQ(Post(server, "/v1/internal/forget", {{"device", "none"}}).status, 404);
  EXPECT_EQ(Post(server, "/v1/internal/rotate-secret", Json::object()).status, 200);
  EXPECT_EQ(Call(server, "GET", "/v1/internal/trust").json()["devices"][0]["state"], "pending");
  EXPECT_EQ(Call(server, "GET", "/v1/internal/secret").json()["secret"], "AAAA-BBBB");
}

TEST(PairingRoutesTest, BadBodiesAreNamed) {
  TestServer server;
  EXPECT_EQ(Post(server, "/v1/internal/join", {{"code", 7}}).status, 400);
  EXPECT_EQ(Post(server, "/v1/internal/join", {{"code", std::string(600, '1')}}).status, 400);
  EXPECT_EQ(Post(server, "/v1/internal/invite", {{"guest", "yes"}}).status, 400);
  EXPECT_EQ(Post(server, "/v1/internal/invite", Json::array()).status, 400);
}

TEST(LoadTest, TakesAdapters) {
  TestServer server;
  const char* const kLoad = "/v1/internal/load";
  EXPECT_EQ(Post(server, kLoad, Json::parse(R"({"model": "tiny", "adapters": [
                {"file": "/a.gguf", "scale": 0.5}, {"file": "b"}]})"))
                .status,
            200);
  for (const char* adapters :
       {"3", "[3]", R"([{"scale": 1}])", R"([{"file": 1}])", R"([{"file": "a", "scale": 1e9}])"}) {
    const Json body = {{"model", "tiny"}, {"adapters", Json::parse(adapters)}};
    EXPECT_EQ(Post(server, kLoad, body).status, 400) << adapters;
  }
}

TEST(AdminTest, ATagNamesNoOtherModel) {
  TestServer server;
  for (const char* name : {"tiny", "tiny:latest"}) {
    const Json plan = Post(server, "/v1/internal/plan", {{"model", name}}).json();
    EXPECT_EQ(plan["model"], "tiny") << plan;
  }
}

TEST(AdminTest, APlanSaysWhatIsExpectedAndWhy) {
  TestServer server;
  const Json plan =
      Post(server, "/v1/internal/plan", {{"model", "tiny"}, {"for", "throughput"}, {"users", 3}})
          .json();
  EXPECT_EQ(plan["users"], 3);
  EXPECT_EQ(plan["predicted_tokens_per_second"], 10);
  EXPECT_EQ(plan["predicted_total_per_second"], 25);
  EXPECT_EQ(plan["predicted_ttft_ms"], 800);
  EXPECT_EQ(plan["predicted_prompt_tokens"], 512);
  EXPECT_EQ(plan["stages"][0]["ms_per_token"], 60) << plan;
  EXPECT_EQ(plan["devices"][0]["memory_available"], 1 << 20);
  EXPECT_EQ(plan["hops"][0]["rtt_ms"], 0.5);
  EXPECT_TRUE(plan["hops"][0]["mbps"].is_null());
  EXPECT_EQ(plan["explanation"][0], "kitchen alone: 10.0 tokens/s; chosen");
  for (const Json& users : {Json(0), Json(1025), Json("4"), Json(1.5)}) {
    const auto answer = Post(server, "/v1/internal/plan", {{"model", "tiny"}, {"users", users}});
    EXPECT_EQ(answer.status, 400) << users;
    EXPECT_EQ(answer.json()["error"]["param"], "users");
  }
}

TEST(AdminTest, APlanAsIfDevicesWereAway) {
  TestServer server;
  const auto plan = [&](const Json& without) {
    return Post(server, "/v1/internal/plan", {{"model", "tiny"}, {"without", without}});
  };
  const std::string id = "02" + std::string(62, '0');
  EXPECT_EQ(plan(Json::array({id})).json()["reason"], "tiny without 02000000");
  EXPECT_EQ(plan(Json::array()).json()["reason"], "tiny");
  for (const Json& bad :
       {Json("02"), Json::array({"desk"}), Json::array({3}), Json(std::vector<int>(65))}) {
    const Answered answer = plan(bad);
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_EQ(answer.error("param"), "without");
  }
}

// Not OpenAI's shape: there is no "type".
TEST(ErrorsTest, HaveAShapeOfTheirOwn) {
  TestServer server;
  auto answer = Post(server, "/v1/internal/load", {{"model", 5}});
  EXPECT_EQ(answer.status, 400);
  EXPECT_EQ(answer.json()["error"],
            Json::parse(R"({"message": "'model' must be a string", "param": "model",
                            "code": "invalid_value"})"));
  Script script;
  script.admin_fails = true;
  server.Set(script);
  answer = Post(server, "/v1/internal/load", {{"model", "tiny"}});
  EXPECT_EQ(answer.status, 404);
  EXPECT_EQ(answer.error("message"), "no such file");
  EXPECT_EQ(answer.error("code"), "not_found");
  EXPECT_FALSE(answer.json()["error"].contains("type"));
  answer = Call(server, "DELETE", "/health");
  EXPECT_EQ(answer.status, 405);
  EXPECT_EQ(answer.error("code"), "method_not_allowed");
  EXPECT_FALSE(answer.json()["error"].contains("type"));
}

}  // namespace
}  // namespace exo::service::admin
