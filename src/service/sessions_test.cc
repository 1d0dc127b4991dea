// Browsers that sign in: by a link that works once, by a key, across restarts, clocks that jump,
// and whose pages may use the cookie.
#include "service/sessions.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "service/api_keys.h"
#include "service/harness.h"
#include "sys/temporary_folder.h"

namespace exo::service {
namespace {

constexpr int64_t kDay = 86'400;
constexpr int64_t kNow = 20'000 * kDay;

class SessionsTest : public testing::Test {
 protected:
  SessionsTest() { Restart(); }

  void Restart() {
    sessions_.reset();
    keys_ = std::make_unique<KeyRing>(KeyRingOptions{.folder = folder()});
    sessions_ = std::make_unique<Sessions>(SessionsOptions{.folder = folder(),
                                                           .device = "1f3a09b2",
                                                           .now = [this] { return now_; },
                                                           .steady = [this] { return steady_; }},
                                           *keys_);
  }
  std::string OpenLink() { return *sessions_->OpenLink(sessions_->NewLink(), "a"); }
  std::string AddKeyOf(const std::string& name, Scope scope) {
    return *AddKey(folder(), {.name = name, .scopes = Caller::ScopeBit(scope)});
  }
  bool IsIn(const std::string& cookie) { return sessions_->Recognize(cookie).has_value(); }
  std::string folder() const { return folder_->path(); }

