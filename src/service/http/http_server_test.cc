// The server as clients and attackers meet it: routes, limits, lost and slow clients.
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <thread>

#include "service/harness.h"

namespace exo::service {
namespace {

using std::chrono::milliseconds;

const std::string kHi = R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}]})";
const std::string kHiStream =
    R"({"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}]})";

TEST(HttpServerTest, ServesItsRoutes) {
  TestServer server;
  EXPECT_EQ(Call(server, "GET", "/health").json()["status"], "ok");
  EXPECT_EQ(Call(server, "GET", "/health?x=1").status, 200);
  const Json models = Call(server, "GET", "/v1/models").json();
  EXPECT_EQ(models["object"], "list");
  EXPECT_EQ(models["data"].size(), 2u);
  EXPECT_EQ(models["data"][0]["id"], "tiny");
  EXPECT_EQ(models["data"][0]["object"], "model");
  EXPECT_EQ(models["data"][0]["created_at"], "2023-11-14T22:13:20Z");
  for (const char* key :
       {"max_model_len", "context_length", "context_window", "max_context_length"}) {
    EXPECT_EQ(models["data"][0][key], 512) << key;
  }
  EXPECT_EQ(Call(server, "GET", "/v1/models/hub/tiny").json()["id"], "hub/tiny");
  EXPECT_EQ(Call(server, "GET", "/v1/models/hub%2Ftiny").json()["id"], "hub/tiny");
  EXPECT_EQ(Call(server, "GET", "/v1/models/none").error("code"), "model_not_found");
}

TEST(HttpServerTest, ClusterSaysWhoHasWhichLayers) {
  TestServer server;
  const Json json = Call(server, "GET", "/v1/cluster").json();
  EXPECT_EQ(json["nodes"][0]["state"], "self");
  EXPECT_EQ(json["nodes"][0]["addresses"], Json::array({"10.0.0.1:7", "[fe80::1]:8"}));
  EXPECT_EQ(json["nodes"][1]["rtt_ms"], 0.4);
  EXPECT_EQ(json["links"].size(), 1u);
  const Json& instance = json["instances"][0];
  EXPECT_EQ(instance["state"], "ready");
  EXPECT_EQ(instance["predicted_tokens_per_second"], 42);
  EXPECT_EQ(instance["stages"][1]["node"], "desk");
  EXPECT_EQ(instance["stages"][1]["layer_begin"], 5);
  EXPECT_EQ(instance["stages"][1]["layer_end"], 8);
}

TEST(HttpServerTest, ServesTheCommandLine) {
  TestServer server;
  Json plan = Post(server, "/v1/internal/plan", {{"model", "tiny"}, {"spread", true}}).json();
  EXPECT_EQ(plan["reason"], "tiny spread");
  EXPECT_EQ(plan["stages"][0]["node"], "kitchen");
  EXPECT_EQ(Post(server, "/v1/internal/load", {{"model", "tiny"}}).json()["state"], "ready");
  EXPECT_EQ(Post(server, "/v1/internal/models", {{"path", "/a.gguf"}}).json()["model"],
            "name of /a.gguf");
  EXPECT_EQ(Call(server, "DELETE", "/v1/internal/models/hub%2Ftiny").status, 200);
  EXPECT_EQ(Call(server, "DELETE", "/v1/internal/models/none").status, 404);
  EXPECT_EQ(Post(server, "/v1/internal/unload", {{"model", "tiny"}}).json()["ok"], true);
  EXPECT_EQ(Post(server, "/v1/internal/plan", {{"spread", true}}).error("param"), "model");
  Script script;
  script.admin_fails = true;
  server.Set(script);
  EXPECT_EQ(Post(server, "/v1/internal/load", {{"model", "tiny"}}).status, 404);
}

