// Keys in their files, and what a node makes of them: scopes, rates, quotas, changes while it runs.
#include "service/api_keys.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <set>
#include <thread>

#include "service/harness.h"
#include "sys/temporary_folder.h"

namespace exo::service {
namespace {

const std::string kHi = R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}]})";
constexpr int64_t kNoon = 20'000 * int64_t{86'400'000} + 12 * 3'600'000;

unsigned ModeOf(const std::string& path) {
  struct stat info{};
  EXPECT_EQ(::stat(path.c_str(), &info), 0) << path;
  return info.st_mode & 0777;
}

std::string Bearer(const std::string& key) {
  return "Content-Type: application/json\r\nAuthorization: Bearer " + key + "\r\n";
}

class ApiKeysTest : public testing::Test {
 protected:
  std::string Add(ApiKey key) {
    if (key.scopes == 0) key.scopes = Caller::ScopeBit(Scope::kInfer);
    const auto text = AddKey(folder(), std::move(key));
    EXPECT_TRUE(text) << text.error().message;
    return text.value_or("");
  }
  std::unique_ptr<KeyRing> Ring() {
    return std::make_unique<KeyRing>(
        KeyRingOptions{.folder = folder(), .now_ms = [this] { return now_.load(); }});
  }
  std::string folder() const { return folder_->path(); }

  const std::unique_ptr<sys::TemporaryFolder> folder_ = *sys::TemporaryFolder::Create("exo-keys-");
  std::atomic<int64_t> now_ = kNoon;
};

TEST_F(ApiKeysTest, AKeyIsShownOnceAndKeptAsAHash) {
  const std::string text = Add({.name = "laptop", .rate = 3, .quota = 5});
  EXPECT_TRUE(text.starts_with("exo-")) << text;
  EXPECT_EQ(text.size(), 4u + 43u) << "32 bytes in base64url";
  const std::string file = *sys::ReadFile(folder() + "/api-keys.json");
  EXPECT_EQ(file.find(text.substr(4)), std::string::npos) << file;
  EXPECT_EQ(ModeOf(folder() + "/api-keys.json"), 0600u);
  const auto keys = ReadKeys(folder());
  ASSERT_EQ(keys->size(), 1u);
  EXPECT_EQ((*keys)[0].name, "laptop");
  EXPECT_EQ((*keys)[0].rate, 3u);
  EXPECT_EQ((*keys)[0].quota, 5u);
  EXPECT_NE((*keys)[0].id, 0u);
  const auto ring = Ring();
  EXPECT_EQ(ring->Identify(text)->name, "laptop");
  for (const std::string& wrong :
       {text.substr(0, text.size() - 1), text + "A", text.substr(4), std::string(),
        std::string("exo-"), (*keys)[0].hash.Hex(), std::string(1 << 20, 'x')}) {
    EXPECT_FALSE(ring->Identify(wrong)) << wrong.substr(0, 80);
  }
}

TEST_F(ApiKeysTest, NoTwoKeysAreAlike) {
  std::set<std::string> texts;
  std::set<uint64_t> ids;
  for (int i = 0; i < 50; ++i) texts.insert(Add({.name = std::to_string(i)}));
  const auto keys = ReadKeys(folder());
  for (const ApiKey& key : *keys) ids.insert(key.id);
  EXPECT_EQ(texts.size(), 50u);
  EXPECT_EQ(ids.size(), 50u);
}

TEST_F(ApiKeysTest, WhatCannotBeAddedOrRemovedIsNamed) {
  Add({.name = "a"});
  const auto twice = AddKey(folder(), {.name = "a"});
  EXPECT_NE(twice.error().message.find("'a' already"), std::string::npos);
  for (const std::string& bad : {std::string(), std::string(65, 'x'), std::string("a\nb")})
    EXPECT_EQ(AddKey(folder(), {.name = bad}).error().code, ErrorCode::kInvalid) << bad;
  const auto unknown = RemoveKey(folder(), "b");
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_NE(unknown.error().message.find("there are: a"), std::string::npos);
  EXPECT_TRUE(RemoveKey(folder(), "a"));
  EXPECT_TRUE(ReadKeys(folder())->empty());
  EXPECT_EQ(ParseScopes({"infer", "king"}).error().code, ErrorCode::kInvalid);
  for (size_t i = 0; i < kMaxKeys; ++i) Add({.name = std::to_string(i)});
  EXPECT_EQ(AddKey(folder(), {.name = "more"}).error().code, ErrorCode::kOverloaded);
}