  const std::unique_ptr<sys::TemporaryFolder> folder_ =
      *sys::TemporaryFolder::Create("exo-sessions-");
  int64_t now_ = kNow;
  Time steady_ = std::chrono::seconds(5);
  std::unique_ptr<KeyRing> keys_;
  std::unique_ptr<Sessions> sessions_;
};

TEST_F(SessionsTest, ALinkSignsOneBrowserIn) {
  const std::string token = sessions_->NewLink();
  const auto cookie = sessions_->OpenLink(token, "a");
  ASSERT_TRUE(cookie);
  const auto caller = sessions_->Recognize(*cookie);
  ASSERT_TRUE(caller);
  EXPECT_TRUE(caller->has_session);
  EXPECT_EQ(caller->key, 0u);
  for (const Scope scope : {Scope::kInfer, Scope::kModels, Scope::kAdmin})
    EXPECT_TRUE(caller->May(scope));
  const auto again = sessions_->OpenLink(token, "a");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().status, 401u);
  EXPECT_NE(again.error().message.find("exo dashboard"), std::string::npos);
  EXPECT_TRUE(IsIn(*cookie));
  for (const std::string& wrong : {std::string(), token, std::string(1000, 'a')})
    EXPECT_FALSE(IsIn(wrong));
}

TEST_F(SessionsTest, ALinkIsGoodForTenMinutes) {
  const std::string late = sessions_->NewLink(), early = sessions_->NewLink();
  steady_ += kLinkTime - std::chrono::seconds(1);
  now_ += 365 * kDay;  // the clock on the wall means nothing to it
  EXPECT_TRUE(sessions_->OpenLink(early, "a"));
  steady_ += std::chrono::seconds(1);
  EXPECT_FALSE(sessions_->OpenLink(late, "a"));
}

TEST_F(SessionsTest, TheOldestOpenLinkMakesRoom) {
  const std::string first = sessions_->NewLink();
  std::string last;
  for (size_t i = 0; i < kMaxLinks; ++i) last = sessions_->NewLink();
  EXPECT_FALSE(sessions_->OpenLink(first, "a"));
  EXPECT_TRUE(sessions_->OpenLink(last, "a"));
}

TEST_F(SessionsTest, AKeysSessionIsTheKeysAndEndsWithIt) {
  const std::string key = AddKeyOf("phone", Scope::kInfer);
  const std::string cookie = *sessions_->OpenWithKey(key, "a");
  const auto caller = sessions_->Recognize(cookie);
  ASSERT_TRUE(caller);
  EXPECT_EQ(caller->name, "phone");
  EXPECT_NE(caller->key, 0u);
  EXPECT_EQ(caller->gate, keys_.get());
  EXPECT_TRUE(caller->May(Scope::kInfer));
  EXPECT_FALSE(caller->May(Scope::kAdmin));
  ASSERT_TRUE(RemoveKey(folder(), "phone"));
  EXPECT_FALSE(IsIn(cookie));
  EXPECT_FALSE(sessions_->OpenWithKey(key, "a"));
}

TEST_F(SessionsTest, WhoMayReadTheDataFolderMayDoAll) {
  const std::string cookie = *sessions_->OpenWithKey(*ReadAdminToken(folder()), "a");
  EXPECT_TRUE(sessions_->Recognize(cookie)->May(Scope::kAdmin));
}

TEST_F(SessionsTest, BrowsersStaySignedInAcrossRestarts) {
  const std::string one = OpenLink(), other = OpenLink();
  sessions_->SignOut(other);
  Restart();
  EXPECT_TRUE(IsIn(one));
  EXPECT_FALSE(IsIn(other));
  const std::string path = folder() + "/sessions.json";
  struct stat info{};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(sys::ReadFile(path)->find(one), std::string::npos) << "only its hash is kept";
}

TEST_F(SessionsTest, AFileThatIsDamagedSignsEverybodyOut) {
  const std::string cookie = OpenLink();
  for (const char* text :
       {"", "{", "[]", R"({"sessions": [3, {"sha256": 1}, {"sha256": "00"}]})"}) {
    sessions_.reset();
    ASSERT_TRUE(sys::WriteFileAtomically(folder() + "/sessions.json", text, 0600));
    Restart();
    EXPECT_FALSE(IsIn(cookie)) << text;
    EXPECT_TRUE(IsIn(OpenLink()));
  }
}

TEST_F(SessionsTest, ABrowserThatIsUsedStaysSignedIn) {
  const std::string used = OpenLink(), idle = OpenLink();
  EXPECT_FALSE(sessions_->Renew(used)) << "it was told today";
  now_ += 29 * kDay;
  EXPECT_TRUE(sessions_->Renew(used));
  EXPECT_FALSE(sessions_->Renew("nobody's"));
  now_ += 2 * kDay;
  EXPECT_TRUE(IsIn(used));
  EXPECT_FALSE(IsIn(idle));
}

TEST_F(SessionsTest, AClockThatWasAheadMakesNoSessionLonger) {
  now_ = kNow + 5000 * kDay;
  const std::string cookie = OpenLink();
  now_ = kNow;
  EXPECT_TRUE(IsIn(cookie));
  now_ = kNow + 31 * kDay;
  EXPECT_FALSE(IsIn(cookie));
}

TEST_F(SessionsTest, TheBrowserThatHasBeenAwayLongestMakesRoom) {
  const std::string first = OpenLink();
  now_ += 1;
  const std::string second = OpenLink();
  for (size_t i = 0; i + 1 < kMaxSessions; ++i) {
    now_ += 1;
    OpenLink();
  }
  EXPECT_FALSE(IsIn(first));
  EXPECT_TRUE(IsIn(second));
}

TEST_F(SessionsTest, WhatASessionHasOpenedEndsWithIt) {
  const auto cookie = sessions_->OpenLink(sessions_->NewLink(), "a");
  ASSERT_TRUE(cookie);
  const auto caller = sessions_->Recognize(*cookie);
  ASSERT_TRUE(caller);
  EXPECT_FALSE(caller->IsGone());
  sessions_->SignOut(*cookie);
  EXPECT_TRUE(caller->IsGone());
}

TEST_F(SessionsTest, WrongOnesAreSlowedDownByAddress) {
  for (int i = 0; i < kMaxWrong; ++i) {
    const auto wrong =
        i % 2 == 0 ? sessions_->OpenLink("x", "evil") : sessions_->OpenWithKey("exo-x", "evil");
    EXPECT_EQ(wrong.error().status, 401u);
  }
  const auto refused = sessions_->OpenLink("x", "evil");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().status, 429u);
  EXPECT_EQ(refused.error().retry_after, 60u);
  EXPECT_EQ(sessions_->OpenWithKey("exo-x", "evil").error().status, 429u);
  EXPECT_EQ(sessions_->OpenLink("x", "good").error().status, 401u);
  // Another program of this machine cannot keep its owner out.
  EXPECT_TRUE(sessions_->OpenLink(sessions_->NewLink(), "evil"));
  steady_ += std::chrono::seconds(60);
  EXPECT_EQ(sessions_->OpenLink("x", "evil").error().status, 401u);
  for (size_t i = 0; i < 2 * kMaxWrongAddresses; ++i)
    (void)sessions_->OpenLink("x", std::to_string(i));  // bounded
}

// Over HTTP, with the guard in front.
class SessionRoutesTest : public SessionsTest {
 protected:
  Answered Ask(const std::string& method, const std::string& path, const std::string& body,
               const std::string& headers) {
    return Call(server_, method, path, body, "Content-Type: application/json\r\n" + headers);
  }
  // A browser that has signed in by a link: the value of its Cookie field.
  std::string SignIn() {
    const Json link = Post(server_, "/v1/internal/session-link", Json::object()).json();
    const std::string url = link["url"];
    const Json body = {{"token", url.substr(url.rfind('/') + 1)}};
    const Answered answer = Post(server_, "/v1/session", body);
    EXPECT_EQ(answer.status, 200) << answer.body;
    const Answered again = Post(server_, "/v1/session", body);
    EXPECT_EQ(again.error("code"), "invalid_token") << again.body;
    return answer.cookie;
  }
  // An admin's route; RequestText gives no token to a request with an Authorization field.
  int Trust(const std::string& headers) {
    return Ask("GET", "/v1/internal/trust", "", "Authorization: none\r\n" + headers).status;
  }