TEST(HttpServerTest, UnknownPathsAndMethods) {
  TestServer server;
  const auto unknown = Call(server, "POST", "/v1/nothing", "{}");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_NE(unknown.error("message").find("/v1/chat/completions"), std::string::npos);
  auto answer = Call(server, "GET", kChat);
  EXPECT_EQ(answer.status, 405);
  EXPECT_TRUE(answer.has("allow: post, options"));
  EXPECT_EQ(Call(server, "DELETE", "/v1/models").status, 405);
  answer = Call(server, "OPTIONS", kChat);
  EXPECT_EQ(answer.status, 204);
  EXPECT_TRUE(answer.has("allow: post"));
  EXPECT_FALSE(answer.has("access-control"));
  answer = Call(server, "HEAD", "/v1/models");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "");
  EXPECT_EQ(Call(server, "GET", "/../etc/passwd").status, 404);
}

TEST(HttpServerTest, HostAndOriginAreChecked) {
  TestServer server;
  const std::string port = std::to_string(server.port());
  const auto host = [&](const std::string& value) {
    return Call(server, "GET", "/health", "", "Host: " + value + "\r\n").status;
  };
  for (const char* good :
       {"localhost", "127.0.0.1", "[::1]", "LocalHost:1234", "127.0.0.1:52415", "[::1]:9"}) {
    EXPECT_EQ(host(good), 200) << good;
  }
  for (const char* bad :
       {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example:52415", "0.0.0.0", "",
        "localhost:80:80", "localhost:x", "[::2]", "192.168.1.5:52415", "::1"}) {
    EXPECT_EQ(host(bad), 403) << bad;
  }
  EXPECT_EQ(Call(server, "GET", "/health", "", "Host: localhost\r\nHost: localhost\r\n").status,
            400);
  TestClient bare(server.port());
  bare.Write("GET /health HTTP/1.1\r\n\r\n");
  EXPECT_EQ(bare.Read().status, 400);
  const auto origin = [&](const std::string& value, const char* method) {
    return Call(server, method, method == std::string("POST") ? kChat : "/health",
                method == std::string("POST") ? kHi : "",
                "Content-Type: application/json\r\nHost: localhost:" + port +
                    "\r\nOrigin: " + value + "\r\n")
        .status;
  };
  for (const char* method : {"GET", "POST"}) {
    EXPECT_EQ(origin("http://localhost:" + port, method), 200);
    EXPECT_EQ(origin("http://127.0.0.1:" + port, method), 200);
    EXPECT_EQ(origin("http://[::1]:" + port, method), 200);
    for (const char* bad :
         {"null", "http://evil.example", "http://localhost:3000", "https://localhost", "file://"}) {
      EXPECT_EQ(origin(bad, method), 403) << bad;
    }
  }
  EXPECT_EQ(origin("http://evil.example", "OPTIONS"), 403);
}

TEST(HttpServerTest, PostsMustBeJson) {
  TestServer server;
  for (const char* bad :
       {"Content-Type: text/plain\r\n", "", "Content-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/jsonx\r\n"}) {
    EXPECT_EQ(Call(server, "POST", kChat, kHi, bad).status, 415) << bad;
  }
  EXPECT_EQ(
      Call(server, "POST", kChat, kHi, "content-type: Application/JSON ; charset=utf-8\r\n").status,
      200);
}

TEST(HttpServerTest, ATakenPortIsNamed) {
  TestServer server;
  const std::string message = server.StartAgain();
  EXPECT_NE(message.find(std::to_string(server.port())), std::string::npos);
  EXPECT_NE(message.find("--api-port"), std::string::npos);
}

TEST(HttpServerTest, ALostClientFreesItsSlotAtOnce) {
  TestServer server;
  struct Case {
    const char* name;
    std::string body;
    Script script;
  };
  const std::vector<Case> cases = {
      {"stream", kHiStream, {.pieces = {"x"}, .endless = true, .delay = milliseconds(5)}},
      {"whole", kHi, {.pieces = {"x"}, .endless = true, .delay = milliseconds(5)}},
      {"prefill", kHi, {.prefill = milliseconds(60000)}},
      {"prefill, stream", kHiStream, {.prefill = milliseconds(60000)}}};
  for (const Case& c : cases) {
    server.Set(c.script);
    for (const bool reset : {false, true}) {
      TestClient client(server.port());
      client.Write(RequestText("POST", kChat, c.body));
      ASSERT_TRUE(WaitUntil([&] { return server.alive() == 1; })) << c.name;
      const linger now{.l_onoff = 1, .l_linger = 0};
      if (reset) ::setsockopt(client.descriptor(), SOL_SOCKET, SO_LINGER, &now, sizeof(now));
      client.Close();
      EXPECT_TRUE(WaitUntil([&] { return server.alive() == 0; })) << c.name;
    }
  }
  EXPECT_TRUE(WaitUntil([&] { return server.connections() == 0; }));
}

