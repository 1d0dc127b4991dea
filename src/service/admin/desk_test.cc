// Settings, keys, the audit log and the log of a node, over HTTP.
#include "service/admin/desk.h"

#include <gtest/gtest.h>

#include "service/api_keys.h"
#include "service/harness.h"
#include "sys/recent_log.h"
#include "sys/temporary_folder.h"

namespace exo::service::admin {
namespace {

class FakeDesk final : public SettingsDesk {
 public:
  SettingsView Read() override {
    return {.file = "/x/exo.toml",
            .settings = {{.name = "log",
                          .value = "warning",
                          .fallback = "warning",
                          .origin = "default",
                          .kind = "one of debug, info",
                          .help = "lowest level that is logged",
                          .next = Json("info")},
                         {.name = "cluster_secret", .origin = "file", .is_secret = true}}};
  }
  Result<SettingsChanged> Change(const std::vector<SettingChange>& changes) override {
    if (changes[0].name != "log") return Fail(ErrorCode::kInvalid, "no '{}'", changes[0].name);
    return SettingsChanged{.later = {changes[0].name}, .hidden = {{"log", "--log"}}};
  }
};

// The log is set before other threads run.
struct KeptLog {
  KeptLog() { sys::KeepLog(LogLevel::kOff); }
  ~KeptLog() { SetLog(nullptr, LogLevel::kWarning); }
};

class DeskTest : public testing::Test {
 protected:
  Answered Patch(const std::string& body,
                 const std::string& headers = "Content-Type: application/json\r\n") {
    return Call(server_, "PATCH", "/v1/internal/settings", body, headers);
  }

