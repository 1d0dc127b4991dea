// What RFC 9110 and 9112 let clients send, and how it is taken or refused in words.
#include <gtest/gtest.h>

#include "service/harness.h"
#include "service/http/paths.h"

namespace exo::service {
namespace {

const std::string kHi = R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}]})";
const std::string kJson = "Content-Type: application/json\r\n";

Answered Raw(const TestServer& server, const std::string& bytes) {
  TestClient client(server.port());
  client.Write(bytes);
  return client.Read();
}
std::string PostHead(const std::string& headers) {
  return "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n" + kJson + headers;
}
std::string Length(const std::string& body) {
  return "Content-Length: " + std::to_string(body.size()) + "\r\n";
}

TEST(HttpRulesTest, AbsoluteTargetsNameTheHostThatIsChecked) {
  TestServer server;
  const std::string port = std::to_string(server.port());
  const auto get = [&](const std::string& target, const std::string& host) {
    return Raw(server, "GET " + target + " HTTP/1.1\r\nHost: " + host + "\r\n\r\n").status;
  };
  EXPECT_EQ(get("http://localhost:" + port + "/health", "localhost"), 200);
  EXPECT_EQ(get("HTTP://127.0.0.1/health?x=1", "evil.example"), 200);  // the target counts
  EXPECT_EQ(get("http://[::1]:" + port + "/v1/models", "localhost"), 200);
  EXPECT_EQ(get("http://localhost", "localhost"), 200);
  EXPECT_EQ(get("http://localhost?x", "localhost"), 200);
  EXPECT_EQ(get("http://evil.example/health", "localhost"), 403);
  EXPECT_EQ(get("http://user@localhost/health", "localhost"), 400);
  EXPECT_EQ(get("http:///health", "localhost"), 400);
  EXPECT_EQ(get("https://localhost/health", "localhost"), 400);
  EXPECT_EQ(get("ftp://localhost/health", "localhost"), 400);
}

