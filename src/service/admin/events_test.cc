// The one stream that pages follow, over a fake node: numbered events, states, conversations, and
// readers that are slow.
#include "service/admin/events.h"

#include <gtest/gtest.h>

#include "service/api_keys.h"
#include "service/harness.h"
#include "sys/temporary_folder.h"

namespace exo::service::admin {
namespace {

// Reads until the text holds `end`; all that came.
std::string ReadUntil(TestClient& client, const std::string& end) {
  std::string text;
  while (text.find(end) == std::string::npos) {
    const std::string more = client.ReadSome();
    if (more.empty()) return text + "<closed>";
    text += more;
  }
  return text;
}
std::string Follow(const std::string& last) {
  return RequestText("GET", "/v1/internal/events", "",
                     last.empty() ? "" : "Last-Event-ID: " + last + "\r\n");
}

// The data of the first event of this name in a text; null: there is none.
Json DataOf(const std::string& text, const std::string& event) {
  const std::string head = "event: " + event + "\ndata: ";
  const size_t at = text.find(head);
  if (at == std::string::npos) return {};
  const size_t begin = at + head.size();
  return ParseJson(text.substr(begin, text.find('\n', begin) - begin)).value_or(Json());
}
size_t CountOf(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}
constexpr const char* kLastState = "event: models\n";

TEST(EventsTest, BeginWithAResyncAndTellEachChange) {
  TestServer server;
  server.Add({.name = "before"});
  TestClient client(server.port());
  client.Write(Follow(""));
  const std::string first = ReadUntil(client, kLastState);
  EXPECT_NE(first.find("id: 1000\nevent: resync\ndata: {\"sequence\":1000}"), std::string::npos)
      << first;
  server.Add({.kind = node::EventKind::kInstance, .id = "ab", .name = "tiny", .state = "ready"});
  const std::string event = ReadUntil(client, "id: 1001\nevent: instance\n");
  EXPECT_NE((event + ReadUntil(client, "\n\n")).find("\"state\":\"ready\""), std::string::npos)
      << event;
}

TEST(EventsTest, GoOnAfterTheLastOneThatWasSeen) {
  TestServer server;
  for (const char* name : {"a", "b", "c"}) server.Add({.name = name});  // 1000 to 1002
  for (const std::string& request :
       {Follow("1000"), RequestText("GET", "/v1/internal/events?since=1000")}) {
    TestClient client(server.port());
    client.Write(request);
    const std::string text = ReadUntil(client, "\"name\":\"c\"");
    EXPECT_EQ(text.find("resync"), std::string::npos) << text;
    EXPECT_EQ(text.find("\"name\":\"a\""), std::string::npos) << text;
    EXPECT_NE(text.find("\"name\":\"b\""), std::string::npos) << text;
  }
}

TEST(EventsTest, SayWhenEventsWereMissed) {
  TestServer server;
  server.Add({.name = "a"});
  for (const char* last : {"5", "99999"}) {
    TestClient client(server.port());
    client.Write(Follow(last));
    EXPECT_NE(ReadUntil(client, kLastState).find("event: missed\ndata: {\"sequence\":1000}"),
              std::string::npos)
        << last;
  }
  for (const char* none : {"nonsense", "-1"}) {
    TestClient client(server.port());
    client.Write(Follow(none));
    EXPECT_NE(ReadUntil(client, kLastState).find("event: resync"), std::string::npos) << none;
  }
  const Answered bad = Call(server, "GET", "/v1/internal/events?since=-1");
  EXPECT_EQ(bad.status, 400);
  EXPECT_EQ(bad.error("param"), "since");
}

TEST(EventsTest, AClientGetsTheStateOfEverythingAtOnce) {
  Script script;
  script.pulls = {{.model = "hf:o/r",
                   .progress = {.file = "r.gguf", .completed = 250, .total = 1000},
                   .error = "the disk is full"}};
  TestServer server({}, script);
  TestClient client(server.port());
  client.Write(Follow(""));
  const std::string text = ReadUntil(client, kLastState) + ReadUntil(client, "\n\n");
  EXPECT_EQ(DataOf(text, "cluster")["nodes"][0]["name"], "kitchen") << text;
  EXPECT_EQ(DataOf(text, "models")["data"][0]["object"], "model");
  const Json pull = DataOf(text, "pulls")[0];
  EXPECT_EQ(pull["model"], "hf:o/r");
  EXPECT_EQ(pull["step"], "manifest");
  EXPECT_EQ(pull["completed"], 250);
  EXPECT_EQ(pull["error"], "the disk is full");
  const Json telemetry = DataOf(text, "telemetry");
  EXPECT_EQ(telemetry["devices"].size(), 2u) << telemetry;
  EXPECT_EQ(telemetry["devices"][0]["memory_total"], 1 << 30);
  EXPECT_EQ(telemetry["devices"][0]["share"], 1);
  EXPECT_FALSE(telemetry["devices"][0].contains("charge")) << "unknown";
  EXPECT_EQ(telemetry["links"][0]["rtt_ms"], 0.4);
  EXPECT_EQ(telemetry["instances"][0]["requests"], 1);
  EXPECT_TRUE(telemetry["instances"][0]["tokens_per_second"].is_number());
}

TEST(EventsTest, AStateIsToldAgainWhenItIsAnother) {
  TestServer server;
  TestClient client(server.port());
  client.Write(Follow(""));
  std::string text = ReadUntil(client, kLastState);
  EXPECT_EQ(DataOf(text, "pulls"), Json::array());
  Script script;
  script.pulls = {{.model = "hf:o/r"}};
  server.Set(script);
  text = ReadUntil(client, "event: pulls\n");
  text += ReadUntil(client, "\n\n");
  EXPECT_EQ(DataOf(text, "pulls").size(), 1u);
  text += ReadUntil(client, "event: telemetry\n");
  EXPECT_EQ(CountOf(text, "event: pulls\n"), 1u) << "not while it is the same";
  EXPECT_EQ(CountOf(text, "event: cluster\n"), 0u);
}

TEST(EventsTest, AHeadEndsAtOnce) {
  TestServer server;
  TestClient client(server.port());
  client.Write(RequestText("HEAD", "/v1/internal/events") + RequestText("GET", "/health"));
  EXPECT_TRUE(client.Read(true).has("content-type: text/event-stream"));
  EXPECT_EQ(client.Read().json()["status"], "ok");
}

// A reader that takes nothing is not fed from memory without bounds: it is told to read again.
TEST(EventsTest, ASlowReaderMissesEventsInsteadOfFillingMemory) {
  TestServer server;
  TestClient client(server.port(), 4096);
  client.Write(Follow(""));
  ReadUntil(client, kLastState);
  const std::string detail(1000, 'd');
  for (int i = 0; i < 3000; ++i) server.Add({.detail = detail});
  const std::string text = ReadUntil(client, "\"sequence\":3999");
  EXPECT_NE(text.find("event: missed"), std::string::npos);
  EXPECT_LT(text.size(), 2'600'000u);  // of 3.2 MB in all
}

TEST(EventsTest, ChangedConversationsAreToldToTheirOwner) {
  const auto folder = *sys::TemporaryFolder::Create("exo-events-");
  KeyRing keys({.folder = folder->path()});
  const std::string mine = *AddKey(folder->path(), {.name = "mine", .scopes = 7});
  const std::string other = *AddKey(folder->path(), {.name = "other", .scopes = 7});
  TestServer server({.gate = &keys});
  TestClient me(server.port()), somebody(server.port());
  const auto follow = [](const std::string& key) {
    return RequestText("GET", "/v1/internal/events", "", "Authorization: Bearer " + key + "\r\n");
  };
  me.Write(follow(mine));
  somebody.Write(follow(other));
  ReadUntil(me, kLastState);
  ReadUntil(somebody, kLastState);
  const Json made = Call(server, "POST", "/v1/conversations", "{}",
                         "Content-Type: application/json\r\nAuthorization: Bearer " + mine + "\r\n")
                        .json();
  const std::string text = ReadUntil(me, "event: conversations\n") + ReadUntil(me, "\n\n");
  EXPECT_EQ(DataOf(text, "conversations")["changed"][0], made["id"]);
  EXPECT_EQ(ReadUntil(somebody, "event: telemetry\n").find("conversations"), std::string::npos);
  // The stream of a key ends with it.
  ASSERT_TRUE(RemoveKey(folder->path(), "other"));
  EXPECT_TRUE(ReadUntil(somebody, "never").ends_with("<closed>"));
}

}  // namespace
}  // namespace exo::service::admin