TEST_F(ApiKeysTest, CommandsAtOnceLoseNoKey) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([this, i] { Add({.name = "k" + std::to_string(i)}); });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(ReadKeys(folder())->size(), 8u);
}

TEST_F(ApiKeysTest, ARunningNodeSeesAChangeAtOnce) {
  const auto ring = Ring();
  EXPECT_EQ(ring->size(), 0u);
  const std::string text = Add({.name = "a"});
  EXPECT_TRUE(ring->Identify(text));
  const std::string other = Add({.name = "b"});
  EXPECT_TRUE(ring->Identify(other));
  ASSERT_TRUE(RemoveKey(folder(), "a"));
  EXPECT_FALSE(ring->Identify(text));
  EXPECT_TRUE(ring->Identify(other));
}

TEST_F(ApiKeysTest, AFileThatCannotBeTrustedLetsNobodyIn) {
  const std::string text = Add({.name = "a", .quota = 10});
  const auto ring = Ring();
  ASSERT_TRUE(ring->Identify(text));
  ring->CountTokens(*ring->Identify(text), 4);
  const std::string path = folder() + "/api-keys.json", good = *sys::ReadFile(path);
  const auto valid_with = [&](const std::string& bytes, unsigned mode) {
    EXPECT_TRUE(sys::WriteFileAtomically(path, bytes, mode));
    return ring->Identify(text).has_value();
  };
  EXPECT_FALSE(valid_with(good, 0644)) << "others may have read it";
  EXPECT_TRUE(valid_with(good, 0600));
  for (const char* bad : {"", "{", "[]", "{}", R"({"keys":{}})", R"({"keys":[1]})",
                          R"({"keys":[{"name":"a","scopes":["infer"]}]})"}) {
    EXPECT_FALSE(valid_with(bad, 0600)) << bad;
    EXPECT_EQ(ReadKeys(folder()).error().code, ErrorCode::kCorrupt) << bad;
    EXPECT_FALSE(AddKey(folder(), {.name = "b"})) << "nothing is written over it";
  }
  EXPECT_TRUE(valid_with(good, 0600));
  EXPECT_EQ(ring->TokensLeft(*ring->Identify(text)), 6u) << "what was used still counts";
}

// Cut or changed anywhere, the file is refused or read; nothing else happens.
TEST_F(ApiKeysTest, ADamagedFileIsNoCrash) {
  Add({.name = "a", .rate = 1, .quota = 2});
  const std::string path = folder() + "/api-keys.json", good = *sys::ReadFile(path);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
    ASSERT_TRUE(sys::WriteFileAtomically(path, bad, 0600));
    (void)ReadKeys(folder());
    (void)sys::WriteFileAtomically(folder() + "/api-keys-use.json", bad.substr(0, i), 0600);
    (void)ReadKeyUse(folder());
  }
}

TEST_F(ApiKeysTest, TheAdminTokenIsMadeOnceAndPrivate) {
  EXPECT_EQ(ReadAdminToken(folder()).error().code, ErrorCode::kNotFound);
  std::string token;
  for (int start = 0; start < 2; ++start) {
    const auto ring = Ring();
    const auto read = ReadAdminToken(folder());
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_TRUE(start == 0 || *read == token);
    token = *read;
    EXPECT_EQ(ModeOf(folder() + "/admin-token"), 0600u);
    const auto caller = ring->Identify(token);
    ASSERT_TRUE(caller);
    EXPECT_TRUE(caller->May(Scope::kAdmin) && caller->May(Scope::kModels));
  }
  // One that others could read, and what is no token, are replaced.
  for (const auto& [text, mode] :
       {std::pair{token, 0644u}, {std::string("x"), 0600u}, {"", 0600u}}) {
    ASSERT_TRUE(sys::WriteFileAtomically(folder() + "/admin-token", text, mode));
    const auto ring = Ring();
    EXPECT_FALSE(ring->Identify(text));
    EXPECT_TRUE(ring->Identify(*ReadAdminToken(folder())));
  }
}

