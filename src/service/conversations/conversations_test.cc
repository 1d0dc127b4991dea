// The routes of conversations, over a fake node that keeps them in memory.
#include <gtest/gtest.h>

#include "service/harness.h"

namespace exo::service::conversations {
namespace {

constexpr const char* kList = "/v1/conversations";
const std::string kFirst = std::string(31, '0') + "1";
const std::string kSecond = std::string(31, '0') + "2";

std::string Path(const std::string& id) {
  return std::string(kList) + "/" + id;
}
std::string Path(const std::string& id, const std::string& message) {
  return Path(id) + "/messages/" + message;
}
Answered Send(const TestServer& server, const char* method, const std::string& path,
              const Json& body, const std::string& headers = "") {
  return Call(server, method, path, Dump(body), "Content-Type: application/json\r\n" + headers);
}
std::string Create(const TestServer& server, const Json& body, const std::string& headers = "") {
  return Send(server, "POST", kList, body, headers).json()["id"];
}
Json Said(const std::string& text) {
  return {{"role", "user"}, {"content", text}};
}
Json TitlesOf(const TestServer& server, const std::string& query = "",
              const std::string& headers = "") {
  Json titles = Json::array();
  for (const Json& one : Call(server, "GET", kList + query, "", headers).json()["data"])
    titles.push_back(one["title"]);
  return titles;
}

TEST(ConversationsTest, AreWrittenReadChangedAndDeleted) {
  TestServer server;
  const Json made = Send(server, "POST", kList,
                         {{"title", "Bread"}, {"model", "tiny"}, {"settings", {{"seed", 7}}}})
                        .json();
  const std::string id = made["id"];
  EXPECT_EQ(id.size(), 32u) << made;
  EXPECT_EQ(made["model"], "tiny");
  EXPECT_EQ(made["settings"]["seed"], 7);
  EXPECT_TRUE(made["leaf"].is_null());
  EXPECT_GT(made["created"], 1'700'000'000'000);

  Json message = {{"parent", nullptr},
                  {"role", "user"},
                  {"content", "How?"},
                  {"created", 5},
                  {"attachments", {{{"name", "a.txt"}, {"kind", "text"}, {"text", "x"}}}}};
  const Json put = Send(server, "PUT", Path(id, kFirst), message).json();
  EXPECT_EQ(put["id"], kFirst) << put;
  message = {{"parent", kFirst},   {"role", "assistant"},          {"content", "Bake \"it\"."},
             {"reasoning", "hmm"}, {"stats", {{"ttft_ms", 12.5}}}, {"model", "tiny"},
             {"logprobs", {1}}};
  EXPECT_EQ(Send(server, "PUT", Path(id, kSecond), message).status, 200);
  const Json patched =
      Send(server, "PATCH", Path(id), {{"title", "Cake"}, {"leaf", kSecond}, {"settings", nullptr}})
          .json();
  EXPECT_EQ(patched["title"], "Cake");
  EXPECT_EQ(patched["settings"], Json::object());

  const Json whole = Call(server, "GET", Path(id)).json();
  EXPECT_EQ(whole["leaf"], kSecond) << whole;
  EXPECT_EQ(whole["created"], made["created"]);
  ASSERT_EQ(whole["messages"].size(), 2u);
  const Json& first = whole["messages"][0];
  EXPECT_EQ(first["id"], kFirst);
  EXPECT_EQ(first["content"], "How?");
  EXPECT_EQ(first["created"], 5);
  EXPECT_EQ(first["attachments"][0]["text"], "x");
  EXPECT_FALSE(first.contains("parent"));
  const Json& second = whole["messages"][1];
  EXPECT_EQ(second["content"], "Bake \"it\".");
  EXPECT_EQ(second["parent"], kFirst);
  EXPECT_EQ(second["stats"]["ttft_ms"], 12.5);
  EXPECT_EQ(second["logprobs"], Json({1}));

  const Json listed = Call(server, "GET", kList).json();
  EXPECT_EQ(listed["data"][0]["snippet"], "Bake \"it\".") << listed;
  EXPECT_TRUE(listed["next"].is_null());
  EXPECT_EQ(Call(server, "DELETE", Path(id, kSecond)).json()["deleted"], true);
  EXPECT_EQ(Call(server, "DELETE", Path(id, kSecond)).status, 404);
  EXPECT_EQ(Call(server, "GET", Path(id)).json()["messages"].size(), 1u);
  EXPECT_EQ(Call(server, "DELETE", Path(id)).json()["id"], id);
  const Answered gone = Call(server, "GET", Path(id));
  EXPECT_EQ(gone.status, 404);
  EXPECT_EQ(gone.error("message"), "there is no conversation " + id);
  EXPECT_EQ(Send(server, "PATCH", Path(id), {{"title", "x"}}).status, 404);
  EXPECT_EQ(TitlesOf(server), Json::array());
}

// A message keeps the time at which it was first written.
TEST(ConversationsTest, AMessageIsReplacedAsAWhole) {
  TestServer server;
  const std::string id = Create(server, {{"title", "t"}});
  Send(server, "PUT", Path(id, kFirst), {{"role", "user"}, {"content", "a"}, {"model", "m"}});
  const Json before = Call(server, "GET", Path(id)).json()["messages"][0];
  Send(server, "PUT", Path(id, kFirst), Said("b"));
  const Json after = Call(server, "GET", Path(id)).json()["messages"][0];
  EXPECT_EQ(after["content"], "b");
  EXPECT_EQ(after["created"], before["created"]);
  EXPECT_FALSE(after.contains("model"));
  EXPECT_GT(after["updated"], before["updated"]);
}

TEST(ConversationsTest, AreSearchedAndPaged) {
  TestServer server;
  for (int i = 0; i < 5; ++i)
    Send(server, "PUT", Path(Create(server, {{"title", fmt::format("chat {}", i)}}), kFirst),
         Said(fmt::format("apples and pears {}", i)));
  EXPECT_EQ(TitlesOf(server, "?search=pear%203"), Json({"chat 3"}));
  EXPECT_EQ(TitlesOf(server, "?search=%22OR%22"), Json::array());
  const Json page = Call(server, "GET", kList + std::string("?limit=2")).json();
  EXPECT_EQ(page["data"].size(), 2u);
  EXPECT_EQ(TitlesOf(server, "?limit=2&before=" + std::string(page["next"])),
            Json({"chat 2", "chat 1"}));
  for (const char* bad : {"?limit=0", "?limit=201", "?limit=x", "?before=nonsense"})
    EXPECT_EQ(Call(server, "GET", kList + std::string(bad)).status, 400) << bad;
  const Answered tall = Call(server, "GET", kList + ("?search=" + std::string(257, 's')));
  EXPECT_EQ(tall.error("param"), "search");
}

TEST(ConversationsTest, BadBodiesAreNamed) {
  TestServer server;
  const std::string id = Create(server, Json::object());
  const auto refused = [&](const char* method, const std::string& path, const Json& body,
                           const char* param) {
    const Answered answer = Send(server, method, path, body);
    EXPECT_EQ(answer.status, 400) << path << Dump(body);
    EXPECT_EQ(answer.error("param"), param) << answer.body;
    EXPECT_FALSE(answer.error("message").empty());
  };
  refused("POST", kList, {{"title", 5}}, "title");
  refused("POST", kList, {{"title", std::string(501, 't')}}, "title");
  refused("POST", kList, {{"settings", "x"}}, "settings");
  refused("PATCH", Path(id), {{"leaf", "x"}}, "leaf");
  refused("PATCH", Path("abc"), {{"title", "x"}}, "id");
  refused("PUT", Path(id, std::string(32, '0')), Said("x"), "message");
  refused("PUT", Path(id, kFirst), {{"content", "x"}}, "role");
  refused("PUT", Path(id, kFirst), {{"role", "robot"}}, "role");
  refused("PUT", Path(id, kFirst), {{"role", "user"}, {"content", {1}}}, "content");
  refused("PUT", Path(id, kFirst), {{"role", "user"}, {"parent", "me"}}, "parent");
  refused("PUT", Path(id, kFirst), {{"role", "user"}, {"attachments", {1}}}, "attachments");
  refused("PUT", Path(id, kFirst), {{"role", "user"}, {"tool_calls", 1}}, "tool_calls");
  refused("PUT", Path(id, kFirst), {{"role", "user"}, {"stats", 1}}, "stats");
  refused("PUT", Path(id, kFirst), {{"role", "user"}, {"created", -1}}, "created");
  refused("POST", Path("import"), {{"data", Json::array()}}, "exo_conversations");
  EXPECT_EQ(Send(server, "PUT", Path(kFirst, kFirst), Said("x")).status, 404);
  EXPECT_EQ(Send(server, "PUT", Path(id, kFirst), Said(std::string(4 << 20, 'm'))).status, 400);
  EXPECT_EQ(Call(server, "PUT", Path(id, kFirst), "{}", "Content-Type: text/plain\r\n").status,
            415);
  EXPECT_EQ(Call(server, "PUT", Path(id, kFirst), "[]").status, 400);
  EXPECT_EQ(Send(server, "PUT", Path(id), Json::object()).status, 405);
}

TEST(ConversationsTest, AnExportCanBeImported) {
  TestServer server;
  for (int c = 0; c < 3; ++c) {
    const std::string id = Create(server, {{"title", fmt::format("chat {}", c)}});
    for (int m = 0; m < 5 * c; ++m)
      Send(server, "PUT", Path(id, fmt::format("{:032x}", m + 1)), Said(std::string(40, 'x')));
  }
  const Answered all = Call(server, "GET", Path("export"));
  EXPECT_TRUE(all.has("content-disposition: attachment"));
  const Json exported = all.json();
  ASSERT_EQ(exported["data"].size(), 3u) << all.body;
  EXPECT_EQ(exported["data"][0]["messages"].size(), 10u);  // in several pages
  EXPECT_EQ(exported["data"][2]["messages"].size(), 0u);
  TestServer other;
  EXPECT_EQ(Call(other, "GET", Path("export")).json()["data"], Json::array());
  const Json counts = {{"added", 3}, {"updated", 0}, {"unchanged", 0}};
  EXPECT_EQ(Send(other, "POST", Path("import"), exported).json(), counts);
  EXPECT_EQ(Call(other, "GET", Path("export")).json(), exported);
  EXPECT_EQ(Send(other, "POST", Path("import"), exported).json()["unchanged"], 3);
  Json broken = exported;
  broken["data"][1]["messages"][2]["role"] = 7;
  const Answered refused = Send(other, "POST", Path("import"), broken);
  EXPECT_EQ(refused.status, 400);
  EXPECT_TRUE(refused.error("message").starts_with("data[1]: messages[2]: 'role'"))
      << refused.error("message");
}

// As events, each behind a conversation; what was taken before one that is refused stays.
TEST(ConversationsTest, AnImportTellsHowFarItIs) {
  TestServer server;
  Json body = {{"exo_conversations", 1}, {"stream", true}, {"data", Json::array()}};
  for (const char* digit : {"1", "2", "3"}) {
    body["data"].push_back({{"id", std::string(31, '0') + digit},
                            {"title", digit},
                            {"updated", 5},
                            {"messages", Json::array()}});
  }
  const Answered told = Send(server, "POST", Path("import"), body);
  EXPECT_TRUE(told.has("content-type: text/event-stream")) << told.headers;
  EXPECT_EQ(told.body,
            "data: {\"added\":1,\"total\":3,\"unchanged\":0,\"updated\":0}\n\n"
            "data: {\"added\":2,\"total\":3,\"unchanged\":0,\"updated\":0}\n\n"
            "data: {\"added\":3,\"total\":3,\"unchanged\":0,\"updated\":0}\n\n"
            "data: [DONE]\n\n");
  body["stream"] = "yes";
  EXPECT_EQ(Send(server, "POST", Path("import"), body).error("param"), "stream");
  body.erase("stream");
  EXPECT_EQ(Send(server, "POST", Path("import"), body).json(),
            Json({{"added", 0}, {"updated", 0}, {"unchanged", 3}}));
}

class TwoKeys final : public Gatekeeper {
 public:
  std::optional<Caller> Identify(std::string_view credential) override {
    if (credential == "exo-a")
      return Caller{.key = 7, .scopes = Caller::ScopeBit(Scope::kInfer), .gate = this};
    if (credential == "exo-b")
      return Caller{.key = 8, .scopes = Caller::ScopeBit(Scope::kAdmin), .gate = this};
    return std::nullopt;
  }
  std::optional<Caller> CallerOf(uint64_t) override { return std::nullopt; }
  Parsed<> Admit(const Caller&) override { return {}; }
  Parsed<> CheckQuota(const Caller&) override { return {}; }
  std::optional<uint64_t> TokensLeft(const Caller&) override { return std::nullopt; }
  void CountTokens(const Caller&, uint64_t) override {}
};

// Not even an administrator's key reads another's.
TEST(ConversationsTest, EachKeySeesItsOwn) {
  TwoKeys keys;
  TestServer server({.gate = &keys});
  const std::string a = "Authorization: Bearer exo-a\r\n", b = "Authorization: Bearer exo-b\r\n";
  const std::string of_a = Create(server, {{"title", "a's"}}, a);
  const std::string of_home = Create(server, {{"title", "the home's"}});
  EXPECT_EQ(TitlesOf(server, "", a), Json({"a's"}));
  EXPECT_EQ(TitlesOf(server, "", b), Json::array());
  EXPECT_EQ(TitlesOf(server), Json({"the home's"}));
  EXPECT_EQ(Call(server, "GET", Path(of_a), "", b).status, 404);
  EXPECT_EQ(Call(server, "DELETE", Path(of_a)).status, 404);
  EXPECT_EQ(Call(server, "GET", Path(of_home), "", a).status, 404);
  // An import of another's export makes copies, and touches nothing of theirs.
  const Json exported = Call(server, "GET", Path("export"), "", a).json();
  EXPECT_EQ(Send(server, "POST", Path("import"), exported, b).json()["added"], 1);
  EXPECT_EQ(Call(server, "DELETE", Path(of_a), "", b).status, 200);
  EXPECT_EQ(TitlesOf(server, "", a), Json({"a's"}));
}

TEST(ConversationsTest, WhereNoneAreKeptTheRoutesSaySo) {
  TestServer server({}, {.keeps_conversations = false});
  for (const char* method : {"GET", "POST"}) {
    const Answered answer = Send(server, method, kList, Json::object());
    EXPECT_EQ(answer.status, 404);
    EXPECT_EQ(answer.error("code"), "conversations_off");
  }
}

}  // namespace
}  // namespace exo::service::conversations