// Legal, and what `printf ... | nc -N` does: the client sends no more and waits for its answer.
TEST(HttpServerTest, AClientThatClosesItsSendingSideIsAnswered) {
  TestServer server;
  const auto ask = [&](const std::string& requests) {
    auto client = std::make_unique<TestClient>(server.port());
    client->Write(requests);
    EXPECT_EQ(::shutdown(client->descriptor(), SHUT_WR), 0);
    return client;
  };
  EXPECT_EQ(ask(RequestText("GET", "/v1/models"))->Read().status, 200);
  const std::vector<Script> scripts = {{.prefill = milliseconds(100)},
                                       {.pieces = {"Hel", "lo"}, .delay = milliseconds(60)}};
  for (const Script& script : scripts) {
    server.Set(script);
    EXPECT_EQ(
        ask(RequestText("POST", kChat, kHi))->Read().json()["choices"][0]["message"]["content"],
        "Hello");
    EXPECT_TRUE(
        ask(RequestText("POST", kChat, kHiStream))->Read().body.ends_with("data: [DONE]\n\n"));
    const auto three = ask(RequestText("POST", kChat, kHi) + RequestText("POST", kChat, kHi) +
                           RequestText("GET", "/health"));
    EXPECT_EQ(three->Read().status, 200);
    EXPECT_EQ(three->Read().status, 200);
    EXPECT_EQ(three->Read().json()["status"], "ok");
    EXPECT_EQ(three->ReadToEnd(), "");
  }
  EXPECT_TRUE(WaitUntil([&] { return server.connections() == 0; }));
}

TEST(HttpServerTest, AClientThatGoesAfterClosingItsSendingSideIsNoticed) {
  TestServer server;
  server.Set({.prefill = milliseconds(60000)});
  TestClient client(server.port());
  client.Write(RequestText("POST", kChat, kHi));
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == 1; }));
  ::shutdown(client.descriptor(), SHUT_WR);
  std::this_thread::sleep_for(milliseconds(300));
  EXPECT_EQ(server.alive(), 1);
  client.Close();
  EXPECT_TRUE(WaitUntil([&] { return server.alive() == 0; }));
}

TEST(HttpServerTest, ASlowReaderIsPausedThenCancelledAndOthersDoNotNotice) {
  HttpOptions options;
  options.limits.stall_time = milliseconds(700);
  TestServer server(options, {.pieces = {std::string(2000, 'x')}, .endless = true, .burst = 8});
  TestClient slow(server.port(), 4096);
  slow.Write(RequestText("POST", kChat, kHiStream));
  ASSERT_TRUE(WaitUntil([&] { return server.pauses() == 1; }));
  const uint64_t tokens = server.tokens();
  EXPECT_LT(tokens * 2000, 1'500'000u);  // queue and socket buffers
  server.Set({});
  EXPECT_EQ(Call(server, "POST", kChat, kHi).status, 200);
  EXPECT_EQ(server.tokens(), tokens + 2);  // the paused one did not go on
  // The other's handler ends just after its answer is written; the paused one is cancelled for its
  // silence.
  EXPECT_TRUE(WaitUntil([&] { return server.alive() <= 1; }));
  EXPECT_TRUE(WaitUntil([&] { return server.alive() == 0; }));
}

TEST(HttpServerTest, AReaderThatCatchesUpGoesOn) {
  TestServer server({},
                    {.pieces = std::vector<std::string>(600, std::string(2000, 'y')), .burst = 8});
  TestClient client(server.port(), 4096);
  client.Write(RequestText("POST", kChat, kHiStream));
  ASSERT_TRUE(WaitUntil([&] { return server.pauses() == 1; }));
  const auto answer = client.Read();
  EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(answer.events().back()["exo"]["token_ids"].size(), 600u);
  EXPECT_GE(server.resumes(), 1);
}

