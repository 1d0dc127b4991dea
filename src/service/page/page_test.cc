// The page for browsers: which file, compressed how, kept for how long.
#include "service/page/page.h"

#include <gtest/gtest.h>

#include "service/harness.h"

namespace exo::service::page {
namespace {

// "plain", by gzip.
constexpr std::string_view kGzip(
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\x2b\xc8\x49\xcc\xcc\x03\x00\xcf\x62\x20\x19\x05\x00"
    "\x00\x00",
    25);
constexpr PageFile kFiles[] = {{"index.html", "text/html; charset=utf-8", "brotli", kGzip, "1a2b"},
                               {"assets/app-1.js", "text/javascript", "script", kGzip, "3c4d"}};

class PageTest : public testing::Test {
 protected:
  Answered Get(const std::string& path, const std::string& headers,
               const std::string& method = "GET") {
    return Call(server_, method, path, "", headers);
  }
  TestServer server_{ServiceParts{.page = kFiles}, {}};
};

TEST_F(PageTest, BrowsersGetThePageAndProgramsTheWordsTheyKnow) {
  const Answered page = Get("/", "Accept: text/html,*/*\r\nAccept-Encoding: gzip, br\r\n");
  EXPECT_EQ(page.status, 200);
  EXPECT_EQ(page.body, "brotli");
  EXPECT_TRUE(page.has("content-type: text/html; charset=utf-8")) << page.headers;
  EXPECT_TRUE(page.has("content-encoding: br"));
  EXPECT_TRUE(page.has("cache-control: no-cache\r\n"));
  EXPECT_TRUE(page.has("vary: accept, accept-encoding"));
  EXPECT_TRUE(page.has("x-content-type-options: nosniff"));
  EXPECT_TRUE(page.has("referrer-policy: no-referrer"));
  EXPECT_TRUE(page.has("cross-origin-opener-policy: same-origin"));
  EXPECT_TRUE(page.has("content-security-policy: default-src 'none'; script-src 'self'"));
  EXPECT_TRUE(page.has("frame-ancestors 'none'"));
  EXPECT_EQ(Get("/", "").body, "Ollama is running");
  EXPECT_EQ(Get("/", "Accept: */*\r\n").body, "Ollama is running");
}

TEST_F(PageTest, TheBestCodingThatTheClientTakes) {
  const std::string path = "/assets/app-1.js";
  const auto body = [&](const std::string& field) {
    return Get(path, field.empty() ? "" : "Accept-Encoding: " + field + "\r\n").body;
  };
  EXPECT_EQ(body("br"), "script");
  EXPECT_EQ(body("gzip, deflate, BR;q=0.1"), "script");
  EXPECT_EQ(body("gzip;q=1.0, br;q=0"), kGzip);
  EXPECT_EQ(body(" gzip ;q=0.5"), kGzip);
  for (const char* none : {"", "br;q=0, gzip;q=0.000", "identity", "*", ";;,,;q", "x-br"})
    EXPECT_EQ(body(none), "plain") << none;
}

TEST_F(PageTest, WhatHasItsHashInItsNameIsKeptForEver) {
  const Answered asset = Get("/assets/app-1.js", "Accept-Encoding: gzip\r\n");
  EXPECT_TRUE(asset.has("cache-control: public, max-age=31536000, immutable\r\n"));
  EXPECT_EQ(asset.headers.find("no-cache"), std::string::npos) << asset.headers;
  EXPECT_TRUE(asset.has("content-encoding: gzip"));
  EXPECT_EQ(Get("/assets/app-2.js", "").status, 404);
  EXPECT_EQ(Get("/assets/", "").status, 404);
  EXPECT_EQ(Get("/assets/../index.html", "").status, 404);
}

TEST_F(PageTest, AVersionThatTheClientHasIsNotSentAgain) {
  const std::string accept = "Accept: text/html\r\nAccept-Encoding: br\r\n";
  const Answered page = Get("/", accept);
  EXPECT_TRUE(page.has("etag: \"1a2b-br\"")) << page.headers;
  for (const char* known : {"\"1a2b-br\"", "W/\"1a2b-br\"", "\"x\", \"1a2b-br\"", "*"}) {
    const Answered again = Get("/", accept + "If-None-Match: " + known + "\r\n");
    EXPECT_EQ(again.status, 304) << known;
    EXPECT_TRUE(again.has("etag: \"1a2b-br\""));
    EXPECT_TRUE(again.has("content-security-policy: "));
    EXPECT_FALSE(again.has("content-length"));
  }
  EXPECT_EQ(Get("/", accept + "If-None-Match: \"1a2b-gz\"\r\n").status, 200);
}

TEST_F(PageTest, HeadHasTheHeadersOfGet) {
  const Answered head = Get("/", "Accept: text/html\r\nAccept-Encoding: br\r\n", "HEAD");
  EXPECT_EQ(head.status, 200);
  EXPECT_TRUE(head.has("content-length: 6\r\n"));
  EXPECT_EQ(Get("/", "Content-Type: application/json\r\n", "POST").status, 405);
}

TEST(PageWithoutFilesTest, SaysWhatIsMissing) {
  TestServer server;
  const Answered page = Call(server, "GET", "/", "", "Accept: text/html\r\n");
  EXPECT_EQ(page.status, 404);
  EXPECT_NE(page.body.find("web/dist"), std::string::npos);
  EXPECT_EQ(Call(server, "GET", "/").body, "Ollama is running");
}

}  // namespace
}  // namespace exo::service::page