TEST(HttpRulesTest, OtherFormsOfTargetsAreRefusedInWords) {
  TestServer server;
  const auto tunnel = Raw(server, "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n");
  EXPECT_EQ(tunnel.status, 400);
  EXPECT_NE(tunnel.error("message").find("no proxy"), std::string::npos);
  EXPECT_EQ(Raw(server, "GET health HTTP/1.1\r\nHost: localhost\r\n\r\n").status, 400);
  const auto star = Raw(server, "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(star.status, 400);
  EXPECT_NE(star.error("message").find("OPTIONS"), std::string::npos);
  const auto options = Raw(server, "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n");
  EXPECT_EQ(options.status, 204);
  EXPECT_TRUE(options.has("allow: get, head, post, options"));
}

TEST(HttpRulesTest, SlashesAndEscapesThatMeanNothingAreIgnored) {
  EXPECT_EQ(NormalPath("//v1///%6Dodels/"), "/v1/models");
  EXPECT_EQ(NormalPath("/"), "/");
  EXPECT_EQ(NormalPath("///"), "/");
  EXPECT_EQ(NormalPath("/v1/models/a%2Fb%20c"), "/v1/models/a%2Fb%20c");
  EXPECT_EQ(NormalPath("/a%"), "/a%");
  EXPECT_EQ(NormalPath("/a%4"), "/a%4");
  EXPECT_EQ(NormalPath("/%7euser"), "/~user");
  EXPECT_TRUE(TakesPath("/v1/models/", "/v1/models/a/b"));
  EXPECT_FALSE(TakesPath("/v1/models/", "/v1/models"));
  EXPECT_TRUE(TakesPath("/a/{id}/b", "/a/x%2Fy/b"));
  for (const char* path : {"/a//b", "/a/x", "/a/x/bc", "/a/x/y/b", "/a/{id}", "/b/x/b", "/a/"})
    EXPECT_FALSE(TakesPath("/a/{id}/b", path)) << path;
  EXPECT_TRUE(TakesPath("/a/{id}", "/a/x"));
  EXPECT_FALSE(TakesPath("/a/{id}", "/a/x/y"));
  EXPECT_EQ(QueryField("a=1&b=x%20y&a=2", "a"), "1");
  EXPECT_EQ(QueryField("a=1&b=x%20y&a=2", "b"), "x y");
  EXPECT_EQ(QueryField("a&&=3&b=", "a"), "");
  EXPECT_EQ(QueryField("a&&=3&b=", "b"), "");
  EXPECT_EQ(QueryField("ab=1", "a"), std::nullopt);
  EXPECT_EQ(QueryField("", "a"), std::nullopt);
  TestServer server;
  for (const char* path : {"/v1/models/", "//v1/models", "/v1//models", "/v1/models?a=/b/",
                           "/v1/models/?limit=5", "/v1/%6dodels"}) {
    EXPECT_EQ(Call(server, "GET", path).json()["object"], "list") << path;
  }
  for (const char* path : {"/health/", "//health", "/v1/cluster/?x"}) {
    EXPECT_EQ(Call(server, "GET", path).status, 200) << path;
  }
  for (const char* path : {"/v1/chat/completions/", "//v1/chat/completions?api-version=1"}) {
    EXPECT_EQ(Call(server, "POST", path, kHi).status, 200) << path;
  }
  EXPECT_EQ(Call(server, "POST", "/v1/internal/plan/", R"({"model":"tiny"})").status, 200);
  for (const char* path : {"/v1/models/hub/tiny", "/v1/models/hub%2Ftiny/", "/v1/models/hub%2ftiny",
                           "/v1//models//hub/tiny"}) {
    EXPECT_EQ(Call(server, "GET", path).json()["id"], "hub/tiny") << path;
  }
}

TEST(HttpRulesTest, OtherTransferCodingsThanChunkedAre501) {
  TestServer server;
  for (const char* coding : {"gzip", "gzip, chunked", "chunked, gzip", "identity"}) {
    const auto answer =
        Raw(server, PostHead("Transfer-Encoding: " + std::string(coding) + "\r\n\r\n0\r\n\r\n"));
    EXPECT_TRUE(answer.status == 501 || answer.status == 400) << coding << answer.status;
    EXPECT_FALSE(answer.error("message").empty());
  }
  EXPECT_EQ(Raw(server, PostHead("Transfer-Encoding: gzip\r\nTransfer-Encoding: "
                                 "chunked\r\n\r\n0\r\n\r\n"))
                .status,
            501);
  EXPECT_EQ(Raw(server, "POST /v1/chat/completions HTTP/1.0\r\nHost: localhost\r\n" + kJson +
                            "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
                .status,
            400);
}

TEST(HttpRulesTest, ExpectationsOtherThanContinueAre417) {
  TestServer server;
  const auto answer = Raw(server, PostHead("Expect: 200-maybe\r\n" + Length(kHi) + "\r\n" + kHi));
  EXPECT_EQ(answer.status, 417);
  EXPECT_NE(answer.error("message").find("200-maybe"), std::string::npos);
}

TEST(HttpRulesTest, APostWithoutALengthIs411) {
  TestServer server;
  TestClient client(server.port());
  client.Write(PostHead("\r\n"));
  const auto answer = client.Read();
  EXPECT_EQ(answer.status, 411);
  EXPECT_NE(answer.error("message").find("Content-Length"), std::string::npos);
  client.Write(RequestText("GET", "/health"));  // the connection goes on
  EXPECT_EQ(client.Read().status, 200);
}

// A client that asks the wrong way hears so, not what its body lacks.
TEST(HttpRulesTest, TheRouteIsCheckedBeforeTheBody) {
  TestServer server;
  const std::string rest = " HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: br\r\n\r\n";
  EXPECT_EQ(Raw(server, "PUT /v1/chat/completions" + rest).status, 405);
  EXPECT_EQ(Raw(server, "PUT /v1/none" + rest).status, 404);
  EXPECT_EQ(Raw(server, "POST /v1/chat/completions" + rest).status, 415);
}

TEST(HttpRulesTest, OldClientsNeedNoHostAndMayKeepTheConnection) {
  TestServer server;
  EXPECT_EQ(Raw(server, "GET /health HTTP/1.0\r\n\r\n").status, 200);
  TestClient client(server.port());
  for (int i = 0; i < 2; ++i) {
    client.Write("GET /health HTTP/1.0\r\nConnection: keep-alive\r\nHost: localhost\r\n\r\n");
    const auto answer = client.Read();
    EXPECT_EQ(answer.status, 200);
    EXPECT_TRUE(answer.has("connection: keep-alive"));
  }
  client.Write("GET /health HTTP/1.0\r\nHost: localhost\r\n\r\n");
  EXPECT_TRUE(client.Read().has("connection: close"));
  EXPECT_EQ(client.ReadToEnd(), "");
  EXPECT_EQ(Raw(server, "GET /health HTTP/1.1\r\n\r\n").status, 400);
}

TEST(HttpRulesTest, OddButLegalHeadersAreTaken) {
  TestServer server;
  EXPECT_EQ(Raw(server, PostHead("X-Empty:\r\nAccept-Encoding: gzip, br\r\nAccept: text/html\r\n" +
                                 Length(kHi) + "\r\n" + kHi))
                .status,
            200);
  const auto plain = Raw(server,
                         "GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: "
                         "gzip\r\n\r\n");
  EXPECT_FALSE(plain.has("content-encoding"));
  // An empty line before a request, chunk extensions and trailers.
  EXPECT_EQ(Raw(server, "\r\n\r\n" + RequestText("GET", "/health")).status, 200);
  char size[16];
  std::snprintf(size, sizeof(size), "%zx", kHi.size());
  EXPECT_EQ(Raw(server, PostHead("Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n") + size +
                            ";ext=1\r\n" + kHi + "\r\n0\r\nX-Sum: 1\r\n\r\n")
                .status,
            200);
  for (const char* type : {"APPLICATION/JSON", "application/json;charset=UTF-8",
                           "application/json ; charset=\"utf-8\""}) {
    EXPECT_EQ(
        Call(server, "POST", kChat, kHi, "Content-Type: " + std::string(type) + "\r\n").status, 200)
        << type;
  }
}

TEST(HttpRulesTest, FoldedHeadersAreJoinedOrRefused) {
  TestServer server;
  const int status =
      Raw(server, "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Long: a\r\n b\r\n\r\n").status;
  EXPECT_TRUE(status == 200 || status == 400) << status;
}

TEST(HttpRulesTest, HeadIsAnsweredWhereverGetIs) {
  TestServer server;
  for (const char* path : {"/", "/health", "/v1/models", "/v1/models/tiny", "/v1/cluster"}) {
    TestClient client(server.port());
    client.Write(RequestText("HEAD", path) + RequestText("GET", "/health"));
    EXPECT_EQ(client.Read(true).status, 200) << path;
    EXPECT_EQ(client.Read().json()["status"], "ok") << path;  // nothing was sent between
  }
}

TEST(HttpRulesTest, WhatIsNotServedIsToldWhateverTheMethodAndTheBody) {
  TestServer server;
  const std::string form = "Content-Type: multipart/form-data; boundary=x\r\n";
  for (const char* path : {"/v1/files", "/v1/files/f1", "/v1/batches", "/v1/audio/transcriptions",
                           "/v1/images/edits"}) {
    for (const char* method : {"GET", "POST", "DELETE"}) {
      const Answered answer = Call(server, method, path, "--x--", form);
      EXPECT_EQ(answer.status, 404) << method << " " << path;
      EXPECT_EQ(answer.error("code"), "not_supported") << answer.body;
    }
  }
  EXPECT_TRUE(Call(server, "OPTIONS", "/v1/files").has("delete"));
  EXPECT_EQ(Call(server, "POST", "/api/blobs/sha256:1", "GGUF", "").status, 400);
}

TEST(HttpRulesTest, AnUnknownPathIsAnsweredByTheDialectAboveIt) {
  TestServer server;
  EXPECT_EQ(Call(server, "GET", "/v1/messages/nope").json()["type"], "error");
  EXPECT_EQ(Post(server, "/v1/messages/batches", Json::object()).json()["type"], "error");
  EXPECT_TRUE(Call(server, "GET", "/api/nope").json()["error"].is_string());
  EXPECT_EQ(Call(server, "GET", "/v1/nope").error("code"), "unknown_route");
}

}  // namespace
}  // namespace exo::service
