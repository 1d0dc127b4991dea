// Who may ask, over the real server: a matrix of Host, Origin, method, content type and key on
// loopback and by TLS, and what browsers are told.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include "net/tls_server.h"
#include "service/api_keys.h"
#include "service/harness.h"
#include "service/http/guard.h"
#include "sys/temporary_folder.h"

namespace exo::service {
namespace {

const std::string kHi = R"({"model":"tiny","messages":[{"role":"user","content":"Hi"}]})";
const std::string kJson = "Content-Type: application/json\r\n";
constexpr const char* kListed = "https://chat.home";

// One request of each kind, as letters of the answers' statuses: k 200, n 204, b 400, u 401, f 403.
// In this order: GET /health, GET /v1/models, POST chat, DELETE /api/delete, POST internal/load
// without and with the admin token, a browser's question before a POST (OPTIONS).
struct Kind {
  const char *method, *path, *body, *headers;
};
const std::vector<Kind>& Kinds() {
  static const std::string token = fmt::format("Authorization: Bearer {}\r\n", kTestToken);
  static const std::vector<Kind> kinds = {
      {"GET", "/health", "", ""},
      {"GET", "/v1/models", "", ""},
      {"POST", kChat, kHi.c_str(), ""},
      {"DELETE", "/api/delete", R"({"model":"hub/tiny"})", ""},
      {"POST", "/v1/internal/load", R"({"model":"tiny"})", ""},
      {"POST", "/v1/internal/load", R"({"model":"tiny"})", token.c_str()},
      {"OPTIONS", kChat, "",
       "Access-Control-Request-Method: POST\r\n"
       "Access-Control-Request-Headers: authorization, X-Stainless-Lang, x-evil\r\n"}};
  return kinds;
}
char Letter(int status) {
  switch (status) {
    case 200:
      return 'k';
    case 204:
      return 'n';
    case 400:
      return 'b';
    case 401:
      return 'u';
    case 403:
      return 'f';
    default:
      return '?';
  }
}
std::string BytesOf(const Kind& kind, const std::string& headers) {
  const std::string body = kind.body;
  return fmt::format(
      "{} {} HTTP/1.1\r\n{}{}Content-Type: application/json\r\nContent-Length: {}\r\n"
      "Connection: close\r\n\r\n{}",
      kind.method, kind.path, headers, kind.headers, body.size(), body);
}

struct Row {
  std::string headers;
  std::string_view expected;
};

constexpr std::string_view kGood = "kkkkukn";     // the token is needed on loopback, too
constexpr std::string_view kForeign = "kkkuukn";  // a listed page may ask, but removes no models
constexpr std::string_view kBad = "fffffff";

// `own`: the server's port.
std::vector<Row> LoopbackRows(const std::string& own) {
  const auto host = [](const std::string& value) { return "Host: " + value + "\r\n"; };
  const auto origin = [&](const std::string& value) {
    return host("localhost:" + own) + "Origin: " + value + "\r\n";
  };
  return {{host("localhost"), kGood},
          {host("localhost:" + own), kGood},
          {host("LOCALHOST:1"), kGood},
          {host("127.0.0.1"), kGood},
          {host("127.0.0.1:52415"), kGood},
          {host("[::1]:65535"), kGood},
          {host("evil.example"), kBad},
          {host("localhost.evil.example"), kBad},
          {host("127.0.0.1.nip.io:" + own), kBad},
          {host("0.0.0.0:" + own), kBad},
          {host("127.1"), kBad},
          {host("2130706433"), kBad},
          {host("127.0.0.2"), kBad},
          {host("localhost."), kBad},
          {host("localhost:"), kGood},  // RFC 9110: the port may be empty
          {host("localhost:99999x"), kBad},
          {host("localhost@evil.example"), kBad},
          {host("user@localhost"), kBad},
          {host("[::ffff:127.0.0.1]"), kBad},
          {host("[::1"), kBad},
          {host(""), kBad},
          {host("localhost, localhost"), kBad},
          {host("localhost") + host("localhost"), "bbbbbbb"},
          {host("localhost") + host("evil.example"), "bbbbbbb"},
          {"", "bbbbbbb"},
          {origin("http://localhost:" + own), kGood},
          {origin("http://127.0.0.1:" + own), kGood},
          {origin("http://[::1]:" + own), kGood},
          {origin("HTTP://LocalHost:" + own), kGood},
          {origin(kListed), kForeign},
          {origin("HTTPS://Chat.Home"), kForeign},
          {origin("https://chat.home:443"), kBad},  // browsers leave the default out
          {origin("http://chat.home"), kBad},
          {origin("https://chat.home.evil.example"), kBad},
          {origin("https://chat.home/"), kBad},
          {origin("null"), kBad},
          {origin("*"), kBad},
          {origin(""), kBad},
          {origin("https://localhost:" + own), kBad},
          {origin("http://localhost"), kBad},
          {origin("http://localhost:3000"), kBad},
          {origin("http://evil.example"), kBad},
          {origin("http://localhost:" + own + ".evil.example"), kBad},
          {origin("http://localhost:" + own + " http://evil.example"), kBad},
          {origin("file://"), kBad},
          {origin("chrome-extension://abcdef"), kBad},
          {origin("http://192.168.1.5:" + own), kBad},
          {origin(kListed) + "Origin: http://evil.example\r\n", kBad},
          {origin("http://evil.example") + "Origin: " + kListed + "\r\n", kBad},
          // DNS rebinding: the page's host is its own, and so is its origin.
          {host("evil.example:" + own) + "Origin: http://evil.example:" + own + "\r\n", kBad},
          {host("evil.example") + "Origin: " + kListed + "\r\n", kBad}};
}

TEST(AccessTest, AMatrixOfHostsAndOriginsOnLoopback) {
  TestServer server({.origins = {kListed}});
  size_t cases = 0;
  for (const Row& row : LoopbackRows(std::to_string(server.port()))) {
    std::string statuses;
    for (const Kind& kind : Kinds()) {
      TestClient client(server.port());
      client.Write(BytesOf(kind, row.headers));
      const Answered answer = client.Read();
      statuses += Letter(answer.status);
      const bool told = row.expected == kForeign && answer.has("access-control-allow-origin: http");
      EXPECT_EQ(told, row.expected == kForeign) << row.headers << kind.path << answer.headers;
      if (row.expected != kForeign)
        EXPECT_FALSE(answer.has("access-control-allow-origin")) << row.headers << kind.path;
      EXPECT_TRUE(answer.has("vary: origin")) << "caches must not mix pages up";
      ++cases;
    }
    EXPECT_EQ(statuses, row.expected) << row.headers;
  }
  EXPECT_GE(cases, 350u);
}

TEST(AccessTest, AMatrixOfMethodsAndContentTypes) {
  TestServer server;
  struct Case {
    const char *method, *path, *type;
    int expected;
  };
  const std::vector<Case> cases = {{"POST", kChat, "application/json", 200},
                                   {"POST", kChat, "Application/JSON; charset=utf-8", 200},
                                   {"POST", kChat, " application/json ", 200},
                                   {"POST", kChat, "text/plain", 415},
                                   {"POST", kChat, "text/plain; application/json", 415},
                                   {"POST", kChat, "application/x-www-form-urlencoded", 415},
                                   {"POST", kChat, "multipart/form-data; boundary=x", 415},
                                   {"POST", kChat, "application/json, text/plain", 415},
                                   {"POST", kChat, "application/json5", 415},
                                   {"POST", kChat, "application/*", 415},
                                   {"POST", kChat, "json", 415},
                                   {"POST", kChat, "", 415},
                                   {"POST", kChat, ";application/json", 415},
                                   {"POST", kChat, "application/json\t", 200},
                                   {"PUT", kChat, "application/json", 405},
                                   {"PATCH", kChat, "application/json", 405},
                                   {"DELETE", kChat, "application/json", 405},
                                   {"GET", kChat, "application/json", 405},
                                   {"HEAD", kChat, "application/json", 405},
                                   {"TRACE", kChat, "application/json", 405},
                                   {"get", "/health", "application/json", 405},
                                   {"OPTIONS", kChat, "text/plain", 204},
                                   {"OPTIONS", "/v1/internal/load", "", 204},
                                   {"OPTIONS", "/v1/none", "", 404},
                                   {"POST", "/v1/internal/load", "text/plain", 415},
                                   {"POST", "/v1/internal/load", "application/json", 200},
                                   {"PUT", "/v1/internal/load", "application/json", 405},
                                   {"GET", "/v1/internal/load", "", 405},
                                   {"GET", "/v1/internal/none", "", 404},
                                   {"POST", "/v1/internal/models/x", "application/json", 405},
                                   {"POST", "/api/delete", "application/json", 405},
                                   {"POST", "/api/pull", "text/plain", 415},
                                   {"POST", "/api/copy", "application/json", 400},
                                   {"POST", "/api/create", "text/plain", 415},
                                   {"POST", "/v1/models", "application/json", 405},
                                   {"DELETE", "/v1/models/tiny", "", 405},
                                   {"POST", "/health", "application/json", 405},
                                   {"POST", "/", "text/plain", 405},
                                   {"PUT", kChat, "text/plain", 405},
                                   {"POST", "/v1/none", "text/plain", 404},
                                   {"POST", "/", "application/json", 405},
                                   {"POST", "/v1/none", "application/json", 404}};
  for (const Case& c : cases) {
    const bool load = std::string(c.path).ends_with("/load");
    const Answered answer = Call(server, c.method, c.path, load ? R"({"model":"tiny"})" : kHi,
                                 std::string("Content-Type: ") + c.type + "\r\n");
    EXPECT_EQ(answer.status, c.expected) << c.method << " " << c.path << " " << c.type;
  }
}

// No spelling of a path leads around the key.
TEST(AccessTest, InternalRoutesNeedTheTokenHoweverTheyAreWritten) {
  TestServer server;
  const std::string body = R"({"model":"tiny"})";
  for (const char* path :
       {"/v1/internal/load", "//v1/internal/load", "/v1//internal/load/", "/v1/%69nternal/load",
        "/v1/internal/load?x", "/v1/internal/unload", "/v1/internal/plan", "/v1/internal/models"}) {
    const Answered answer =
        Call(server, "POST", path, body, kJson + "Authorization: Bearer none\r\n");
    EXPECT_EQ(answer.status, 401) << path;
    EXPECT_NE(answer.error("message").find("admin-token"), std::string::npos) << answer.body;
  }
  for (const char* method : {"GET", "HEAD"})
    EXPECT_EQ(Call(server, method, "/v1/internal/secret", "", "Authorization: x\r\n").status, 401);
  EXPECT_EQ(
      Call(server, "DELETE", "/v1/internal/models/hub%2Ftiny", "", "Authorization: x\r\n").status,
      401);
  TestClient absolute(server.port());
  absolute.Write("POST http://localhost/v1/internal/load HTTP/1.1\r\nHost: localhost\r\n" + kJson +
                 "Content-Length: 16\r\n\r\n" + body);
  EXPECT_EQ(absolute.Read().status, 401);
}

// Its sender may not ask: what it sends is not waited for.
TEST(AccessTest, ABodyIsNotReadFromThoseWhoMayNotAsk) {
  TestServer server;
  TestClient client(server.port());
  client.Write("POST /v1/internal/load HTTP/1.1\r\nHost: localhost\r\n" + kJson +
               "Expect: 100-continue\r\nContent-Length: 8000000\r\n\r\n");
  const Answered answer = client.Read();
  EXPECT_EQ(answer.status, 401);
  EXPECT_TRUE(answer.has("connection: close"));
  EXPECT_TRUE(answer.has("www-authenticate: bearer"));
  EXPECT_EQ(client.ReadToEnd(), "");
}

// A page must be able to read why: the head alone decides, and has the page's origin.
TEST(AccessTest, ListedPagesAreToldWhyBeforeTheirBodyIsRead) {
  TestServer server({.origins = {kListed}});
  const auto told = [&](const std::string& origin, int status) {
    TestClient client(server.port());
    client.Write("DELETE /api/delete HTTP/1.1\r\nHost: localhost\r\nOrigin: " + origin +
                 "\r\nContent-Length: 100\r\n\r\n");
    const Answered answer = client.Read();
    EXPECT_EQ(answer.status, status) << "as with its body";
    EXPECT_TRUE(answer.has("vary: origin"));
    return answer.has("access-control-allow-origin: https://chat.home\r\n");
  };
  EXPECT_TRUE(told(kListed, 401));
  EXPECT_FALSE(told("https://evil.example", 403));
}

TEST(AccessTest, BrowsersAreToldWhatListedPagesMaySend) {
  TestServer server({.origins = {kListed, "app://notes"}});
  const auto ask = [&](const std::string& headers) {
    return Call(server, "OPTIONS", kChat, "",
                "Origin: app://notes\r\nAccess-Control-Request-Method: POST\r\n" + headers);
  };
  Answered answer =
      ask("Access-Control-Request-Headers: content-type,Authorization , x-api-key,x-stainless-os,"
          "anthropic-version,openai-beta,cookie,x-forwarded-for,\r\n");
  EXPECT_EQ(answer.status, 204);
  EXPECT_TRUE(answer.has("access-control-allow-origin: app://notes\r\n"));
  EXPECT_TRUE(answer.has("access-control-allow-methods: post, options\r\n"));
  EXPECT_TRUE(
      answer.has("access-control-allow-headers: content-type, authorization, x-api-key, "
                 "x-stainless-os, anthropic-version, openai-beta\r\n"))
      << answer.headers;
  EXPECT_FALSE(answer.has("credentials"));
  EXPECT_EQ(ask("").status, 204);
  // The answers themselves: errors and streams too.
  const std::string listed = kJson + "Origin: " + kListed + "\r\n";
  answer = Call(server, "POST", kChat, "{", listed);
  EXPECT_EQ(answer.status, 400);
  EXPECT_TRUE(answer.has("access-control-allow-origin: https://chat.home\r\n"));
  Json body = *ParseJson(kHi);
  body["stream"] = true;
  answer = Call(server, "POST", kChat, body.dump(), listed);
  EXPECT_EQ(answer.status, 200);
  EXPECT_TRUE(answer.has("access-control-allow-origin: https://chat.home\r\n"));
  EXPECT_TRUE(answer.has("access-control-expose-headers: x-exo-route"));
}

TEST(AccessTest, OriginsAreNamedOneByOne) {
  for (const char* good : {"https://chat.home", "http://localhost:3000", "app://obsidian.md",
                           "http://[::1]:8080", "chrome-extension://abc", "tauri://localhost"}) {
    EXPECT_TRUE(IsOrigin(good)) << good;
  }
  for (const char* bad : {"", "*", "null", "https://*", "https://*.home", "chat.home", "https://",
                          "://x", "https://chat.home/", "https://chat.home/x", "https://Chat.home",
                          "https://a b", "https://a,b", "https://a?b", "https://u@a"}) {
    EXPECT_FALSE(IsOrigin(bad)) << bad;
  }
}

// ---- by TLS

class TlsClient {
 public:
  TlsClient(uint16_t port, int max_version = 0, int receive_buffer = 0)
      : plain_(port, receive_buffer), context_(SSL_CTX_new(TLS_client_method())) {
    if (max_version != 0) SSL_CTX_set_max_proto_version(context_, max_version);
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, plain_.descriptor());
    connected_ = SSL_connect(ssl_) == 1;
  }
  ~TlsClient() {
    SSL_free(ssl_);
    SSL_CTX_free(context_);
  }
  TlsClient(const TlsClient&) = delete;
  TlsClient& operator=(const TlsClient&) = delete;