TEST_F(ApiKeysTest, ARateIsABucketThatFillsAgain) {
  const std::string text = Add({.name = "a", .rate = 6});
  const auto ring = Ring();
  const Caller caller = *ring->Identify(text);
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(ring->Admit(caller)) << i;
  const auto refused = ring->Admit(caller);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 429u);
  EXPECT_EQ(refused.error().code, "rate_limit_exceeded");
  EXPECT_EQ(refused.error().retry_after, 10u);
  now_ += 9'999;
  EXPECT_EQ(ring->Admit(caller).error().retry_after, 1u);
  now_ += 1;
  EXPECT_TRUE(ring->Admit(caller));
  EXPECT_FALSE(ring->Admit(caller));
  now_ += 3'600'000;  // no more than a minute's worth is saved up
  for (int i = 0; i < 6; ++i) EXPECT_TRUE(ring->Admit(caller)) << i;
  EXPECT_FALSE(ring->Admit(caller));
  now_ -= 7'200'000;  // a clock that is set back
  EXPECT_FALSE(ring->Admit(caller));
  now_ += 10'000;
  EXPECT_TRUE(ring->Admit(caller));
}

TEST_F(ApiKeysTest, AQuotaIsOfADayAndLastsBeyondARestart) {
  const std::string text = Add({.name = "a", .quota = 100});
  const std::string other = Add({.name = "b"});
  {
    const auto ring = Ring();
    const Caller caller = *ring->Identify(text);
    EXPECT_EQ(ring->TokensLeft(caller), 100u);
    EXPECT_FALSE(ring->TokensLeft(*ring->Identify(other)));
    EXPECT_TRUE(ring->CheckQuota(caller));
    ring->CountTokens(caller, 99);
    EXPECT_TRUE(ring->CheckQuota(caller));
    ring->CountTokens(caller, 5);
    EXPECT_EQ(ring->TokensLeft(caller), 0u);
  }
  EXPECT_EQ(ModeOf(folder() + "/api-keys-use.json"), 0600u);
  const auto ring = Ring();
  const Caller caller = *ring->Identify(text);
  const auto refused = ring->CheckQuota(caller);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 429u);
  EXPECT_EQ(refused.error().code, "insufficient_quota");
  EXPECT_EQ(refused.error().retry_after, 12u * 3600);
  EXPECT_TRUE(ring->Admit(caller)) << "lists of models cost nothing";
  now_ += 12 * 3'600'000;
  EXPECT_TRUE(ring->CheckQuota(caller)) << "another day";
  EXPECT_EQ(ring->TokensLeft(caller), 100u);
}

TEST_F(ApiKeysTest, LastUseIsWrittenNowAndThenAndAtTheEnd) {
  const std::string text = Add({.name = "a"});
  const uint64_t id = (*ReadKeys(folder()))[0].id;
  auto ring = Ring();
  EXPECT_TRUE(ring->Admit(*ring->Identify(text)));
  EXPECT_TRUE(ReadKeyUse(folder()).empty()) << "not with each request";
  ring->Save();
  EXPECT_TRUE(WaitUntil([&] { return ReadKeyUse(folder())[id].last == kNoon / 1000; }));
  now_ += 60'000;
  EXPECT_TRUE(ring->Admit(*ring->Identify(text)));
  ring.reset();
  EXPECT_EQ(ReadKeyUse(folder())[id].last, kNoon / 1000 + 60);
  ASSERT_TRUE(RemoveKey(folder(), "a"));
  ring = Ring();
  EXPECT_EQ(ring->size(), 0u);
}

// ---- over HTTP