  TestServer server_{
      ServiceParts{
          .sessions = sessions_.get(),
          .addresses =
              [] { return std::vector<std::string>{"http://127.0.0.1:1", "https://10.0.0.1:2"}; }},
      {}};
};

TEST_F(SessionRoutesTest, ALinkIsForThisMachineAndForOthers) {
  const Json link = Post(server_, "/v1/internal/session-link", Json::object()).json();
  EXPECT_TRUE(std::string(link["url"]).starts_with("http://127.0.0.1:1/#/open/")) << link;
  ASSERT_EQ(link["others"].size(), 1u);
  EXPECT_TRUE(std::string(link["others"][0]).starts_with("https://10.0.0.1:2/#/open/")) << link;
  EXPECT_EQ(link["seconds"], 600);
  EXPECT_EQ(Ask("POST", "/v1/internal/session-link", "{}", "Authorization: none\r\n").status, 401);
}

TEST_F(SessionRoutesTest, TheCookieIsOutOfReachOfScriptsAndOtherSites) {
  const Json link = Post(server_, "/v1/internal/session-link", Json::object()).json();
  const std::string url = link["url"];
  const Answered answer = Post(server_, "/v1/session", {{"token", url.substr(url.rfind('/') + 1)}});
  EXPECT_TRUE(answer.has("set-cookie: exo_session_1f3a09b2=")) << answer.headers;
  EXPECT_TRUE(answer.has("; path=/; max-age=2592000; httponly; samesite=strict\r\n"));
}

TEST_F(SessionRoutesTest, AnOwnPageIsWhoSignedIn) {
  const std::string cookie = "Cookie: a=b; " + SignIn() + "; c\r\n";
  const Json nobody = Ask("GET", "/v1/session", "", "").json();
  EXPECT_EQ(nobody["signed_in"], false);
  EXPECT_EQ(nobody["scopes"], Json::parse(R"(["infer", "models"])"));
  const Json session = Ask("GET", "/v1/session", "", cookie).json();
  EXPECT_EQ(session["signed_in"], true);
  EXPECT_EQ(session["scopes"], Json::parse(R"(["infer", "models", "admin"])"));
  EXPECT_EQ(session["local"], true);
  EXPECT_EQ(session["device"]["name"], "kitchen");
  EXPECT_EQ(Trust(""), 401);
  EXPECT_EQ(Trust(cookie), 200);
  EXPECT_EQ(Trust(cookie + "Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n"), 200);
}

TEST_F(SessionRoutesTest, AForeignPageDoesNotUseTheCookie) {
  const std::string cookie = "Cookie: " + SignIn() + "\r\n";
  EXPECT_EQ(Trust(cookie + "Origin: http://localhost:3000\r\n"), 403);
  EXPECT_EQ(Trust(cookie + "Host: evil.example\r\n"), 403);
  for (const char* site : {"same-site", "cross-site", "what"}) {
    const std::string headers = cookie + "Sec-Fetch-Site: " + site + "\r\n";
    EXPECT_EQ(Trust(headers), 401) << site;
    EXPECT_EQ(Ask("GET", "/v1/session", "", headers).json()["signed_in"], false);
    Ask("DELETE", "/v1/session", "", headers);
  }
  EXPECT_EQ(Trust(cookie), 200) << "nobody else has signed it out";
}

TEST_F(SessionRoutesTest, SigningOutEndsTheSession) {
  const std::string cookie = "Cookie: " + SignIn() + "\r\n";
  const Answered out = Ask("DELETE", "/v1/session", "", cookie);
  EXPECT_EQ(out.status, 200);
  EXPECT_TRUE(out.has("set-cookie: exo_session_1f3a09b2=; path=/; max-age=0;")) << out.headers;
  EXPECT_EQ(Trust(cookie), 401);
  EXPECT_EQ(Ask("DELETE", "/v1/session", "", "").status, 200);
}

TEST_F(SessionRoutesTest, BadSignInsAreNamed) {
  const auto status = [&](const std::string& body) {
    return Ask("POST", "/v1/session", body, "").status;
  };
  EXPECT_EQ(status("{"), 400);
  EXPECT_EQ(status("[]"), 400);
  EXPECT_EQ(status("{}"), 400);
  EXPECT_EQ(status(R"({"token": "a", "key": "b"})"), 400);
  EXPECT_EQ(status(R"({"token": 3})"), 400);
  EXPECT_EQ(status(R"({"key": "exo-none"})"), 401);
  EXPECT_EQ(Call(server_, "POST", "/v1/session", "{}", "Content-Type: text/plain\r\n").status, 415);
}

}  // namespace
}  // namespace exo::service