TEST(HttpServerTest, PipelinedRequestsAreAnsweredInOrder) {
  TestServer server({}, {.delay = milliseconds(3)});
  TestClient client(server.port());
  const std::string bad = RequestText("POST", kChat, "{");
  client.Write(RequestText("GET", "/health") + RequestText("POST", kChat, kHi) + bad +
               RequestText("POST", kChat, kHiStream) + RequestText("HEAD", "/health") +
               RequestText("GET", "/v1/models"));
  EXPECT_EQ(client.Read().json()["status"], "ok");
  EXPECT_EQ(client.Read().json()["choices"][0]["message"]["content"], "Hello");
  EXPECT_EQ(client.Read().status, 400);
  EXPECT_TRUE(client.Read().body.ends_with("data: [DONE]\n\n"));
  EXPECT_EQ(client.Read(true).status, 200);
  EXPECT_EQ(client.Read().json()["object"], "list");
  client.Write(RequestText("GET", "/health", "", "Connection: close\r\n"));
  EXPECT_TRUE(client.Read().has("connection: close"));
  EXPECT_EQ(client.ReadToEnd(), "");
}

TEST(HttpServerTest, RequestsMayComeByteByByte) {
  TestServer server;
  TestClient client(server.port());
  for (const char c : RequestText("POST", kChat, kHi)) client.Write(std::string_view(&c, 1));
  EXPECT_EQ(client.Read().status, 200);
  client.Write(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  for (const char c : kHi) client.Write(std::string("1\r\n") + c + "\r\n");
  client.Write("0\r\n\r\n");
  EXPECT_EQ(client.Read().status, 200);
  client.Write(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Expect: 100-continue\r\nContent-Length: " +
      std::to_string(kHi.size()) + "\r\n\r\n");
  EXPECT_EQ(client.Read().status, 100);
  client.Write(kHi);
  EXPECT_EQ(client.Read().status, 200);
}

TEST(HttpServerTest, OldClientsGetAStreamThatEndsWithTheConnection) {
  TestServer server;
  TestClient client(server.port());
  client.Write(
      "POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\nContent-Type: application/json\r\n"
      "Content-Length: " +
      std::to_string(kHiStream.size()) + "\r\n\r\n" + kHiStream);
  EXPECT_TRUE(client.Read().body.ends_with("data: [DONE]\n\n"));
}

TEST(HttpServerTest, BodiesOverTheLimitAre413) {
  HttpOptions options;
  options.limits.body_bytes = 100'000;
  TestServer server(options);
  const auto declared = Call(server, "POST", kChat, std::string(100'001, ' '));
  EXPECT_EQ(declared.status, 413);
  EXPECT_EQ(declared.error("code"), "request_too_large");
  EXPECT_EQ(Call(server, "POST", kChat, kHi + std::string(99'000, ' ')).status, 200);
  TestClient chunked(server.port());
  chunked.Write(
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: "
      "chunked\r\n\r\n");
  for (int i = 0; i < 30; ++i) chunked.Write("1388\r\n" + std::string(5000, ' ') + "\r\n");
  EXPECT_EQ(chunked.Read().status, 413);
}

TEST(HttpServerTest, BodiesHaveABudgetTogether) {
  HttpOptions options;
  options.limits.body_budget = 250'000;
  TestServer server(options);
  const auto begun = [&](TestClient& client) {
    client.Write(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
        "application/json\r\nContent-Length: 100001\r\n\r\n" +
        kHi + std::string(100'000 - kHi.size(), ' '));
  };
  TestClient a(server.port()), b(server.port()), c(server.port());
  begun(a);
  begun(b);
  ASSERT_TRUE(WaitUntil([&] { return server.body_bytes() == 200'000; }));
  begun(c);
  const auto refused = c.Read();
  EXPECT_EQ(refused.status, 503);
  EXPECT_TRUE(refused.has("retry-after"));
  a.Write(" ");  // its end, and its memory is free again
  EXPECT_EQ(a.Read().status, 200);
  b.Close();
  EXPECT_TRUE(WaitUntil([&] { return server.body_bytes() == 0; }));
  EXPECT_EQ(Call(server, "POST", kChat, kHi + std::string(100'000, ' ')).status, 200);
}

TEST(HttpServerTest, MalformedRequestsAreRefused) {
  TestServer server;
  const std::string post =
      "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
  std::string many = "GET /health HTTP/1.1\r\nHost: localhost\r\n";
  for (int i = 0; i < 150; ++i) many += "a" + std::to_string(i) + ": b\r\n";
  const std::vector<std::pair<std::string, int>> cases = {
      {post + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400},
      {post + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", 400},
      {post + "Content-Length: -5\r\n\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\n-2\r\n", 400},
      {post + "Transfer-Encoding: chunked\r\n\r\n1;" + std::string(200'000, 'x'), 400},
      {"nonsense\r\n\r\n", 400},
      {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400},
      {"GET /" + std::string(9000, 'a') + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414},
      {"GET /health HTTP/1.1\r\nHost: localhost\r\nx: " + std::string(40'000, 'a') + "\r\n\r\n",
       431},
      {"GET /health HTTP/1.1\r\nHost: localhost\r\nx: " + std::string(300'000, 'a'), 431},
      {many + "\r\n", 431}};
  for (const auto& [bytes, status] : cases) {
    TestClient client(server.port());
    client.Write(bytes);
    EXPECT_EQ(client.Read().status, status) << bytes.substr(0, 160);
    EXPECT_EQ(client.ReadToEnd(), "");
  }
}

TEST(HttpServerTest, SlowHeadersAndBodiesAreCut) {
  HttpOptions options;
  options.limits.header_time = options.limits.body_interval = milliseconds(200);
  options.limits.idle_time = milliseconds(200);
  TestServer server(options);
  // What a client says at first comes too late where this thread is held up: then another one does.
  const auto answered = [&](const std::string& bytes, int status) {
    for (int round = 0; round < 10; ++round) {
      TestClient client(server.port());
      client.Write(bytes);
      if (client.Read().status == status) return client.ReadToEnd().empty();
    }
    return false;
  };
  TestClient silent(server.port());
  EXPECT_EQ(silent.ReadToEnd(), "");
  EXPECT_TRUE(answered("GET /health HTT", 408));
  EXPECT_TRUE(
      answered("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
               "Content-Length: 1000\r\n\r\n{",
               408));
  EXPECT_TRUE(answered(RequestText("GET", "/health"), 200)) << "and then it is idle";
}

TEST(HttpServerTest, ConnectionsBeyondTheLimitGet503) {
  HttpOptions options;
  options.limits.connections = 2;
  TestServer server(options);
  TestClient a(server.port()), b(server.port());
  ASSERT_TRUE(WaitUntil([&] { return server.connections() == 2; }));
  TestClient c(server.port());
  EXPECT_EQ(c.Read().status, 503);
  a.Close();
  ASSERT_TRUE(WaitUntil([&] { return server.connections() == 1; }));
  EXPECT_EQ(Call(server, "GET", "/health").status, 200);
}

TEST(HttpServerTest, SilenceIsFilledWithComments) {
  HttpOptions options;
  options.limits.ping_time = milliseconds(30);
  TestServer server(options, {.delay = milliseconds(150)});
  const auto answer = Call(server, "POST", kChat, kHiStream);
  EXPECT_NE(answer.body.find(": waiting\n\n"), std::string::npos);
  EXPECT_EQ(answer.events().size(), 4u);
}

TEST(HttpServerTest, StopDropsRunningAnswers) {
  auto server = std::make_unique<TestServer>(
      HttpOptions{}, Script{.pieces = {"x"}, .endless = true, .delay = milliseconds(2)});
  TestClient client(server->port());
  client.Write(RequestText("POST", kChat, kHiStream));
  ASSERT_TRUE(WaitUntil([&] { return server->tokens() > 3; }));
  server.reset();  // checks that no Generation is left
  EXPECT_EQ(client.Read().body.find("[DONE]"), std::string::npos);
}

}  // namespace
}  // namespace exo::service