TEST_F(ApiKeysTest, ScopesSayWhatAKeyMayDo) {
  const auto with = [](std::initializer_list<Scope> scopes) {
    uint8_t bits = 0;
    for (const Scope scope : scopes) bits |= Caller::ScopeBit(scope);
    return bits;
  };
  const std::string infer = Add({.name = "i", .scopes = with({Scope::kInfer})});
  const std::string models = Add({.name = "m", .scopes = with({Scope::kModels})});
  const std::string both = Add({.name = "b", .scopes = with({Scope::kInfer, Scope::kModels})});
  const std::string admin = Add({.name = "a", .scopes = with({Scope::kAdmin})});
  const auto ring = Ring();
  TestServer server({.gate = ring.get()});
  struct Case {
    const char *method, *path;
    std::string body;
    std::array<int, 4> expected;  // infer, models, both, admin
  };
  const std::string model = R"({"model":"hub/tiny"})";
  const std::vector<Case> cases = {
      {"POST", kChat, kHi, {200, 403, 200, 200}},
      {"POST",
       "/v1/messages",
       R"({"model":"tiny","max_tokens":2,"messages":[{"role":"user","content":"a"}]})",
       {200, 403, 200, 200}},
      {"POST", "/api/generate", R"({"model":"tiny","prompt":"a"})", {200, 403, 200, 200}},
      {"POST", "/tokenize", R"({"content":"a"})", {200, 403, 200, 200}},
      {"GET", "/v1/models", "", {200, 403, 200, 200}},
      {"GET", "/api/tags", "", {200, 403, 200, 200}},
      {"DELETE", "/api/delete", model, {403, 200, 200, 200}},
      {"POST", "/api/generate", R"({"model":"tiny","keep_alive":0})", {403, 403, 200, 200}},
      {"GET", "/metrics", "", {403, 200, 200, 200}},
      {"GET", "/v1/cluster", "", {403, 200, 200, 200}},
      {"POST", "/v1/internal/load", R"({"model":"tiny"})", {403, 403, 403, 200}},
      {"DELETE", "/v1/internal/models/hub%2Ftiny", "", {403, 403, 403, 200}},
      {"GET", "/health", "", {200, 200, 200, 200}},
  };
  const std::array keys = {infer, models, both, admin};
  for (const Case& c : cases) {
    for (size_t i = 0; i < keys.size(); ++i) {
      const Answered answer = Call(server, c.method, c.path, c.body, Bearer(keys[i]));
      EXPECT_EQ(answer.status, c.expected[i])
          << c.method << " " << c.path << " " << i << answer.body;
    }
  }
  const Answered refused = Call(server, "POST", "/v1/internal/load", model, Bearer(infer));
  EXPECT_NE(refused.error("message").find("scope admin"), std::string::npos) << refused.body;
}

TEST_F(ApiKeysTest, BothHeadersAreRead) {
  const std::string text = Add({.name = "a", .scopes = Caller::ScopeBit(Scope::kAdmin)});
  const auto ring = Ring();
  TestServer server({.gate = ring.get()});
  const auto status = [&](const std::string& headers) {
    TestClient client(server.port());
    client.Write("GET /v1/internal/secret HTTP/1.1\r\nHost: localhost\r\n" + headers + "\r\n");
    return std::atoi(client.ReadSome().substr(9, 3).c_str());
  };
  EXPECT_EQ(status(""), 401);
  EXPECT_EQ(status("Authorization: Bearer " + text + "\r\n"), 200);
  EXPECT_EQ(status("authorization: bearer   " + text + "\r\n"), 200);
  EXPECT_EQ(status("x-api-key: " + text + "\r\n"), 200);
  EXPECT_EQ(status("X-Api-Key: " + text + "\r\nAuthorization: Bearer sk-other\r\n"), 200);
  EXPECT_EQ(status("x-api-key: sk-other\r\nAuthorization: Bearer " + text + "\r\n"), 200);
  EXPECT_EQ(status("Authorization: " + text + "\r\n"), 401);
  EXPECT_EQ(status("Authorization: Basic " + text + "\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer  \r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer " + text + " x\r\n"), 401);
  EXPECT_EQ(status("x-api-key: Bearer " + text + "\r\n"), 401);
  EXPECT_EQ(status("Authorization: Bearer a\r\nAuthorization: Bearer " + text + "\r\n"), 400);
  EXPECT_EQ(status("x-api-key: " + text + "\r\nx-api-key: " + text + "\r\n"), 400);
  EXPECT_EQ(status("Cookie: key=" + text + "\r\n"), 401);
}

// Programs send the key of some other service where none is needed; one of ours that is gone must
// not become nobody's, who may do more.
TEST_F(ApiKeysTest, OnLoopbackOtherKeysAreNoneAndRemovedOnesAreRefused) {
  const std::string text = Add({.name = "a"});
  const auto ring = Ring();
  TestServer server({.gate = ring.get()});
  for (const char* other : {"sk-1234", "ollama", "none"})
    EXPECT_EQ(Call(server, "POST", kChat, kHi, Bearer(other)).status, 200) << other;
  EXPECT_EQ(Call(server, "POST", kChat, kHi, Bearer(text)).status, 200);
  ASSERT_TRUE(RemoveKey(folder(), "a"));
  const Answered refused = Call(server, "POST", kChat, kHi, Bearer(text));
  EXPECT_EQ(refused.status, 401);
  EXPECT_EQ(refused.error("code"), "invalid_api_key");
}