  bool connected() const { return connected_; }
  SSL* ssl() { return ssl_; }
  TestClient& plain() { return plain_; }
  void Write(const std::string& bytes) {
    size_t written = 0;
    (void)SSL_write_ex(ssl_, bytes.data(), bytes.size(), &written);
  }
  // To the end of the connection; says whether it ended in due form.
  std::string ReadToEnd(bool* in_form = nullptr) {
    std::string all;
    char chunk[16384];
    size_t count = 0;
    while (SSL_read_ex(ssl_, chunk, sizeof(chunk), &count) == 1) all.append(chunk, count);
    if (in_form != nullptr) *in_form = (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
    return all;
  }
  int Status(const std::string& bytes) {
    Write(bytes);
    const std::string answer = ReadToEnd();
    return answer.size() < 12 ? 0 : std::atoi(answer.c_str() + 9);
  }

 private:
  TestClient plain_;
  SSL_CTX* context_;
  SSL* ssl_ = nullptr;
  bool connected_ = false;
};

class TlsAccessTest : public testing::Test {
 protected:
  TlsAccessTest() {
    const auto certificate = net::OwnCertificate(folder_->path(), {"localhost", "127.0.0.1"});
    EXPECT_TRUE(certificate) << certificate.error().message;
    auto tls = net::TlsServer::Create(*certificate);
    EXPECT_TRUE(tls) << tls.error().message;
    tls_ = *std::move(tls);
    key_ = *AddKey(folder_->path(), {.name = "a", .scopes = Caller::ScopeBit(Scope::kInfer)});
    ring_ = std::make_unique<KeyRing>(KeyRingOptions{.folder = folder_->path()});
    token_ = *ReadAdminToken(folder_->path());
  }
  HttpOptions Options() {
    return {.tls = tls_.get(), .address = "127.0.0.1", .gate = ring_.get(), .origins = {kListed}};
  }
  static std::string Get(const std::string& path, const std::string& headers) {
    return "GET " + path + " HTTP/1.1\r\nHost: exo.home\r\nConnection: close\r\n" + headers +
           "\r\n";
  }
  std::string Bearer() const { return "Authorization: Bearer " + key_ + "\r\n"; }
  // The connection ends with its answer.
  std::string StreamRequest() const {
    const std::string body =
        R"({"model":"tiny","stream":true,"messages":[{"role":"user","content":"Hi"}]})";
    return "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + kJson +
           Bearer() + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n" + body;
  }