  const std::unique_ptr<sys::TemporaryFolder> folder_ = *sys::TemporaryFolder::Create("exo-desk-");
  const KeptLog log_;
  FakeDesk desk_;
  TestServer server_{ServiceParts{.settings = &desk_, .folder = folder_->path()}, {}};
};

TEST_F(DeskTest, SettingsAreShownWithWhereTheyComeFrom) {
  const Json shown = Call(server_, "GET", "/v1/internal/settings").json();
  EXPECT_EQ(shown["file"], "/x/exo.toml");
  EXPECT_EQ(shown["data"][0], Json::parse(R"({"name": "log", "value": "warning", "next": "info",
      "origin": "default", "default": "warning", "kind": "one of debug, info",
      "help": "lowest level that is logged", "restart": true})"));
  EXPECT_EQ(shown["data"][1]["secret"], true);
  EXPECT_TRUE(shown["data"][1]["value"].is_null());
}

TEST_F(DeskTest, AChangeSaysWhenItCounts) {
  EXPECT_EQ(Patch(R"({"log": "info"})").json(),
            Json::parse(
                R"({"now": [], "restart": ["log"], "hidden": [{"name": "log", "by": "--log"}]})"));
  const Answered unknown = Patch(R"({"lgo": "info"})");
  EXPECT_EQ(unknown.status, 400);
  EXPECT_EQ(unknown.error("message"), "no 'lgo'");
  for (const char* bad : {"{}", "[]", "{", "3"}) EXPECT_EQ(Patch(bad).status, 400) << bad;
  EXPECT_EQ(Patch(R"({"log": "info"})", "Content-Type: text/plain\r\n").status, 415);
  EXPECT_EQ(Patch(R"({"log": "info"})", "Content-Type: application/json\r\nAuthorization: none\r\n")
                .status,
            401);
}

TEST_F(DeskTest, AKeyIsMadeShownOnceAndRemoved) {
  const char* const kKeys = "/v1/internal/keys";
  const Answered made =
      Post(server_, kKeys,
           {{"name", "my phone"}, {"scopes", {"infer", "models"}}, {"rate", 60}, {"quota", 1000}});
  ASSERT_EQ(made.status, 200) << made.body;
  const std::string text = made.json()["key"];
  EXPECT_TRUE(text.starts_with("exo-"));
  EXPECT_EQ(made.json()["scopes"], Json::parse(R"(["infer", "models"])"));
  KeyRing ring({.folder = folder_->path()});
  EXPECT_EQ(ring.Identify(text)->name, "my phone");
  const Json list = Call(server_, "GET", kKeys).json();
  ASSERT_EQ(list["data"].size(), 1u);
  EXPECT_EQ(list["data"][0]["name"], "my phone");
  EXPECT_EQ(list["data"][0]["rate"], 60);
  EXPECT_EQ(list["data"][0]["quota"], 1000);
  EXPECT_TRUE(list["data"][0]["last_used"].is_null());
  EXPECT_GT(list["data"][0]["created"], int64_t{1'600'000'000} * 1000);
  EXPECT_EQ(list.dump().find(text), std::string::npos);
  EXPECT_EQ(Post(server_, kKeys, {{"name", "my phone"}}).status, 400) << "there is one";
  EXPECT_EQ(Call(server_, "DELETE", "/v1/internal/keys/my%20phone").status, 200);
  EXPECT_EQ(Call(server_, "DELETE", "/v1/internal/keys/my%20phone").status, 404);
  EXPECT_EQ(Call(server_, "GET", kKeys).json()["data"], Json::array());
  EXPECT_FALSE(ring.Identify(text));
}

TEST_F(DeskTest, BadKeysAreNamed) {
  for (const char* body : {"{}", R"({"name": ""})", R"({"name": "a", "scopes": []})",
                           R"({"name": "a", "scopes": ["all"]})", R"({"name": "a", "scopes": [3]})",
                           R"({"name": "a", "rate": 0})", R"({"name": "a", "quota": "1"})"}) {
    EXPECT_EQ(Call(server_, "POST", "/v1/internal/keys", body).status, 400) << body;
  }
}

TEST_F(DeskTest, TheAuditLogSaysWhenSomebodyHasChangedIt) {
  const auto audit = [&] { return Call(server_, "GET", "/v1/internal/audit").json(); };
  EXPECT_EQ(audit(), Json::parse(R"({"data": [], "intact": true})"));
  ASSERT_TRUE(
      sys::WriteFileAtomically(folder_->path() + "/audit.log", "{\"event\": \"joined\"}\n", 0600));
  EXPECT_EQ(audit()["intact"], false);
  EXPECT_NE(std::string(audit()["problem"]).find("line 1"), std::string::npos);
}

TEST_F(DeskTest, LogsComeWithTheirNumbersAndGoOn) {
  LOG(kInfo, "before");
  TestClient client(server_.port());
  client.Write(RequestText("GET", "/v1/internal/logs", "", ""));
  std::string text;
  const auto read_until = [&](const std::string& end) {
    while (text.find(end) == std::string::npos) {
      const std::string more = client.ReadSome();
      if (more.empty()) return false;
      text += more;
    }
    return true;
  };
  ASSERT_TRUE(read_until("\"text\":\"before\"")) << text;
  LOG(kWarning, "after");
  ASSERT_TRUE(read_until("\"text\":\"after\"")) << text;
  EXPECT_NE(text.find("\"level\":\"warning\""), std::string::npos);
  const size_t id = text.rfind("id: ");
  const std::string last = text.substr(id + 4, text.find('\n', id) - id - 4);
  LOG(kInfo, "later");
  TestClient again(server_.port());
  again.Write(RequestText("GET", "/v1/internal/logs", "", "Last-Event-ID: " + last + "\r\n"));
  text.clear();
  while (text.find("\"text\":\"later\"") == std::string::npos) {
    const std::string more = again.ReadSome();
    ASSERT_FALSE(more.empty());
    text += more;
  }
  EXPECT_EQ(text.find("\"text\":\"after\""), std::string::npos) << text;
}

}  // namespace
}  // namespace exo::service::admin