TEST_F(ApiKeysTest, EachDialectRefusesInItsOwnShape) {
  const std::string slow = Add({.name = "slow", .rate = 1});
  const std::string poor = Add({.name = "poor", .quota = 1});
  const auto ring = Ring();
  ring->CountTokens(*ring->Identify(poor), 1);
  TestServer server({.gate = ring.get()});
  const std::string message =
      R"({"model":"tiny","max_tokens":2,"messages":[{"role":"user","content":"a"}]})";
  EXPECT_EQ(Call(server, "POST", kChat, kHi, Bearer(slow)).status, 200);
  for (const auto& [path, body] :
       {std::pair{kChat, kHi},
        {"/v1/messages", message},
        {"/api/generate", std::string(R"({"model":"tiny","prompt":"a"})")},
        {"/completion", std::string(R"({"prompt":"a"})")}}) {
    for (const std::string& key : {slow, poor, "exo-" + std::string(43, 'A')}) {
      const Answered answer = Call(server, "POST", path, body, Bearer(key));
      const int expected = key == slow || key == poor ? 429 : 401;
      EXPECT_EQ(answer.status, expected) << path << answer.body;
      EXPECT_EQ(answer.has("www-authenticate: bearer"), expected == 401);
      EXPECT_EQ(answer.has("retry-after: 60\r\n"), key == slow) << answer.headers;
      EXPECT_EQ(answer.has("retry-after: 43200\r\n"), key == poor) << answer.headers;
      EXPECT_EQ(answer.has("x-should-retry: false"), key == poor);
      const Json json = answer.json();
      const std::string dialect = path;
      if (dialect == kChat) {
        EXPECT_EQ(json["error"]["code"], key == slow   ? "rate_limit_exceeded"
                                         : key == poor ? "insufficient_quota"
                                                       : "invalid_api_key");
      } else if (dialect == "/v1/messages") {
        EXPECT_EQ(json["type"], "error");
        EXPECT_EQ(json["error"]["type"],
                  expected == 429 ? "rate_limit_error" : "authentication_error");
      } else if (dialect == "/api/generate") {
        EXPECT_TRUE(json["error"].is_string()) << answer.body;
      } else {
        EXPECT_EQ(json["error"]["code"], expected);
      }
    }
  }
}

// What a key may still do when it has taken its tokens: all that takes none.
TEST_F(ApiKeysTest, OnlyWhatComputesNeedsAQuota) {
  const std::string poor = Add({.name = "poor", .quota = 1});
  const auto ring = Ring();
  ring->CountTokens(*ring->Identify(poor), 1);
  TestServer server({.gate = ring.get()});
  const auto status = [&](const char* method, const std::string& path, const std::string& body) {
    return Call(server, method, path, body, Bearer(poor)).status;
  };
  EXPECT_EQ(status("POST", "/v1/conversations", R"({"title":"a"})"), 200);
  EXPECT_EQ(status("POST", "/v1/conversations/import", R"({"exo_conversations":1,"data":[]})"),
            200);
  EXPECT_EQ(status("POST", "/tokenize", R"({"content":"a"})"), 200);
  EXPECT_EQ(status("POST", "/api/show", R"({"model":"tiny"})"), 200);
  EXPECT_EQ(status("POST", "/mcp", R"({"jsonrpc":"2.0","id":1,"method":"tools/list"})"), 200);
  EXPECT_EQ(status("POST", kChat, "{}"), 400) << "a body that is none computes nothing either";
  EXPECT_EQ(status("POST", kChat, kHi), 429);
  EXPECT_EQ(status("POST", "/v1/embeddings", R"({"model":"tiny","input":"a"})"), 429);
}

TEST_F(ApiKeysTest, AnAnswerCountsAndIsNoLongerThanWhatIsLeft) {
  const std::string text = Add({.name = "a", .quota = 30});
  const auto ring = Ring();
  TestServer server({.gate = ring.get()});
  const Answered answer = Call(server, "POST", kChat, kHi, Bearer(text));
  ASSERT_EQ(answer.status, 200);
  EXPECT_EQ(server.last_request().max_tokens, 30u);
  const Json usage = answer.json()["usage"];
  const uint64_t taken = usage["total_tokens"].get<uint64_t>();
  EXPECT_GT(taken, 2u);
  EXPECT_EQ(ring->TokensLeft(*ring->Identify(text)), 30 - taken);
  Json body = *ParseJson(kHi);
  body["n"] = 3;
  body["max_tokens"] = 100;
  EXPECT_EQ(Call(server, "POST", kChat, body.dump(), Bearer(text)).status, 200);
  EXPECT_EQ(server.last_request().max_tokens, (30 - taken) / 3);
  EXPECT_EQ(Call(server, "POST", kChat, kHi).status, 200);
  EXPECT_FALSE(server.last_request().max_tokens) << "nobody's quota";
}