  const std::unique_ptr<sys::TemporaryFolder> folder_ =
      *sys::TemporaryFolder::Create("exo-access-");
  std::unique_ptr<net::TlsServer> tls_;
  std::unique_ptr<KeyRing> ring_;
  std::string key_, token_;
};

TEST_F(TlsAccessTest, AMatrixOfHostsOriginsAndKeys) {
  TestServer server(Options());
  const std::string host = "Host: exo.home:52417\r\n", key = Bearer(),
                    origin = "Origin: " + std::string(kListed) + "\r\n";
  // Without a token of its own the sixth request has this server's.
  std::vector<Kind> kinds = Kinds();
  const std::string token = "x-api-key: " + token_ + "\r\n";
  kinds[5].headers = token.c_str();
  const char* none = "kuuuukn";
  const char* infer = "kkkffkn";
  const char* bad = "fffffff";
  const std::vector<Row> rows = {
      {host, none},
      {"Host: 192.168.1.5\r\n", none},
      {"Host: anything.example:1\r\n", none},
      {host + "Authorization: Bearer sk-other\r\n", none},
      {host + "Authorization: Bearer exo-" + std::string(43, 'A') + "\r\n", none},
      {host + "Authorization: Basic " + key_ + "\r\n", none},
      {host + key, infer},
      {host + "Origin: https://exo.home:52417\r\n" + key, infer},
      {host + origin, none},
      {host + origin + key, infer},
      {host + "Origin: http://exo.home:52417\r\n" + key, bad},
      {host + "Origin: https://evil.example\r\n" + key, bad},
      {host + "Origin: null\r\n" + key, bad},
      {"Host: \r\n" + key, bad},
      {key, "bbbbbbb"},
      {host + host + key, "bbbbbbb"}};
  for (const Row& row : rows) {
    std::string statuses;
    for (const Kind& kind : kinds) {
      TlsClient client(server.port());
      ASSERT_TRUE(client.connected());
      statuses += Letter(client.Status(BytesOf(kind, row.headers)));
    }
    EXPECT_EQ(statuses, row.expected) << row.headers;
  }
  TlsClient unknown(server.port());
  EXPECT_EQ(unknown.Status(Get("/v1/none", "")), 401) << "nothing is told without a key";
  TlsClient known(server.port());
  EXPECT_EQ(known.Status(Get("/v1/none", Bearer())), 404);
  TlsClient internal(server.port());
  EXPECT_EQ(internal.Status(Get("/v1/internal/none", Bearer())), 403);
}

TEST_F(TlsAccessTest, PlainHttpAndOldVersionsAreNotSpoken) {
  TestServer server(Options());
  TestClient plain(server.port());
  plain.Write(Get("/health", Bearer()));
  const std::string said = plain.ReadToEnd();
  EXPECT_TRUE(said.starts_with("HTTP/1.1 400 ")) << said;
  EXPECT_NE(said.find("https://"), std::string::npos) << said;
  EXPECT_EQ(said.find("ok"), std::string::npos) << said;
  TestClient noise(server.port());
  noise.Write("hello?\r\n\r\n");
  EXPECT_EQ(noise.ReadToEnd().find("HTTP/1.1"), std::string::npos);
  TlsClient old(server.port(), TLS1_2_VERSION);
  EXPECT_FALSE(old.connected());
  TlsClient now(server.port());
  EXPECT_TRUE(now.connected());
  EXPECT_EQ(SSL_version(now.ssl()), TLS1_3_VERSION);
}

TEST_F(TlsAccessTest, AnAnswerEndsInDueFormAndLongOnesCome) {
  TestServer server(Options());
  server.Set({.pieces = std::vector<std::string>(20'000, "0123456789"), .burst = 100});
  TlsClient client(server.port());
  client.Write(StreamRequest());
  bool in_form = false;
  const std::string answer = client.ReadToEnd(&in_form);
  EXPECT_TRUE(in_form);
  EXPECT_NE(answer.find("data: [DONE]"), std::string::npos);
  size_t pieces = 0;
  for (size_t at = answer.find("0123456789"); at != std::string::npos;
       at = answer.find("0123456789", at + 1)) {
    ++pieces;
  }
  EXPECT_EQ(pieces, 20'000u);
}

// The server's end of a connection of this process.
int ServerSideOf(int client) {
  sockaddr_in own{}, peer{};
  socklen_t size = sizeof(own);
  EXPECT_EQ(::getsockname(client, reinterpret_cast<sockaddr*>(&own), &size), 0);
  for (int fd = 0; fd < 1024; ++fd) {
    size = sizeof(peer);
    if (::getpeername(fd, reinterpret_cast<sockaddr*>(&peer), &size) == 0 &&
        peer.sin_family == AF_INET && peer.sin_port == own.sin_port) {
      return fd;
    }
  }
  return -1;
}

// What TLS says at the end has to wait where the answer fills all the room that the kernel has.
TEST_F(TlsAccessTest, AnAnswerEndsInDueFormThoughItsReaderIsSlow) {
  TestServer server(Options());
  const int smallest = 1;  // the kernel's least: a few kilobytes
  for (size_t length = 1000; length < 2400; length += 100) {
    server.Set({.pieces = std::vector<std::string>(1, std::string(length, 'x')), .burst = 100});
    TlsClient client(server.port(), 0, 2048);
    ASSERT_EQ(::setsockopt(ServerSideOf(client.plain().descriptor()), SOL_SOCKET, SO_SNDBUF,
                           &smallest, sizeof(smallest)),
              0);
    client.Write(StreamRequest());
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    bool in_form = false;
    const std::string answer = client.ReadToEnd(&in_form);
    EXPECT_TRUE(in_form) << answer.size();
    EXPECT_NE(answer.find("data: [DONE]"), std::string::npos);
  }
}

TEST_F(TlsAccessTest, ManyRequestsUseOneConnection) {
  TestServer server(Options());
  TlsClient client(server.port());
  for (int i = 0; i < 3; ++i) {
    client.Write("GET /v1/models HTTP/1.1\r\nHost: x\r\n" + Bearer() + "\r\n");
    std::string answer;
    char chunk[4096];
    size_t count = 0;
    while (answer.find("\"object\":\"list\"") == std::string::npos &&
           SSL_read_ex(client.ssl(), chunk, sizeof(chunk), &count) == 1) {
      answer.append(chunk, count);
    }
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200")) << answer;
    EXPECT_EQ(server.connections(), 1u);
  }
}

// Half a greeting, nothing at all, and garbage: gone within the time for headers.
TEST_F(TlsAccessTest, SlowHandshakesEnd) {
  HttpOptions options = Options();
  options.limits.header_time = std::chrono::milliseconds(200);
  TestServer server(options);
  const std::string greeting("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
  TestClient silent(server.port()), half(server.port()), garbage(server.port());
  half.Write(greeting);
  garbage.Write(std::string(4096, 'x'));
  EXPECT_TRUE(WaitUntil([&] { return server.connections() == 0; }));
  // Trickling does not prolong it.
  TestClient slow(server.port());
  for (const char c : greeting + std::string(400, '\0')) {
    slow.Write(std::string_view(&c, 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (server.connections() == 0) break;
  }
  EXPECT_EQ(server.connections(), 0u);
  // A handshake, which takes longer where other programs hold it up, and then nothing.
  bool connected = false;
  for (int round = 0; round < 10 && !connected; ++round) {
    TlsClient idle(server.port());
    connected = idle.connected();
    EXPECT_TRUE(WaitUntil([&] { return server.connections() == 0; }));
  }
  EXPECT_TRUE(connected);
}

TEST_F(TlsAccessTest, OnlySoManyConnectionsAreOpen) {
  HttpOptions options = Options();
  options.limits.connections = 2;
  TestServer server(options);
  {
    TestClient one(server.port()), two(server.port());
    ASSERT_TRUE(WaitUntil([&] { return server.connections() == 2; }));
    TestClient three(server.port());
    EXPECT_EQ(three.ReadToEnd(), "");
  }
  EXPECT_TRUE(WaitUntil([&] { return server.connections() == 0; }));
  TlsClient again(server.port());
  EXPECT_EQ(again.Status(Get("/health", "")), 200);
}

TEST_F(TlsAccessTest, ACutConnectionFreesItsAnswer) {
  TestServer server(Options());
  server.Set({.pieces = {"x"}, .endless = true, .delay = std::chrono::milliseconds(5)});
  TlsClient client(server.port());
  client.Write("POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + kJson + Bearer() +
               "Content-Length: " + std::to_string(kHi.size()) + "\r\n\r\n" + kHi);
  ASSERT_TRUE(WaitUntil([&] { return server.alive() == 1; }));
  client.plain().Close();
  EXPECT_TRUE(WaitUntil([&] { return server.alive() == 0; }));
}

TEST_F(TlsAccessTest, TheOwnCertificateIsKeptWhileItNamesTheDevice) {
  const std::string& folder = folder_->path();
  const auto first = net::OwnCertificate(folder, {"localhost", "127.0.0.1"});
  const auto more =
      net::OwnCertificate(folder, {"localhost", "192.168.1.5", "bad name;x", "fe80::1"});
  ASSERT_TRUE(first && more);
  EXPECT_EQ((*net::TlsServer::Create(*first))->fingerprint(), tls_->fingerprint());
  EXPECT_EQ(tls_->fingerprint().size(), 32u * 3 - 1);
  EXPECT_NE(more->chain, first->chain) << "an address is new";
  EXPECT_EQ(more->key, first->key);
  EXPECT_EQ(net::OwnCertificate(folder, {"192.168.1.5", "fe80::1"})->chain, more->chain);
  ASSERT_TRUE(sys::WriteFileAtomically(folder + "/tls-cert.pem", "damaged", 0644));
  EXPECT_TRUE(net::OwnCertificate(folder, {"localhost"}));
  ASSERT_TRUE(sys::WriteFileAtomically(folder + "/tls-key.pem", first->key, 0644));
  EXPECT_EQ(net::OwnCertificate(folder, {"localhost"}).error().code, ErrorCode::kInvalid);
  ASSERT_TRUE(sys::WriteFileAtomically(folder + "/tls-key.pem", "damaged", 0600));
  EXPECT_EQ(net::OwnCertificate(folder, {"localhost"}).error().code, ErrorCode::kInvalid);
}

TEST_F(TlsAccessTest, WhatIsNoCertificateIsRefusedInWords) {
  const auto own = *net::OwnCertificate(folder_->path(), {"localhost"});
  const auto other_folder = *sys::TemporaryFolder::Create("exo-access-");
  const auto other = *net::OwnCertificate(other_folder->path(), {"localhost"});
  const auto refused = [](const std::string& chain, const std::string& key) {
    const auto made = net::TlsServer::Create({chain, key});
    return made ? "" : made.error().message;
  };
  EXPECT_EQ(refused(own.chain, own.key), "");
  EXPECT_EQ(refused(own.chain + other.chain, own.key), "") << "a chain";
  EXPECT_NE(refused("", own.key).find("the certificate is none"), std::string::npos);
  EXPECT_NE(refused(own.key, own.key).find("the certificate is none"), std::string::npos);
  EXPECT_NE(refused(own.chain, own.chain).find("the key is none"), std::string::npos);
  EXPECT_NE(refused(own.chain, other.key).find("not the certificate's"), std::string::npos);
}

// Bytes of a stranger, whole and cut: never more than an error.
TEST_F(TlsAccessTest, ASessionTakesAnyBytes) {
  std::string greeting;
  {
    SSL_CTX* context = SSL_CTX_new(TLS_client_method());
    SSL* ssl = SSL_new(context);
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    (void)SSL_connect(ssl);
    greeting.resize(BIO_ctrl_pending(SSL_get_wbio(ssl)));
    (void)BIO_read(SSL_get_wbio(ssl), greeting.data(), static_cast<int>(greeting.size()));
    SSL_free(ssl);
    SSL_CTX_free(context);
  }
  ASSERT_GT(greeting.size(), 100u);
  std::string plain;
  for (size_t i = 0; i < greeting.size(); ++i) {
    std::string bad = greeting;
    bad[i] = static_cast<char>(bad[i] ^ (1 << i % 8));
    net::TlsSession session(*tls_);
    (void)session.Open(bad.substr(0, i), plain);
    (void)session.Open(bad.substr(i), plain);
    session.Close();
    (void)session.TakeOutput();
  }
  net::TlsSession session(*tls_);
  EXPECT_EQ(session.Open(greeting, plain), net::TlsSession::State::kGoesOn);
  EXPECT_GT(session.output_bytes(), 100u);
  EXPECT_EQ(session.Open(std::string(100, 'x'), plain), net::TlsSession::State::kBroken);
  EXPECT_EQ(plain, "");
}

}  // namespace
}  // namespace exo::service
