// For tests of the service: a scriptable node and a real server on a free loopback port, its loop
// on a thread of its own, and a client of plain blocking sockets that sends any bytes.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "node/api.h"
#include "service/http/dialect.h"
#include "service/http/limits.h"
#include "service/json.h"
#include "service/service.h"

namespace exo::service {

inline constexpr const char* kChat = "/v1/chat/completions";
// What a TestServer without a gate of its own takes for its admin token; RequestText sends it to
// the routes that need one.
inline constexpr const char* kTestToken = "exo-admin-of-tests";

// What the fake node does with every request; set before the request is sent.
struct Script {
  std::vector<std::string> pieces = {"Hel", "lo"};  // bytes of the tokens
  bool endless = false;                             // repeats the pieces
  std::chrono::milliseconds delay{0};    // before each token; 0: in the next turn of the loop
  std::chrono::milliseconds prefill{0};  // before OnStarted
  size_t burst = 1;                      // tokens in one turn
  wire::FinishReason reason = wire::FinishReason::kStop;
  std::vector<wire::FinishReason> reasons;     // of several choices
  std::optional<node::GenerateError> refusal;  // instead of OnStarted, from inside Generate
  std::optional<node::GenerateError> loss;     // instead of OnDone
  bool admin_fails = false;
  std::vector<node::PullView> pulls;
  bool keeps_conversations = true;
  // Called after OnStarted: deltas of other kinds than text.
  std::function<void(node::GenerateSink&)> extra;
};

class TestServer {
 public:
  explicit TestServer(HttpOptions options = {}, Script script = {});
  // Serves the page and signs browsers in, as `parts` say.
  TestServer(const ServiceParts& parts, HttpOptions options);
  // Serves these dialects instead of exo's own.
  TestServer(HttpOptions options, std::vector<Dialect> (*dialects)(node::Api&));
  ~TestServer();

  uint16_t port() const;
  void Set(Script script);
  void OnLoop(const std::function<void()>& work);  // waits for it
  void Add(node::StateEvent event);  // to the fake node's events, which begin with number 1000
  node::GenerateRequest last_request() const;  // as the node got it
  int alive() const;                           // Generations that exist
  int pauses() const;                          // SetPaused(true) calls
  int resumes() const;
  int unloads_when_idle() const;  // that wait for answers that are being computed
  uint64_t tokens() const;        // emitted in all
  size_t connections() const;
  size_t body_bytes() const;  // of request bodies in memory
  // A second server on the same port: the error of Start.
  std::string StartAgain();

  struct Impl;

 private:
  void Run();

  std::unique_ptr<Impl> impl_;
};

struct Answered {
  int status = 0;
  std::string headers;   // lower case
  std::string body;      // without chunk framing
  std::string trailers;  // fields after a stream
  std::string cookie;    // "name=value" of Set-Cookie
  Json json() const { return ParseJson(body).value_or(Json()); }
  std::string error(const char* field) const {
    return json()["error"][field].is_string() ? std::string(json()["error"][field]) : "";
  }
  std::vector<Json> events() const;  // JSON of the data lines, without [DONE]
  bool has(std::string_view header) const { return headers.find(header) != std::string::npos; }
};

class TestClient {
 public:
  explicit TestClient(uint16_t port, int receive_buffer = 0);
  ~TestClient();
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void Write(std::string_view bytes);
  std::string ReadSome();  // empty: closed
  Answered Read(bool head = false);
  std::string ReadToEnd();
  void Close();
  int descriptor() const { return fd_; }

 private:
  std::string ReadChunks();
  bool Fill();

  int fd_ = -1;
  std::string buffer_;
  std::string trailers_;
};

std::string RequestText(const std::string& method, const std::string& path,
                        const std::string& body = "",
                        const std::string& headers = "Content-Type: application/json\r\n");
Answered Call(const TestServer& server, const std::string& method, const std::string& path,
              const std::string& body = "",
              const std::string& headers = "Content-Type: application/json\r\n");
Answered Post(const TestServer& server, const std::string& path, const Json& body);

// Waits until the condition holds; false after a minute, which is much for machines that are busy.
bool WaitUntil(const std::function<bool()>& condition);

}  // namespace exo::service