// The fake node takes 7 tokens for every text.
TEST_F(ApiKeysTest, ARequestOfManyTextsEndsWhereItsQuotaDoes) {
  const std::string text = Add({.name = "a", .quota = 30});
  const auto ring = Ring();
  TestServer server({.gate = ring.get()});
  Json body = {{"model", "tiny"}, {"input", std::vector<std::string>(200, "x")}};
  const Answered refused = Call(server, "POST", "/v1/embeddings", body.dump(), Bearer(text));
  EXPECT_EQ(refused.status, 429);
  EXPECT_EQ(refused.error("code"), "insufficient_quota") << refused.body;
  EXPECT_TRUE(refused.has("x-should-retry: false")) << refused.headers;
  EXPECT_TRUE(refused.has("retry-after: 43200\r\n")) << "not before midnight";
  EXPECT_NE(refused.error("message").find("after 5 of 200 texts"), std::string::npos)
      << refused.body;
  EXPECT_EQ(ring->TokensLeft(*ring->Identify(text)), 0u);
  body["input"] = {"x", "y"};
  EXPECT_EQ(Call(server, "POST", "/v1/embeddings", body.dump()).status, 200) << "nobody's quota";
}

TEST_F(ApiKeysTest, TurnsAndPrefixesBelongToTheKey) {
  const std::string a = Add({.name = "a"}), b = Add({.name = "b"});
  auto ring = Ring();
  TestServer server({.gate = ring.get()});
  Json body = *ParseJson(kHi);
  const auto ask = [&](const std::string& key, const std::string& user, const char* program) {
    body["user"] = user;
    EXPECT_EQ(Call(server, "POST", kChat, body.dump(),
                   (key.empty() ? "Content-Type: application/json\r\n" : Bearer(key)) +
                       "User-Agent: " + program + "\r\n")
                  .status,
              200);
    return server.last_request();
  };
  const auto first = ask(a, "", "p");
  EXPECT_EQ(ask(a, "someone", "q").client, first.client) << "names win no more turns";
  EXPECT_NE(ask(b, "", "p").client, first.client);
  EXPECT_NE(ask("", "", "p").client, first.client);
  EXPECT_NE(ask("", "someone", "p").client, ask("", "", "p").client);
  EXPECT_NE(first.prefix_scope, 0u);
  EXPECT_NE(ask(b, "", "p").prefix_scope, first.prefix_scope);
  EXPECT_EQ(ask(a, "someone", "q").prefix_scope, first.prefix_scope);
  EXPECT_EQ(ask("", "", "p").prefix_scope, 0u);
  EXPECT_EQ(ask("sk-other", "", "p").prefix_scope, 0u);

  KeyRing sharing({.folder = folder(), .share_prefixes = true});
  TestServer shared({.gate = &sharing});
  EXPECT_EQ(Call(shared, "POST", kChat, kHi, Bearer(a)).status, 200);
  EXPECT_EQ(shared.last_request().prefix_scope, 0u);
  EXPECT_EQ(shared.last_request().client, first.client);
}

TEST_F(ApiKeysTest, AResponseGoesOnForItsKeyOnly) {
  const std::string a = Add({.name = "a"}), b = Add({.name = "b"});
  const auto ring = Ring();
  TestServer server({.gate = ring.get()});
  const auto ask = [&](const std::string& headers, const Json& previous) {
    return Call(server, "POST", "/v1/responses",
                Json{{"model", "tiny"}, {"input", "Hi"}, {"previous_response_id", previous}}.dump(),
                headers);
  };
  const Answered first = ask(Bearer(a), nullptr);
  ASSERT_EQ(first.status, 200) << first.body;
  EXPECT_EQ(ask(Bearer(a), first.json()["id"]).status, 200);
  EXPECT_EQ(ask(Bearer(b), first.json()["id"]).status, 400);
  EXPECT_EQ(ask("Content-Type: application/json\r\n", first.json()["id"]).status, 400);
  const std::string path = "/v1/responses/" + std::string(first.json()["id"]);
  EXPECT_EQ(Call(server, "GET", path, "", Bearer(b)).status, 404);
  EXPECT_EQ(Call(server, "DELETE", path, "", Bearer(b)).status, 404);
  EXPECT_EQ(Call(server, "GET", path, "", "").status, 404) << "nor without a key, on loopback";
  EXPECT_EQ(Call(server, "GET", path, "", Bearer(a)).body, first.body);
}

}  // namespace
}  // namespace exo::service
